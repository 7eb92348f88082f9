// SPDX-License-Identifier: Apache-2.0
// Reads the counters before and after each frame and dissects the frames that left like any other.
#include "trace/tracer.h"

#include <algorithm>

#include "engine/software/commands.h"
#include "engine/software/pipes/egress/path.h"
#include "engine/software/turn.h"
#include "pcap/link.h"
#include "psp/octets.h"
#include "psp/protocols.h"
#include "psp/transport.h"
#include "psp/tunnel.h"

namespace psp {

namespace {

constexpr MacAddress kUnsecuredMac = {2, 0, 0, 0, 0, 1}, kSecuredMac = {2, 0, 0, 0, 0, 2};
constexpr MacAddress kNeighbourMac = {2, 0, 0, 0, 0, 3};
constexpr uint64_t kSeed = 1;  // sampling decisions are the same in every run
constexpr size_t kEvents = 64, kSamples = 1024;
constexpr int kMaxTurns = 4;  // resolving a neighbour takes two: request, then the frame leaves

PortInfo port_info(const TraceConfig& config, Direction direction) {
  const bool unsecured = direction == Direction::kEgress;
  PortInfo info{unsecured ? kUnsecuredMac : kSecuredMac,
                unsecured ? config.unsecured_mtu : config.secured_mtu};
  if (config.mac && config.direction == direction) info.mac = *config.mac;
  return info;
}

std::span<const uint8_t, 32> master(const TraceConfig& config, size_t slot) {
  return std::span<const uint8_t, 32>(config.master_keys.data() + slot * 32, 32);
}

std::unique_ptr<MasterKey> master_key(const TraceConfig& config, size_t slot) {
  return config.master_keys.empty() ? nullptr : std::make_unique<MasterKey>(master(config, slot));
}

MasterKeys master_keys(const TraceConfig& config) {
  return {.by_slot = {master_key(config, 0), master_key(config, 1)}, .next_slot = 0, .next = nullptr};
}

bool is_loop_counter(std::string_view name) {
  return name == "polls" || name == "commands";
}

Moved difference(const EngineCounts& from, const EngineCounts& to) {
  Moved moved;
  for (size_t i = 0; i < to.pipes.size(); ++i) {
    const PipeCount change{to.pipes[i].name, to.pipes[i].hit - from.pipes[i].hit,
                           to.pipes[i].miss - from.pipes[i].miss};
    if (change.hit != 0 || change.miss != 0) moved.pipes.push_back(change);
  }
  for (size_t i = 0; i < to.drops.size(); ++i) {
    const uint64_t packets = to.drops[i].packets - from.drops[i].packets;
    if (packets != 0) moved.drops.push_back({to.drops[i].reason, to.drops[i].direction, packets});
  }
  for (size_t i = 0; i < to.values.size(); ++i) {
    const auto change = static_cast<int64_t>(to.values[i].value - from.values[i].value);
    if (change != 0 && !is_loop_counter(to.values[i].name))
      moved.values.push_back({to.values[i].name, change});
  }
  for (uint32_t i = 0; i < to.bypass.size(); ++i) {
    const BypassCount &now = to.bypass[i], &then = from.bypass[i];
    if (now.egress_packets != then.egress_packets || now.ingress_packets != then.ingress_packets) {
      moved.bypassed.push_back(i);
    }
  }
  return moved;
}

// The address whose MAC address a frame of the gateway requests, if the frame is such a request.
std::optional<Address> requested_neighbour(std::span<const uint8_t> frame) {
  if (frame.size() < kEthernetLength) return std::nullopt;
  const uint16_t type = load_u16(frame.data() + 12);
  const std::span<const uint8_t> octets = frame.subspan(kEthernetLength);
  std::optional<NeighbourMessage> message;
  if (type == kEtherTypeArp) message = read_arp(octets.data(), octets.size());
  IpPacket ip;
  if (type == kEtherTypeIpv6 && read_ip(octets.data(), octets.size(), &ip) == IpFault::kNone &&
      is_neighbour_discovery(ip, octets.data())) {
    message = read_neighbour_discovery(ip, octets.data());
  }
  return message && message->request ? std::optional(message->target) : std::nullopt;
}

// No peer answers in a trace, so held packets never time out.
TraceConfig without_hold_limit(TraceConfig config) {
  config.engine.hold_ms = UINT32_MAX;
  return config;
}

template <typename Body>
void execute(MainLcore& lcore, Body body) {
  Command command;
  command.body = std::move(body);
  Budget all = Budget::unlimited();
  carry_out(lcore, command, all);
}

}  // namespace

Tracer::Tracer(TraceConfig config)
    : config_(without_hold_limit(std::move(config))),
      egress_(config_.direction == Direction::kEgress),
      keys_(config_.master_keys.empty()
                ? nullptr
                : std::make_unique<CaptureKeys>(std::span<const uint8_t, kMasterKeysLength>(
                      config_.master_keys.data(), kMasterKeysLength))),
      aead_(make_aead_fastest()),
      unsecured_(port_info(config_, Direction::kEgress)),
      secured_(port_info(config_, Direction::kIngress)),
      events_(kEvents),
      samples_(kSamples, config_.engine.sampling.snap_bytes),
      master_keys_(master_keys(config_)),
      main_(std::make_unique<MainLcore>(config_.engine, *aead_, unsecured_, secured_, master_keys_, counters_,
                                        events_, samples_, kSeed)) {
  if (!egress_ && keys_) {
    offers_ =
        std::make_unique<Offers>(config_.engine, main_->topology->peers, config_.versions, *keys_, secured_);
  }
}

std::optional<InnerDissection> Tracer::scan(std::span<const uint8_t> frame, uint64_t at_ns) {
  return offers_ ? offers_->scan(frame, at_ns / 1'000'000) : std::nullopt;
}

TracedFrame Tracer::run(std::span<const uint8_t> frame, uint64_t at_ns) {
  if (!first_at_ns_) first_at_ns_ = at_ns;
  if (at_ns > *first_at_ns_) now_ns_ = std::max(now_ns_, kFirstNs + (at_ns - *first_at_ns_));
  TracedFrame traced;
  const EngineCounts first = counters_.read();
  TracedFrame timers;
  settle(&timers);
  const EngineCounts before = counters_.read();
  traced.before = difference(first, before);

  traced.dissection = dissect(frame);
  if (egress_) {
    if (traced.dissection.ip) key_flow({traced.dissection.ip->source, traced.dissection.ip->destination});
  } else {
    admit_and_report_ingress(&traced);
    if (traced.flow) key_flow(traced.flow->flow.reversed());
  }
  const EngineCounts armed = counters_.read();
  port().receive(addressed(frame));
  settle(&traced);
  traced.moved = difference(armed, counters_.read());
  if (egress_) report_egress(&traced);
  return traced;
}

// Unless --mac gave the port's MAC address, every unicast frame is readdressed to the port. Frames of link
// types without addresses always are.
std::vector<uint8_t> Tracer::addressed(std::span<const uint8_t> frame) const {
  std::vector<uint8_t> octets(frame.begin(), frame.end());
  const MacAddress mac = egress_ ? unsecured_.info().mac : secured_.info().mac;
  if (octets.size() < mac.size() || (octets[0] & 1) != 0) return octets;
  const bool unaddressed =
      std::all_of(octets.begin(), octets.begin() + mac.size(), [](uint8_t o) { return o == 0; });
  if (unaddressed || !config_.mac) std::ranges::copy(mac, octets.begin());
  return octets;
}

void Tracer::settle(TracedFrame* traced) {
  bool requested = true;
  for (int turns = 0; requested && turns < kMaxTurns; ++turns) {
    // Timers with much to do take several turns.
    while (run_once(*main_, now_ns_)) {
    }
    requested = collect(false, traced);
    requested |= collect(true, traced);
  }
  for (Event event; events_.pop(&event);) {
  }
  for (Sample sample; samples_.pop(&sample);) traced->samples.push_back(sample);
}

// Collects the frames that left a port and answers its neighbour requests. Returns whether there were any
// requests.
bool Tracer::collect(bool secured, TracedFrame* traced) {
  MemoryPort& port = secured ? secured_ : unsecured_;
  Neighbours& neighbours = secured ? main_->next_hops : main_->hosts;
  bool requested = false;
  for (const std::vector<uint8_t>& frame : std::exchange(port.sent, {})) {
    const std::optional<Address> target = requested_neighbour(frame);
    if (!target) {
      Dissection dissection = dissect(frame);
      if (!egress_ && secured) dissection.too_big_mtu = sealed_too_big_mtu(frame, dissection);
      traced->left.push_back({secured, static_cast<uint32_t>(frame.size()), dissection});
      continue;
    }
    requested = true;
    traced->resolved.push_back(*target);
    NeighbourMessage reply;
    reply.sender = reply.target = *target;
    reply.mac = kNeighbourMac;
    reply.solicited = true;
    neighbours.receive(reply, main_->now_ms);
  }
  return requested;
}

// The MTU in an ICMP error of the gateway that left sealed and unfragmented.
std::optional<uint16_t> Tracer::sealed_too_big_mtu(std::span<const uint8_t> frame,
                                                   const Dissection& dissection) const {
  if (!dissection.psp || dissection.ip->fragment) return dissection.too_big_mtu;
  std::vector<uint8_t> octets(frame.begin(), frame.end());
  uint8_t* const layer3 = octets.data() + kEthernetLength;
  uint8_t* const psp = layer3 + dissection.ip->payload_offset + kUdpHeaderLength;
  const auto length = static_cast<size_t>(octets.data() + octets.size() - psp);
  Header header;
  if (read_header(psp, length, &header) != HeaderFault::kNone) return std::nullopt;
  void* const key = keys_->expanded(header.spi, header.version);
  uint8_t* inner = nullptr;
  IpPacket packet;
  const bool tunnel = dissection.ip->source == config_.engine.secured_address.address;
  const OpenFault fault =
      tunnel ? open_tunnel(keys_->aead(), key, &header, psp, length, &inner, &packet)
             : open_transport(keys_->aead(), key, &header, *dissection.ip, layer3, length, &inner, &packet);
  if (fault != OpenFault::kNone) return std::nullopt;
  // Rebuilds the Ethernet frame around the inner packet.
  uint8_t* const start = inner - kEthernetLength;
  EthernetAddress(kUnsecuredMac).write_source(start, packet.version == 6);
  return dissect({start, kEthernetLength + size_t{packet.length}}).too_big_mtu;
}

// Installs the key of a flow to a peer before the first packet of the flow runs.
void Tracer::key_flow(const FlowKey& flow) {
  if (!config_.key) return;
  const uint16_t peer = main_->topology->peers.owner(flow.destination);
  const bool ours = main_->topology->peers.owner(flow.source) == Peers::kLocal;
  if (!ours || peer >= config_.engine.peers.size() || main_->flow_table.find(flow) != 0) return;
  const TraceKey& configured = *config_.key;
  EgressKey key;
  key.spi = configured.spi;
  key.version = config_.versions[peer].front();
  key.mode = config_.engine.peers[peer].mode;
  key.cookie = configured.cookie;
  key.first_iv = configured.first_iv;
  key.outer_destination = configured.outer_destination;
  InstallCommand install;
  install.peer = peer;
  install.flows = {flow};
  install.keys.push_back(key);
  master_keys_.by_slot[slot_of(configured.spi)]->derive(key.spi, key.version, install.keys[0].key.data());
  install.results.resize(1);
  execute(*main_, std::move(install));
}

void Tracer::report_egress(TracedFrame* traced) {
  if (!traced->dissection.ip) return;
  const FlowKey key{traced->dissection.ip->source, traced->dissection.ip->destination};
  const uint16_t peer = main_->topology->peers.owner(key.destination);
  if (peer < config_.engine.peers.size()) traced->peer = peer;
  const uint32_t index = main_->flow_table.find(key);
  if (index == 0) return;
  const EgressFlow& flow = main_->flows[index];
  if (flow.state != EgressFlow::State::kKeyed) return;
  traced->flow = {key, flow.spi, flow.version, flow.mode, flow.cookie, path_mtu(*main_, index)};
}

void Tracer::admit_and_report_ingress(TracedFrame* traced) {
  if (!traced->dissection.psp || !offers_) return;
  if (const auto due = offers_->offer_for(traced->dissection)) {
    OfferCommand offer;
    offer.inbound = {due->inbound};
    offer.cookies = {due->cookie};
    offer.peer = due->peer;
    offer.version = due->version;
    offer.mode = due->mode;
    offer.spis = {due->spi};
    execute(*main_, std::move(offer));
  }
  if (!offers_->has_flow(traced->dissection.psp->spi)) return;
  const uint32_t index =
      main_->receive_spis.find(traced->dissection.psp->spi, traced->dissection.psp->version);
  if (index == 0) return;
  const ReceiveSpi& spi = main_->spis[index];
  const InboundFlow& flow = main_->spis.flow_of(index);
  traced->peer = flow.peer;
  traced->flow = {flow.key, spi.spi, spi.version, spi.mode, spi.cookie, 0};
}

}  // namespace psp
