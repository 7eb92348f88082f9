// SPDX-License-Identifier: Apache-2.0
// Commands from the control side, each carried out whole between two bursts. Results are written into the
// command, which then travels back up.
#include <algorithm>

#include "engine/software/pipes.h"
#include "engine/software/worker.h"

namespace psp {

namespace {

// Records looked at for one page of flows, so that a sparse table does not stall the packets.
constexpr uint32_t kLookedAtPerPage = 16384;

void carry_out(Worker& worker, InstallCommand& command) {
  const size_t count = std::min({command.flows.size(), command.keys.size(), command.results.size()});
  for (size_t i = 0; i < count; ++i) {
    const EgressKey& key = command.keys[i];
    command.results[i] = InstallResult::kTableFull;
    if (command.peer >= worker.config.peers.size()) continue;
    if (const uint32_t before = worker.flows.find(command.flows[i])) {
      worker.egress_keys.erase(before, worker.flows[before].key_tag);
    }
    const uint32_t number = worker.flows.install(command.flows[i], command.peer, key);
    if (number == 0) continue;
    command.results[i] = InstallResult::kInstalled;
    prepare(worker, number);
    if (worker.config.secured_address.contains(key.outer_destination)) {
      worker.next_hops.seed(key.outer_destination, key.mac, worker.now_ms);
    }
  }
}

void carry_out(Worker& worker, AdmitCommand& command) {
  command.table_full = !worker.receive_spis.admit(command.entries, worker.now_ms);
}

void carry_out(Worker& worker, WithdrawCommand& command) {
  for (const auto& entry : command.entries) worker.receive_spis.withdraw(entry.inbound, entry.spi);
}

Drop reason_of(Refusal refusal) {
  return refusal == Refusal::kRemoved ? Drop::kEgressRemoved : Drop::kEgressRefused;
}

void carry_out(Worker& worker, RefuseCommand& command) {
  for (const FlowKey& key : command.flows) {
    const uint32_t number = worker.flows.find(key);
    if (number == 0 || worker.flows[number].state == EgressFlow::State::kKeyed) continue;
    worker.hold.drop(worker.flows[number].held, reason_of(command.refusal));
    if (command.hold_down_ms == 0) {
      worker.flows.remove(number);
    } else {
      worker.flows.refuse(number, worker.now_ms + command.hold_down_ms);
    }
  }
}

void carry_out(Worker& worker, RemoveCommand& command) {
  for (const FlowKey& key : command.flows) {
    if (const uint32_t number = worker.flows.find(key)) {
      worker.hold.drop(worker.flows[number].held, Drop::kEgressRemoved);
      worker.egress_keys.erase(number, worker.flows[number].key_tag);
      worker.flows.remove(number);
    }
    worker.receive_spis.remove(key.reversed());
  }
}

void carry_out(Worker& worker, RotateCommand& command) {
  command.key = worker.swap_master_key(command.slot, std::move(command.key));
  worker.receive_spis.end_slot(command.slot & 1);
  worker.changes.fetch_add(1, std::memory_order_release);
}

void carry_out(Worker& worker, SamplingCommand& command) {
  if (command.peer) {
    worker.draw.set(*command.peer, command.egress_log2);
  } else {
    worker.draw.set(command.egress_log2);
  }
  worker.changes.fetch_add(1, std::memory_order_release);
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
// empty, with more to come.
void carry_out(Worker& worker, FlowsCommand& command) {
  command.count = 0;
  uint64_t at = command.cursor;
  const uint64_t inbound = worker.config.max_flows;
  for (uint32_t looked = 0; looked < kLookedAtPerPage && command.count < command.rows.size(); ++looked) {
    if (at < inbound && at >= worker.flows.touched()) at = inbound;
    if (at >= inbound && at - inbound >= worker.receive_spis.flows_touched()) {
      command.next_cursor = 0;
      return;
    }
    FlowRow* row = &command.rows[command.count];
    const bool written = at < inbound
                             ? write_row(worker, static_cast<uint32_t>(at) + 1, row)
                             : write_inbound_row(worker, static_cast<uint32_t>(at - inbound) + 1, row);
    if (written) ++command.count;
    ++at;
  }
  command.next_cursor = at;
}

}  // namespace

void Worker::carry_out(Command& command) {
  std::visit([this](auto& body) { psp::carry_out(*this, body); }, command.body);
  counters[Value::kCommands].add();
}

}  // namespace psp
