// SPDX-License-Identifier: Apache-2.0
// Conversion of JavaScript values to C++ values, in the order of native/addon/engine.ts.
#include <algorithm>
#include <cstring>

#include "addon/convert.h"
#include "psp/header.h"

namespace psp {
namespace {

constexpr size_t kFlowOctets = sizeof(FlowKey);
constexpr size_t kPrefixOctets = 17;
constexpr size_t kPeersAtMost = 0xfff0;     // the numbers above have other meanings
constexpr size_t kBoundTextAtMost = 255;    // its length fits one octet, as seals bind it
constexpr size_t kSourcePortsAtLeast = 16;  // PSP specification, "UDP Header"

std::string read_bound_text(const JsValue& value) {
  std::string text = value.text();
  if (text.size() > kBoundTextAtMost) value.refuse("at most 255 octets long");
  return text;
}

std::vector<Prefix> read_prefixes(const JsValue& value) {
  const auto octets = value.column<uint8_t>();
  if (octets.size() % kPrefixOctets != 0) value.refuse("17 octets for each prefix");
  std::vector<Prefix> prefixes(octets.size() / kPrefixOctets);
  for (size_t i = 0; i < prefixes.size(); ++i) {
    const uint8_t* row = octets.data() + i * kPrefixOctets;
    if (row[16] > 128) value.refuse("prefixes of at most 128 bits");
    std::copy_n(row, 16, prefixes[i].address.begin());
    prefixes[i].length = row[16];
  }
  return prefixes;
}

PeerConfig read_peer(const JsValue& peer) {
  PeerConfig config;
  config.vips = read_prefixes(peer["vips"]);
  config.mode = read_mode(peer["mode"]);
  config.cookie = peer["cookie"].flag();
  config.crypt_offset = peer["cryptOffset"].number_of<uint8_t>(kMaxCryptOffset);
  const JsValue mtu = peer["mtu"], sampling = peer["sampling"];
  if (!mtu.is_absent()) config.mtu = mtu.number_of<uint16_t>();
  if (sampling.is_text()) {
    sampling.choice({"off"});
    config.sampling_log2 = std::optional<uint8_t>();
  } else if (!sampling.is_absent()) {
    config.sampling_log2 = read_rate(sampling);
  }
  return config;
}

OuterConfig read_outer(const JsValue& secured) {
  OuterConfig outer;
  outer.hop_limit = secured["hopLimit"].number_of<uint8_t>();
  const JsValue dscp = secured["dscp"], ports = secured["sourcePorts"];
  if (!dscp.is_absent()) outer.dscp = dscp.number_of<uint8_t>(63);
  outer.udp_checksum = secured["udpChecksum"].flag();
  if (ports.is_text()) {
    outer.source_ports = static_cast<SourcePorts>(ports.choice({"hash", "symmetricHash"}));
  } else {
    outer.source_ports = SourcePorts::kTable;
    outer.port_table = ports.column<uint16_t>();
    if (outer.port_table.size() < kSourcePortsAtLeast) ports.refuse("at least 16 ports");
  }
  return outer;
}

BypassRule read_bypass_rule(const JsValue& rule) {
  const std::vector<Prefix> prefix = read_prefixes(rule["prefix"]);
  if (prefix.size() != 1) rule["prefix"].refuse("17 octets long");
  return {prefix.front(), rule["protocol"].number_of<uint8_t>(), rule["port"].number_of<uint16_t>()};
}

std::vector<PeerConfig> read_peers(const JsValue& value, size_t most) {
  std::vector<PeerConfig> peers;
  for (const JsValue& peer : value.list()) peers.push_back(read_peer(peer));
  if (peers.size() > most) value.refuse("at most as many as maxPeers");
  return peers;
}

std::vector<BypassRule> read_bypass(const JsValue& value) {
  std::vector<BypassRule> rules;
  for (const JsValue& rule : value.list()) rules.push_back(read_bypass_rule(rule));
  if (rules.size() > kBypassRulesAtMost) value.refuse("at most 64");
  return rules;
}

SamplingConfig read_sampling(const JsValue& sampling) {
  SamplingConfig config;
  config.egress_log2 = read_rate(sampling["egressLog2"]);
  config.snap_bytes = sampling["snapBytes"].number_of<uint16_t>(kSnapAtMost);
  config.sealed = sampling["sealed"].flag();
  config.plain = sampling["plain"].flag();
  return config;
}

RequestId read_request_id(const JsValue& object) {
  return {object["start"].octets<32>(), object["counter"].u64()};
}

}  // namespace

uint32_t read_spi(const JsValue& value) {
  const auto spi = value.number_of<uint32_t>();
  if (is_reserved_spi(spi)) value.refuse("an SPI whose low 31 bits are not all zero");
  return spi;
}

Mode read_mode(const JsValue& value) {
  return value.choice({"tunnel", "transport"}) == 0 ? Mode::kTunnel : Mode::kTransport;
}

EngineOptions read_options(const JsValue& options) {
  EngineOptions result;
  result.bus_secret = options["busSecret"].secret(32);
  result.kind = options["kind"].text();
  result.node = read_bound_text(options["node"]);
  result.config = read_engine_config(options);
  result.on_events = options["onEvents"].function();
  result.on_samples = options["onSamples"].function();
  return result;
}

EngineConfig read_engine_config(const JsValue& options) {
  EngineConfig config;
  const JsValue unsecured = options["unsecured"], secured = options["secured"], gateway = secured["gateway"];
  config.unsecured.device = unsecured["device"].text();
  config.gateways = read_prefixes(unsecured["gateways"]);
  config.secured.device = secured["device"].text();
  config.secured_address.address = secured["address"].octets<16>();
  config.secured_address.length = secured["prefixLength"].number_of<uint8_t>(128);
  if (!gateway.is_absent()) config.secured_gateway = gateway.octets<16>();

  config.vips = read_prefixes(options["vips"]);
  config.max_peers = static_cast<uint32_t>(options["maxPeers"].number(kPeersAtMost));
  config.peers = read_peers(options["peers"], config.max_peers);
  config.outer = read_outer(secured);
  config.ingress_acl = options["ingressAcl"].flag();
  config.bypass = read_bypass(options["bypass"]);
  const JsValue capture = options["capture"];
  config.capture.ingress = capture["ingress"].flag();
  config.capture.egress = capture["egress"].flag();
  config.capture.per_second = capture["perSecond"].number_of<uint32_t>();
  config.crypto = static_cast<CryptoChoice>(options["crypto"].choice({"auto", "ipsec-mb", "libcrypto"}));
  config.busy_polling = options["polling"].choice({"adaptive", "busy"}) == 1;
  config.lcores = static_cast<uint32_t>(options["lcores"].number(kLcoresAtMost, 1));
  config.max_flows = options["maxFlows"].number_of<uint32_t>();
  config.retire_ms = options["retireMs"].number_of<uint32_t>();
  const JsValue limits = options["limits"];
  config.hold_ms = limits["holdMs"].number_of<uint32_t>();
  config.unanswered_ms = limits["unansweredMs"].number_of<uint32_t>();
  config.held_per_flow = limits["heldPerFlow"].number_of<uint32_t>();
  config.held_per_source = limits["heldPerSource"].number_of<uint32_t>();
  config.held_total = limits["heldTotal"].number_of<uint32_t>();
  config.wants_per_peer = limits["wantsPerPeer"].number_of<uint32_t>();
  config.spis_per_flow = limits["spisPerFlow"].number_of<uint32_t>();
  config.sampling = read_sampling(options["sampling"]);
  return config;
}

std::vector<FlowKey> read_flows(const JsValue& value) {
  const auto octets = value.column<uint8_t>();
  if (octets.size() % kFlowOctets != 0) value.refuse("32 octets for each flow");
  std::vector<FlowKey> flows(octets.size() / kFlowOctets);
  if (!flows.empty()) std::memcpy(flows.data(), octets.data(), octets.size());
  return flows;
}

std::vector<Offer> read_offers(const JsValue& columns) {
  const auto spis = columns["spis"].column<uint32_t>();
  const auto versions = columns["versions"].column<uint8_t>();
  const auto numbers = columns["numbers"].column<uint64_t>();
  const auto numbered = columns["numbered"].column<uint8_t>();
  const auto cookies = columns["cookies"].column<uint64_t>();
  const auto modes = columns["modes"].column<uint8_t>();
  const auto addresses = columns["addresses"].column<uint8_t>();
  const auto macs = columns["macs"].column<uint8_t>();
  const size_t count = spis.size();
  if (versions.size() != count || numbers.size() != count || numbered.size() != count ||
      cookies.size() != count || modes.size() != count || addresses.size() != count * 16 ||
      macs.size() != count * 6) {
    columns.refuse("columns of one length");
  }
  std::vector<Offer> offers(count);
  for (size_t i = 0; i < count; ++i) {
    const auto mode = static_cast<Mode>(modes[i]);
    if (!is_known_version(versions[i])) columns["versions"].refuse("from 0 to 3");
    if (is_reserved_spi(spis[i])) columns["spis"].refuse("SPIs whose low 31 bits are not all zero");
    if (mode != Mode::kTunnel && mode != Mode::kTransport) {
      columns["modes"].refuse("1 (tunnel) or 2 (transport)");
    }
    offers[i].spi = spis[i];
    offers[i].version = versions[i];
    if (numbered[i] != 0) offers[i].number = numbers[i];
    offers[i].cookie = cookies[i];
    offers[i].mode = mode;
    std::copy_n(addresses.data() + i * 16, 16, offers[i].address.begin());
    std::copy_n(macs.data() + i * 6, 6, offers[i].mac.begin());
  }
  return offers;
}

SealContext read_binding(const JsValue& binding) {
  SealContext context;
  context.contract = read_bound_text(binding["contract"]);
  context.epoch = binding["epoch"].u64();
  context.peer = read_bound_text(binding["peer"]);
  context.exchange = binding["exchange"].u64();
  const JsValue peer_epoch = binding["peerEpoch"], request = binding["request"];
  if (!peer_epoch.is_absent()) context.peer_epoch = peer_epoch.u64();
  if (!request.is_absent()) context.request = read_request_id(request);
  return context;
}

Seal read_seal(const JsValue& seal) {
  return {read_request_id(seal), seal["box"].column<uint8_t>()};
}

std::vector<uint32_t> read_rows(const JsValue& value, size_t bound) {
  std::vector<uint32_t> rows = value.column<uint32_t>();
  for (const uint32_t row : rows) {
    if (row >= bound) value.refuse("rows of the opened keys");
  }
  return rows;
}

WithdrawCommand read_withdraw(const JsValue& inbound, const JsValue& spis) {
  const std::vector<FlowKey> flows = read_flows(inbound);
  const auto column = spis.column<uint32_t>();
  if (flows.size() != column.size()) spis.refuse("one for each inbound flow");
  WithdrawCommand command;
  for (size_t i = 0; i < flows.size(); ++i) command.entries.push_back({flows[i], column[i]});
  return command;
}

ReconfigureCommand read_reconfigure(const JsValue& topology, size_t max_peers) {
  ReconfigureCommand command;
  command.vips = read_prefixes(topology["vips"]);
  command.peers = read_peers(topology["peers"], max_peers);
  command.bypass = read_bypass(topology["bypass"]);
  return command;
}

Refusal read_refusal(const JsValue& value) {
  return static_cast<Refusal>(value.number(static_cast<uint64_t>(Refusal::kRemoved)));
}

std::optional<uint8_t> read_rate(const JsValue& value) {
  if (value.is_absent()) return std::nullopt;
  return value.number_of<uint8_t>(kRateAtMost);
}

}  // namespace psp
