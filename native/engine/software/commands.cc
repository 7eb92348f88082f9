// SPDX-License-Identifier: Apache-2.0
// Commands from the control side, carried out between two bursts, entry by entry, over as many turns as the
// budget asks for. Each entry is carried out whole. Results are written into the command, which then travels
// back up.
#include <algorithm>

#include "engine/software/pipes/pipes.h"
#include "engine/software/worker.h"

namespace psp {

namespace {

// Records looked at for one page of flows, so that a sparse table does not delay other commands.
constexpr uint32_t kLookedAtPerPage = 16384;

// Carries out entries from `done` on, as far as the budget allows: change(i) returns what entry i cost.
template <typename Change>
bool each_entry(size_t count, uint32_t& done, Budget& budget, Change&& change) {
  for (; done < count; ++done) {
    if (budget.spent()) return false;
    budget.spend(change(done));
  }
  return true;
}

bool carry_out(Worker& worker, InstallCommand& command, uint32_t& done, Budget& budget) {
  const size_t count = std::min({command.flows.size(), command.keys.size(), command.results.size()});
  return each_entry(count, done, budget, [&](size_t i) {
    const EgressKey& key = command.keys[i];
    command.results[i] = InstallResult::kTableFull;
    if (command.peer >= worker.config.peers.size()) return 1u;
    if (const uint32_t before = worker.flows.find(command.flows[i])) {
      worker.egress_keys.erase(before, worker.flows[before].key_tag);
    }
    const uint32_t number = worker.flows.install(command.flows[i], command.peer, key);
    if (number == 0) return Budget::kFlowChange;
    command.results[i] = InstallResult::kInstalled;
    prepare(worker, number);
    if (worker.config.secured_address.contains(key.outer_destination)) {
      worker.next_hops.seed(key.outer_destination, key.mac, worker.now_ms);
    }
    return Budget::kFlowChange;
  });
}

// Admits the SPIs that the control thread picked, all or none: one for which there is no space takes back
// those before it. Space that was there at first may go between turns, when packets use SPIs that were to
// give way.
bool carry_out(Worker& worker, OfferCommand& command, uint32_t& done, Budget& budget) {
  const auto& inbound = command.inbound;
  OfferFailure& failure = command.failure;
  if (failure == OfferFailure::kSpisExhausted || inbound.empty()) return true;
  if (done == 0 && !worker.receive_spis.has_room_for(inbound.size(), command.peer)) {
    failure = OfferFailure::kTableFull;
  }
  for (; failure == OfferFailure::kNone && done < inbound.size(); budget.spend(Budget::kSpiChange)) {
    if (budget.spent()) return false;
    const Admission admission{inbound[done],         command.spis[done], command.version,
                              command.cookies[done], command.peer,       command.mode};
    if (worker.receive_spis.admit(admission, done, worker.now_ms)) {
      ++done;
    } else {
      failure = OfferFailure::kTableFull;
    }
  }
  if (failure == OfferFailure::kNone) return true;
  for (; done > 0; budget.spend(Budget::kSpiChange)) {
    if (budget.spent()) return false;
    --done;
    worker.receive_spis.withdraw(inbound[done], command.spis[done]);
  }
  return true;
}

bool carry_out(Worker& worker, WithdrawCommand& command, uint32_t& done, Budget& budget) {
  return each_entry(command.entries.size(), done, budget, [&](size_t i) {
    worker.receive_spis.withdraw(command.entries[i].inbound, command.entries[i].spi);
    return Budget::kSpiChange;
  });
}

Drop reason_of(Refusal refusal) {
  return refusal == Refusal::kRemoved ? Drop::kEgressRemoved : Drop::kEgressRefused;
}

bool carry_out(Worker& worker, RefuseCommand& command, uint32_t& done, Budget& budget) {
  return each_entry(command.flows.size(), done, budget, [&](size_t i) {
    const uint32_t number = worker.flows.find(command.flows[i]);
    if (number == 0 || worker.flows[number].state == EgressFlow::State::kKeyed) return 1u;
    const uint32_t held = worker.hold.drop(worker.flows[number].held, reason_of(command.refusal));
    if (command.hold_down_ms == 0) {
      worker.flows.remove(number);
    } else {
      worker.flows.refuse(number, worker.now_ms + command.hold_down_ms);
    }
    return Budget::kFlowChange + held;
  });
}

bool carry_out(Worker& worker, RemoveCommand& command, uint32_t& done, Budget& budget) {
  return each_entry(command.flows.size(), done, budget, [&](size_t i) {
    const FlowKey& key = command.flows[i];
    uint32_t held = 0;
    if (const uint32_t number = worker.flows.find(key)) {
      held = worker.hold.drop(worker.flows[number].held, Drop::kEgressRemoved);
      worker.egress_keys.erase(number, worker.flows[number].key_tag);
      worker.flows.remove(number);
    }
    const uint32_t ended = worker.receive_spis.remove(key.reversed());
    return Budget::kFlowChange + held + ended * Budget::kSpiChange;
  });
}

bool carry_out(Worker& worker, RotateCommand&, uint32_t&, Budget&) {
  worker.rotate_master_key();
  return true;
}

bool carry_out(Worker& worker, SamplingCommand& command, uint32_t&, Budget&) {
  if (command.peer) {
    worker.draw.set(*command.peer, command.egress_log2);
  } else {
    worker.draw.set(command.egress_log2);
  }
  worker.changes.fetch_add(1, std::memory_order_release);
  return true;
}

bool write_row(Worker& worker, uint32_t number, FlowRow* row) {
  const EgressFlow& flow = worker.flows[number];
  if (!flow.used) return false;
  const bool keyed = flow.state == EgressFlow::State::kKeyed;
  const bool refused = flow.state == EgressFlow::State::kRefused;
  *row = {};
  row->flow = flow.key;
  row->state =
      keyed ? FlowRow::State::kKeyed : (refused ? FlowRow::State::kRefused : FlowRow::State::kWanted);
  row->version = flow.version;
  row->mode = keyed ? flow.mode : worker.config.peers[flow.peer].mode;
  row->path_mtu = keyed ? path_mtu(worker, number) : 0;
  row->peer = flow.peer;
  row->spi = flow.spi;
  row->held = flow.held.count;
  const Tally counted = worker.flows.counted(number);
  row->packets = counted.packets;
  row->bytes = counted.bytes;
  return true;
}

bool write_inbound_row(const Worker& worker, uint32_t number, FlowRow* row) {
  const InboundFlow& flow = worker.receive_spis.flow(number);
  if (!flow.used) return false;
  uint8_t live = 0;
  const uint32_t newest = worker.receive_spis.newest_live(flow, &live);
  if (newest == 0) return false;
  *row = {};
  row->flow = flow.key;
  row->state = flow.seen ? FlowRow::State::kSeen : FlowRow::State::kOffered;
  row->version = worker.receive_spis[newest].version;
  row->mode = worker.receive_spis[newest].mode;
  row->live_spis = live;
  row->peer = flow.peer;
  row->spi = worker.receive_spis[newest].spi;
  const Tally counted = worker.receive_spis.counted(flow);
  row->packets = counted.packets;
  row->bytes = counted.bytes;
  return true;
}

// The cursor counts records: egress ones first, inbound ones behind max_flows. A page may be short, even
// empty, with more to come. While a page is being filled, `done` counts the records looked at for it.
bool carry_out(Worker& worker, FlowsCommand& command, uint32_t& done, Budget& budget) {
  if (done == 0) {
    command.count = 0;
    command.next_cursor = command.cursor;
  }
  uint64_t& at = command.next_cursor;
  const uint64_t inbound = worker.config.max_flows;
  for (; done < kLookedAtPerPage && command.count < command.rows.size(); ++done) {
    if (budget.spent()) return false;
    if (at < inbound && at >= worker.flows.touched()) at = inbound;
    if (at >= inbound && at - inbound >= worker.receive_spis.flows_touched()) {
      at = 0;
      return true;
    }
    FlowRow* row = &command.rows[command.count];
    const bool written = at < inbound
                             ? write_row(worker, static_cast<uint32_t>(at) + 1, row)
                             : write_inbound_row(worker, static_cast<uint32_t>(at - inbound) + 1, row);
    if (written) ++command.count;
    budget.spend(written ? Budget::kRow : 1);
    ++at;
  }
  return true;
}

}  // namespace

bool Worker::carry_out(Command& command, Budget& budget) {
  if (budget.spent()) return false;
  const bool whole =
      std::visit([&](auto& body) { return psp::carry_out(*this, body, command.done, budget); }, command.body);
  if (!whole) return false;
  budget.spend(Budget::kCommand);
  counters[Value::kCommands].add();
  return true;
}

}  // namespace psp
