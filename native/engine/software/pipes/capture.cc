// SPDX-License-Identifier: Apache-2.0
// Captured packets leave by the ring of samples, in places of their own. Of the wire: frames with an SPI of
// ours that failed their ICV or held nothing whole (trailer), as they came, with their outer addresses and
// ports; SPI and peer are what the frame claims. Of hosts: what sealing itself turned away (no way to the
// peer, too long, no form in transport mode), from the inner IP header on; not what a full port, a silent
// neighbour or a fragment that never came cost, nor what never had a key.
#include "engine/software/pipes/capture.h"

#include <cstring>

#include "engine/software/pipes/pipes.h"
#include "engine/software/worker.h"

namespace psp {

namespace {

void tell(Worker& worker, SampleFacts facts, Drop reason, const uint8_t* octets, uint32_t length) {
  facts.at_ns = worker.now_ns;
  facts.reason = static_cast<uint8_t>(reason);
  const bool taken = worker.samples.push(facts, octets, length);
  worker.counters[taken ? Value::kCapturesTaken : Value::kCapturesLost].add();
}

}  // namespace

static_assert(kDropReasonCount <= kNoReason);

void Capture::keep(const Packet& packet, uint16_t peer, uint32_t spi, uint64_t now_ns) {
  kept_.of = nullptr;
  if (limit_.empty(now_ns)) return;
  const Ports ports = read_ports(packet.ip, packet.layer3());
  kept_.of = packet.mbuf;
  kept_.facts = {};
  kept_.facts.flow = {packet.ip.source, packet.ip.destination};
  kept_.facts.spi = spi;
  kept_.facts.peer = peer;
  kept_.facts.source_port = ports.source;
  kept_.facts.destination_port = ports.destination;
  kept_.facts.point = SamplePoint::kIngressFailed;
  kept_.facts.protocol = packet.ip.protocol;
  kept_.length = packet.mbuf->data_len;
  std::memcpy(kept_.octets.data(), packet.frame(), std::min<uint32_t>(kept_.length, snap_bytes_));
}

void keep_frame(Worker& worker, const Packet& packet) {
  const uint16_t peer = worker.receive_spis.flow_of(packet.receive_spi).peer;
  worker.capture.keep(packet, peer, worker.receive_spis[packet.receive_spi].spi, worker.now_ns);
}

void capture_unopened(Worker& worker, const Packet& packet, Drop reason) {
  if (!worker.capture.ingress()) return;
  const Capture::Kept* const kept = worker.capture.kept(packet);
  if (kept == nullptr || !worker.capture.take(worker.now_ns)) {
    worker.counters[Value::kCapturesSuppressed].add();
    return;
  }
  tell(worker, kept->facts, reason, kept->octets.data(), kept->length);
}

void capture_unsealed(Worker& worker, uint32_t number, const Packet& packet, Drop reason) {
  if (!worker.capture.egress()) return;
  if (!worker.capture.take(worker.now_ns)) {
    worker.counters[Value::kCapturesSuppressed].add();
    return;
  }
  const EgressFlow& flow = worker.flows[number];
  const Ports ports = read_ports(packet.ip, packet.layer3());
  SampleFacts facts;
  facts.flow = flow.key;
  facts.spi = flow.spi;
  facts.peer = flow.peer;
  facts.source_port = ports.source;
  facts.destination_port = ports.destination;
  facts.point = SamplePoint::kEgressFailed;
  facts.protocol = packet.ip.protocol;
  tell(worker, facts, reason, packet.layer3(), packet.ip.length);
}

}  // namespace psp
