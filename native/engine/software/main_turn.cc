// SPDX-License-Identifier: Apache-2.0
// The main lcore's turn. Packets from the wire come first, because what they cause leaves with the packets
// from hosts of the same turn. A port that takes no more leaves the rest in its queue for the next turn.
#include <algorithm>

#include "engine/software/pipes/egress/egress.h"
#include "engine/software/pipes/entry.h"
#include "engine/software/pipes/ingress/ingress.h"
#include "engine/software/receive.h"
#include "engine/software/turn.h"

namespace psp {

namespace {

constexpr uint32_t kWornPerTick = 190;           // records a millisecond, within a timer's budget
constexpr uint32_t kEventsPerTurn = 2 * kBurst;  // at most kBurst flows of a burst are new

// Drops packets whose key did not come within hold_ms by this clock, so that the bound on them holds however
// busy the control side is. False: the budget ended before.
bool give_up(MainLcore& lcore, Budget& budget) {
  while (const uint32_t flow = lcore.flow_table.overdue(lcore.now_ms)) {
    if (budget.spent()) return false;
    budget.spend(Budget::kFlowChange + lcore.hold.drop(lcore.flows[flow].held, Drop::kEgressNoAnswer));
    lcore.flow_table.refuse(flow, lcore.now_ms + lcore.config.unanswered_ms);
  }
  return true;
}

// SPIs that worker lcores do not know, and the report of all.
bool report_unknown_spis(MainLcore& lcore, Budget& budget) {
  for (WorkerLcore* worker : lcore.workers) {
    UnknownSpi packet;
    for (size_t left = WorkerLcore::kUnknownSpis; left > 0 && worker->unknown_spis.pop(&packet); --left) {
      lcore.unknown_spis.add(packet, lcore.now_ms);
    }
  }
  return lcore.unknown_spis.tick(lcore.now_ms, budget, [&](const UnknownSpi& packet) {
    Event event = UnknownSpiEvent{packet.source, packet.spi};
    return lcore.events.push(event);
  });
}

// Looks at the keys of the next records, as long as a round is under way (key_wear.h). Reports those that
// must be replaced, and ends those that may not be used any more. What a full ring does not take is reported
// in the next round. What does not fit the budget is left to the next millisecond, because a round has no
// hurry.
bool find_worn_keys(MainLcore& lcore, Budget& budget) {
  KeyWear& wear = lcore.key_wear;
  wear.begin_when_due(lcore.sealed_packets());
  for (uint32_t left = kWornPerTick; left > 0 && wear.in_round(); --left) {
    if (budget.spent()) break;
    budget.spend(1);
    const uint32_t index = wear.next(lcore.flow_table.touched());
    if (index == 0) return true;
    EgressFlow& flow = lcore.flows[index];
    if (flow.state != EgressFlow::State::kKeyed) continue;
    const KeyWear::Verdict verdict = wear.judge(lcore.flow_table.sealed_under_key(index));
    if (verdict == KeyWear::Verdict::kFresh) continue;
    const bool stop = verdict == KeyWear::Verdict::kStop;
    if (stop || !flow.worn_reported) {
      flow.worn_reported = lcore.report(WornEvent{flow.key, flow.peer, stop});
    }
    if (!stop) continue;
    budget.spend(Budget::kFlowChange + lcore.hold.drop(flow.held, Drop::kEgressKeyWorn));
    lcore.egress_keys.erase(index, flow.key_tag);
    lcore.flow_table.wear_out(index);
  }
  return true;
}

constexpr Timers<MainLcore>::Timer kTimers[] = {
    [](MainLcore& lcore, Budget& budget) { return lcore.egress_reassembly.tick(lcore.now_ms, budget); },
    [](MainLcore& lcore, Budget& budget) { return lcore.ingress_reassembly.tick(lcore.now_ms, budget); },
    give_up,
    find_worn_keys,
    [](MainLcore& lcore, Budget& budget) { return lcore.flow_table.tick(lcore.now_ms, budget); },
    [](MainLcore& lcore, Budget& budget) { return lcore.receive_spis.tick(lcore.now_ms, budget); },
    report_unknown_spis,
    [](MainLcore& lcore, Budget& budget) { return lcore.hosts.tick(lcore.now_ms, budget); },
    [](MainLcore& lcore, Budget& budget) { return lcore.next_hops.tick(lcore.now_ms, budget); },
};

// Receives a burst: frames that were handed off come before those of the port. They fill half of it at most,
// so that the port has its turn too. Worker lcores take turns.
bool receive(MainLcore& lcore, Side& side, Handoff::Queue queue, uint16_t taken,
             std::array<rte_mbuf*, kBurst>& frames) {
  const uint16_t most = std::max<uint16_t>(taken, kBurst / 2);
  Handoff::Item item;
  if (!lcore.workers.empty()) {
    std::rotate(lcore.workers.begin(), lcore.workers.begin() + 1, lcore.workers.end());
  }
  for (WorkerLcore* worker : lcore.workers) {
    while (taken < most && worker->handoff.pop(queue, &item)) frames[taken++] = item.mbuf;
  }
  return receive(side, frames, taken, lcore.burst);
}
bool receive_from_wire(MainLcore& lcore) {
  std::array<rte_mbuf*, kBurst> frames;
  return receive(lcore, lcore.secured, Handoff::kFromWire, 0, frames);
}
// Packets of our own precede those of hosts.
bool receive_from_hosts(MainLcore& lcore) {
  std::array<rte_mbuf*, kBurst> frames;
  const uint16_t own = lcore.own_packets.take(frames.data());
  return receive(lcore, lcore.unsecured, Handoff::kFromHosts, own, frames);
}

// Reports the first packets of SPIs. What a full ring does not take is reported with the SPI's next packet.
void report_seen(MainLcore& lcore) {
  for (const uint32_t spi : lcore.first_seen) {
    lcore.receive_spis.mark_seen(spi, lcore.now_ms);
    if (lcore.spis[spi].reported) continue;
    if (lcore.report(SeenEvent{lcore.spis.flow_of(spi).key, lcore.spis[spi].spi})) {
      lcore.receive_spis.reported(spi);
    }
  }
  lcore.first_seen.clear();
}

// Reports flows in the order in which they missed. What a full ring does not take is reported later.
void report_missed(MainLcore& lcore) {
  FlowTable& table = lcore.flow_table;
  for (uint32_t left = kEventsPerTurn; left > 0 && !table.unreported().empty(); --left) {
    const uint32_t flow = table.unreported().head;
    if (!lcore.report(MissedEvent{lcore.flows[flow].key, lcore.flows[flow].peer})) break;
    lcore.counters[Value::kMissEvents].add();
    table.reported(flow);
  }
  lcore.counters[Value::kMissesWaiting].set(table.unreported().count);
}

// Sends frames that worker lcores finished, and whose neighbour they did not know.
void send_handed_off(MainLcore& lcore) {
  for (WorkerLcore* worker : lcore.workers) {
    Handoff::Item item;
    for (int left = kBurst; left > 0 && worker->handoff.pop(Handoff::kToHosts, &item); --left) {
      lcore.hosts.send(item.neighbour, item.mbuf, lcore.now_ms);
    }
    for (int left = kBurst; left > 0 && worker->handoff.pop(Handoff::kToWire, &item); --left) {
      lcore.next_hops.send(item.neighbour, item.mbuf, lcore.now_ms);
    }
  }
}

}  // namespace

bool run_once(MainLcore& lcore, uint64_t now_ns) {
  const bool ticks = begin_turn(lcore, now_ns);
  const uint64_t sent_before = lcore.secured.counters.tx_packets.value();
  Burst& burst = lcore.burst;

  // Held packets whose key has come, before all that arrive now.
  for (Drain drain(lcore); drain.next(burst);) {
    egress_reassembly(lcore, burst);
    egress_sampling(lcore, burst);
    seal(lcore, burst);
    lcore.next_hops.send(lcore.to_wire, lcore.now_ms);
  }

  // From the wire to hosts.
  const bool from_wire = receive_from_wire(lcore);
  if (from_wire) {
    ingress_root(lcore, lcore.secured, burst);
    receive_neighbours(lcore, lcore.secured, lcore.slow_path);
    ingress_reassembly(lcore, burst);
    ingress_decrypt(lcore, burst);
    receive_icmp(lcore, lcore.slow_path);
    ingress_bypass(lcore, lcore.clear);
    find_spis(lcore, burst);
    open(lcore, burst);
    syndrome_stats(lcore, lcore.unopened);
    ingress_sampling(lcore, burst);
    ingress_acl(lcore, burst);
    report_seen(lcore);
    decap(lcore, burst);
    lcore.hosts.send(lcore.to_hosts, lcore.now_ms);
  }

  // From hosts to the wire.
  const bool from_hosts = receive_from_hosts(lcore);
  if (from_hosts) {
    ingress_root(lcore, lcore.unsecured, burst);
    receive_neighbours(lcore, lcore.unsecured, lcore.slow_path);
    egress_root(lcore, burst);
    answer_echo(lcore, lcore.to_gateway);
    egress_bypass(lcore, lcore.clear);
    egress_acl(lcore, burst);
    egress_reassembly(lcore, burst);
    egress_sampling(lcore, burst);
    seal(lcore, burst);
    lcore.next_hops.send(lcore.to_wire, lcore.now_ms);
  }
  lcore.hosts.send(lcore.to_hosts, lcore.now_ms);  // ICMP errors
  report_missed(lcore);

  send_handed_off(lcore);
  lcore.budget = Budget(Budget::kTurn);
  if (ticks || lcore.timers.unfinished()) lcore.timers.run(lcore, kTimers, lcore.budget);
  lcore.unsecured.tx.flush();
  lcore.secured.tx.flush();
  for (WorkerLcore* worker : lcore.workers) worker->handoff.finish(lcore.unsecured.tx, lcore.secured.tx);
  lcore.counters[Value::kPolls].add();
  return from_wire || from_hosts || lcore.timers.unfinished() ||
         lcore.secured.counters.tx_packets.value() != sent_before;
}

}  // namespace psp
