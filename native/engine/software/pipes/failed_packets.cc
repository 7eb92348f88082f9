// SPDX-License-Identifier: Apache-2.0
// A permission of the limit is taken only for a packet that can be captured.
#include "engine/software/pipes/failed_packets.h"

namespace psp {

namespace {

void report(Lcore& lcore, SampleFacts facts, Drop reason, const uint8_t* octets, uint32_t length) {
  facts.at_ns = lcore.now_ns;
  facts.reason = static_cast<uint8_t>(reason);
  const bool taken = lcore.samples.push(facts, octets, length);
  lcore.counters[taken ? Value::kCapturesTaken : Value::kCapturesLost].add();
}

}  // namespace

static_assert(kDropReasonCount <= kNoReason);

void keep_frame(Lcore& lcore, const Packet& packet) {
  const uint16_t peer = lcore.spis.flow_of(packet.receive_spi).peer;
  lcore.capture.keep(packet, peer, lcore.spis[packet.receive_spi].spi, lcore.now_ns);
}

void capture_unopened(Lcore& lcore, const Packet& packet, Drop reason) {
  if (!lcore.capture.ingress()) return;
  const Capture::Kept* const kept = lcore.capture.kept(packet);
  if (kept == nullptr || !lcore.capture.take(lcore.now_ns)) {
    lcore.counters[Value::kCapturesSuppressed].add();
    return;
  }
  report(lcore, kept->facts, reason, kept->octets.data(), kept->length);
}

void capture_unsealed(Lcore& lcore, const Packet& packet, Drop reason) {
  if (!lcore.capture.egress()) return;
  if (!lcore.capture.take(lcore.now_ns)) {
    lcore.counters[Value::kCapturesSuppressed].add();
    return;
  }
  const EgressFlow& flow = lcore.flows[packet.flow];
  const Ports ports = read_ports(packet.ip, packet.layer3());
  SampleFacts facts;
  facts.flow = flow.key;
  facts.spi = flow.spi;
  facts.peer = flow.peer;
  facts.source_port = ports.source;
  facts.destination_port = ports.destination;
  facts.point = SamplePoint::kEgressFailed;
  facts.protocol = packet.ip.protocol;
  report(lcore, facts, reason, packet.layer3(), packet.ip.length);
}

}  // namespace psp
