// SPDX-License-Identifier: Apache-2.0
// Entries are carried out one by one, each as a whole. Results are written into the command, which then is
// its own completion.
#include "engine/software/commands.h"

#include <algorithm>

#include "engine/software/pipes/egress/path.h"

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

bool carry_out(MainLcore& lcore, InstallCommand& command, uint32_t& done, Budget& budget) {
  const size_t count = std::min({command.flows.size(), command.keys.size(), command.results.size()});
  return each_entry(count, done, budget, [&](size_t i) {
    const EgressKey& key = command.keys[i];
    command.results[i] = InstallResult::kTableFull;
    if (command.peer >= lcore.topology->peers.size()) return 1u;
    if (const uint32_t before = lcore.flow_table.find(command.flows[i])) {
      lcore.egress_keys.erase(before, lcore.flows[before].key_tag);
    }
    const uint32_t index = lcore.flow_table.install(command.flows[i], command.peer, key);
    if (index == 0) return Budget::kFlowChange;
    command.results[i] = InstallResult::kInstalled;
    prepare(lcore, index);
    if (lcore.config.secured_address.contains(key.outer_destination)) {
      lcore.next_hops.seed(key.outer_destination, key.mac, lcore.now_ms);
    }
    return Budget::kFlowChange;
  });
}

// Admits the SPIs that the control thread picked, all or none: one for which there is no space takes back
// those before it. Space that was there at first may go between turns, when packets use SPIs that were to
// give way.
bool carry_out(MainLcore& lcore, OfferCommand& command, uint32_t& done, Budget& budget) {
  const auto& inbound = command.inbound;
  OfferFailure& failure = command.failure;
  if (failure == OfferFailure::kSpisExhausted || inbound.empty()) return true;
  if (done == 0 && !lcore.receive_spis.has_space_for(inbound.size(), command.peer)) {
    failure = OfferFailure::kTableFull;
  }
  for (; failure == OfferFailure::kNone && done < inbound.size(); budget.spend(Budget::kSpiChange)) {
    if (budget.spent()) return false;
    const Admission admission{inbound[done],         command.spis[done], command.version,
                              command.cookies[done], command.peer,       command.mode};
    if (lcore.receive_spis.admit(admission, done, lcore.now_ms)) {
      ++done;
    } else {
      failure = OfferFailure::kTableFull;
    }
  }
  if (failure == OfferFailure::kNone) return true;
  for (; done > 0; budget.spend(Budget::kSpiChange)) {
    if (budget.spent()) return false;
    --done;
    lcore.receive_spis.withdraw(inbound[done], command.spis[done]);
  }
  return true;
}

bool carry_out(MainLcore& lcore, WithdrawCommand& command, uint32_t& done, Budget& budget) {
  return each_entry(command.entries.size(), done, budget, [&](size_t i) {
    lcore.receive_spis.withdraw(command.entries[i].inbound, command.entries[i].spi);
    return Budget::kSpiChange;
  });
}

Drop reason_of(Refusal refusal) {
  return refusal == Refusal::kRemoved ? Drop::kEgressRemoved : Drop::kEgressRefused;
}

bool carry_out(MainLcore& lcore, RefuseCommand& command, uint32_t& done, Budget& budget) {
  return each_entry(command.flows.size(), done, budget, [&](size_t i) {
    const uint32_t index = lcore.flow_table.find(command.flows[i]);
    if (index == 0 || lcore.flows[index].state == EgressFlow::State::kKeyed) return 1u;
    const uint32_t held = lcore.hold.drop(lcore.flows[index].held, reason_of(command.refusal));
    if (command.hold_down_ms == 0) {
      lcore.flow_table.remove(index);
    } else {
      lcore.flow_table.refuse(index, lcore.now_ms + command.hold_down_ms);
    }
    return Budget::kFlowChange + held;
  });
}

bool carry_out(MainLcore& lcore, RemoveCommand& command, uint32_t& done, Budget& budget) {
  return each_entry(command.flows.size(), done, budget, [&](size_t i) {
    const FlowKey& key = command.flows[i];
    uint32_t held = 0;
    if (const uint32_t index = lcore.flow_table.find(key)) {
      held = lcore.hold.drop(lcore.flows[index].held, Drop::kEgressRemoved);
      lcore.egress_keys.erase(index, lcore.flows[index].key_tag);
      lcore.flow_table.remove(index);
    }
    const uint32_t ended = lcore.receive_spis.remove(key.reversed());
    return Budget::kFlowChange + held + ended * Budget::kSpiChange;
  });
}

bool carry_out(MainLcore& lcore, RotateCommand&, uint32_t&, Budget&) {
  lcore.rotate_master_key();
  return true;
}

bool carry_out(MainLcore& lcore, SamplingCommand& command, uint32_t&, Budget&) {
  if (command.peer) {
    lcore.sampling.set(*command.peer, command.egress_log2);
  } else {
    lcore.sampling.set(command.egress_log2);
  }
  lcore.announce_change();
  return true;
}

// First the topology, then, once all lcores use it, the flows whose path depends on what changed.
bool carry_out(MainLcore& lcore, ReconfigureCommand& command, uint32_t& done, Budget& budget) {
  if (command.failed) return true;
  if (done == 0) {
    auto next = std::static_pointer_cast<const Topology>(command.prepared);
    lcore.replace_topology(next);
    command.prepared = std::const_pointer_cast<Topology>(next);
    done = 1;
    if (command.paths_changed && !lcore.settled()) return false;
  }
  if (!command.paths_changed) return true;
  const uint32_t flows = lcore.flow_table.touched();
  return each_entry(size_t{flows} + 1, done, budget, [&](size_t index) {
    const EgressFlow& flow = lcore.flows[static_cast<uint32_t>(index)];
    if (!flow.used || flow.state != EgressFlow::State::kKeyed) return 1u;
    prepare(lcore, static_cast<uint32_t>(index));
    lcore.flow_table.renew_copies(static_cast<uint32_t>(index));
    return Budget::kFlowChange;
  });
}

bool write_row(MainLcore& lcore, uint32_t index, FlowRow* row) {
  const EgressFlow& flow = lcore.flows[index];
  if (!flow.used) return false;
  const bool keyed = flow.state == EgressFlow::State::kKeyed;
  const bool refused = flow.state == EgressFlow::State::kRefused;
  *row = {};
  row->flow = flow.key;
  row->state =
      keyed ? FlowRow::State::kKeyed : (refused ? FlowRow::State::kRefused : FlowRow::State::kWanted);
  row->version = flow.version;
  row->mode = keyed ? flow.mode : lcore.topology->peers[flow.peer].mode;
  row->path_mtu = keyed ? path_mtu(lcore, index) : 0;
  row->peer = flow.peer;
  row->spi = flow.spi;
  row->held = flow.held.count;
  const Tally counted = lcore.flow_table.counted(index);
  row->packets = counted.packets;
  row->bytes = counted.bytes;
  return true;
}

bool write_inbound_row(const MainLcore& lcore, uint32_t index, FlowRow* row) {
  const InboundFlow& flow = lcore.receive_spis.flow(index);
  if (!flow.used) return false;
  uint8_t live = 0;
  const uint32_t newest = lcore.receive_spis.newest_live(flow, &live);
  if (newest == 0) return false;
  *row = {};
  row->flow = flow.key;
  row->state = flow.seen ? FlowRow::State::kSeen : FlowRow::State::kOffered;
  row->version = lcore.spis[newest].version;
  row->mode = lcore.spis[newest].mode;
  row->live_spis = live;
  row->peer = flow.peer;
  row->spi = lcore.spis[newest].spi;
  const Tally counted = lcore.receive_spis.counted(flow);
  row->packets = counted.packets;
  row->bytes = counted.bytes;
  return true;
}

// The cursor counts records: egress ones first, inbound ones behind max_flows. A page may be short, even
// empty, with more to come. While a page is being filled, `done` counts the records looked at for it.
bool carry_out(MainLcore& lcore, FlowsCommand& command, uint32_t& done, Budget& budget) {
  if (done == 0) {
    command.count = 0;
    command.next_cursor = command.cursor;
  }
  uint64_t& at = command.next_cursor;
  const uint64_t inbound = lcore.config.max_flows;
  for (; done < kLookedAtPerPage && command.count < command.rows.size(); ++done) {
    if (budget.spent()) return false;
    if (at < inbound && at >= lcore.flow_table.touched()) at = inbound;
    if (at >= inbound && at - inbound >= lcore.receive_spis.flows_touched()) {
      at = 0;
      return true;
    }
    FlowRow* row = &command.rows[command.count];
    const bool written = at < inbound
                             ? write_row(lcore, static_cast<uint32_t>(at) + 1, row)
                             : write_inbound_row(lcore, static_cast<uint32_t>(at - inbound) + 1, row);
    if (written) ++command.count;
    budget.spend(written ? Budget::kRow : 1);
    ++at;
  }
  return true;
}

}  // namespace

bool carry_out(MainLcore& lcore, Command& command, Budget& budget) {
  if (budget.spent()) return false;
  const bool whole =
      std::visit([&](auto& body) { return carry_out(lcore, body, command.done, budget); }, command.body);
  if (!whole) return false;
  budget.spend(Budget::kCommand);
  lcore.counters[Value::kCommands].add();
  return true;
}

}  // namespace psp
