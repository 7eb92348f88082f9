// SPDX-License-Identifier: Apache-2.0
// Conversion of C++ values to JavaScript values, in the order of native/addon/engine.ts. No key passes
// through here.
#include <algorithm>
#include <cstring>
#include <map>
#include <sstream>

#include "addon/convert.h"
#include "addon/engine_kinds.h"
#include "engine/drop_reasons.h"
#include "engine/pipe_names.h"
#include "engine/values.h"

namespace psp {
namespace {

// A typed array of `count` elements, each given by element(i).
template <typename T, typename Element>
Napi::TypedArrayOf<T> write_column(Napi::Env env, size_t count, Element element) {
  auto column = Napi::TypedArrayOf<T>::New(env, count);
  for (size_t i = 0; i < count; ++i) column.Data()[i] = element(i);
  return column;
}

template <typename Rows, typename Octets>
Napi::Uint8Array write_octet_rows(Napi::Env env, const Rows& rows, size_t count, Octets octets_of_row) {
  const size_t width = count == 0 ? 0 : sizeof octets_of_row(rows[0]);
  auto column = Napi::Uint8Array::New(env, count * width);
  for (size_t i = 0; i < count; ++i) {
    const auto& octets = octets_of_row(rows[i]);
    std::memcpy(column.Data() + i * width, &octets, width);
  }
  return column;
}

template <typename Octets>
Napi::Uint8Array write_octets(Napi::Env env, const Octets& octets) {
  return write_column<uint8_t>(env, std::size(octets), [&](size_t i) { return octets[i]; });
}

Napi::Uint8Array write_flow(Napi::Env env, const FlowKey& flow) {
  auto octets = Napi::Uint8Array::New(env, sizeof(FlowKey));
  std::memcpy(octets.Data(), &flow, sizeof(FlowKey));
  return octets;
}

Napi::String write_text(Napi::Env env, std::string_view text) {
  return Napi::String::New(env, text.data(), text.size());
}

Napi::Object write_port_info(Napi::Env env, const PortInfo& info) {
  auto object = Napi::Object::New(env);
  object.Set("mac", write_octets(env, info.mac));
  object.Set("mtu", info.mtu);
  object.Set("up", info.up);
  return object;
}

struct EventWriter {
  Napi::Env env;
  Napi::Object object;

  void operator()(const MissedEvent& event) {
    object.Set("type", "missed");
    object.Set("flow", write_flow(env, event.flow));
    object.Set("peer", event.peer);
  }
  void operator()(const SeenEvent& event) {
    object.Set("type", "seen");
    object.Set("flow", write_flow(env, event.inbound));
    object.Set("spi", event.spi);
  }
  void operator()(const UnknownSpiEvent& event) {
    object.Set("type", "unknownSpi");
    object.Set("source", write_octets(env, event.source));
    object.Set("spi", event.spi);
  }
  void operator()(const WornEvent& event) {
    object.Set("type", "worn");
    object.Set("flow", write_flow(env, event.flow));
    object.Set("peer", event.peer);
    object.Set("stopped", event.stopped);
  }
  void operator()(const LinkEvent& event) {
    object.Set("type", "link");
    object.Set("port", event.secured ? "secured" : "unsecured");
    object.Set("present", event.state.present);
    object.Set("up", event.state.up);
    object.Set("mtu", event.state.mtu);
    object.Set("usedMtu", event.used_mtu);
    object.Set("mac", write_octets(env, event.state.mac));
  }
};

// The fields of services/shared/errors.ts that the name and the detail of an error fill. Without a field for
// it, the detail consists of words of the form field=value.
struct Fields {
  const char* name;
  const char* detail;
};
const std::map<std::string, Fields, std::less<>> kFields = {
    {"INTERFACE_MISSING", {"name", "key"}}, {"DRIVER_MISSING", {"name", "key"}},
    {"RIGHTS_MISSING", {"what", "right"}},  {"TABLE_FULL", {"table", "detail"}},
    {"MTU_TOO_SMALL", {"name", nullptr}},   {"LCORES_TOO_MANY", {"name", "detail"}},
};

void write_words(Napi::Object object, const std::string& words) {
  std::istringstream stream(words);
  for (std::string word; stream >> word;) {
    const size_t equals = std::min(word.find('='), word.size() - 1);
    object.Set(word.substr(0, equals), word.substr(equals + 1));
  }
}

// An array with write(row) for each row.
template <typename Rows, typename Write>
Napi::Array write_array(Napi::Env env, const Rows& rows, Write write) {
  auto list = Napi::Array::New(env);
  uint32_t i = 0;
  for (const auto& row : rows) list.Set(i++, write(row));
  return list;
}

Napi::Array write_families(Napi::Env env, const Capabilities::Families& families) {
  std::vector<uint8_t> versions;
  if (families.ipv4) versions.push_back(4);
  if (families.ipv6) versions.push_back(6);
  return write_array(env, versions, [env](uint8_t version) { return Napi::Number::New(env, version); });
}

template <typename Rows, typename Fill>
Napi::Array write_list(Napi::Env env, const Rows& rows, Fill fill) {
  auto list = Napi::Array::New(env);
  uint32_t i = 0;
  for (const auto& row : rows) {
    auto object = Napi::Object::New(env);
    fill(object, row);
    list.Set(i++, object);
  }
  return list;
}

}  // namespace

Napi::Array write_kinds(Napi::Env env) {
  return write_array(env, engine_kinds(),
                     [env](const EngineKind& kind) { return write_text(env, kind.name); });
}

Napi::Object write_capabilities(Napi::Env env, const Capabilities& capabilities) {
  const auto number = [env](auto value) { return Napi::Number::New(env, static_cast<double>(value)); };
  auto object = Napi::Object::New(env);
  object.Set("versions", write_array(env, capabilities.versions, number));
  object.Set("modes", write_array(env, capabilities.modes, number));
  object.Set("inner", write_families(env, capabilities.inner));
  object.Set("outer", write_families(env, capabilities.outer));
  object.Set("samplePoints", write_array(env, capabilities.sample_points, number));
  object.Set("cryptOffset", number(capabilities.crypt_offset));
  object.Set("lcores", number(capabilities.lcores));
  object.Set("maxFlows", number(capabilities.max_flows));
  object.Set("spisPerFlow", number(capabilities.spis_per_flow));
  return object;
}

Napi::Object write_info(Napi::Env env, const EngineInfo& info) {
  auto object = Napi::Object::New(env);
  object.Set("crypto", info.crypto);
  object.Set("unsecured", write_port_info(env, info.unsecured));
  object.Set("secured", write_port_info(env, info.secured));
  object.Set("wantedMtu", info.wanted_mtu);
  return object;
}

Napi::Object write_offers(Napi::Env env, const SealedOffers& sealed) {
  const std::vector<Offer>& offers = sealed.offers;
  const size_t count = offers.size();
  auto columns = Napi::Object::New(env);
  columns.Set("spis", write_column<uint32_t>(env, count, [&](size_t i) { return offers[i].spi; }));
  columns.Set("versions", write_column<uint8_t>(env, count, [&](size_t i) { return offers[i].version; }));
  columns.Set("numbers",
              write_column<uint64_t>(env, count, [&](size_t i) { return offers[i].number.value_or(0); }));
  columns.Set("numbered", write_column<uint8_t>(env, count, [&](size_t i) {
                return static_cast<uint8_t>(offers[i].number.has_value());
              }));
  columns.Set("modes", write_column<uint8_t>(env, count,
                                             [&](size_t i) { return static_cast<uint8_t>(offers[i].mode); }));
  columns.Set("cookies", write_column<uint64_t>(env, count, [&](size_t i) { return offers[i].cookie; }));
  columns.Set("addresses",
              write_octet_rows(
                  env, offers, count, [](const Offer& offer) -> auto& { return offer.address; }));
  columns.Set("macs", write_octet_rows(
                          env, offers, count, [](const Offer& offer) -> auto& { return offer.mac; }));
  auto seal = Napi::Object::New(env);
  seal.Set("start", write_octets(env, sealed.seal.id.start));
  seal.Set("counter", Napi::BigInt::New(env, sealed.seal.id.counter));
  seal.Set("box", write_octets(env, sealed.seal.box));
  auto object = Napi::Object::New(env);
  object.Set("offers", columns);
  object.Set("seal", seal);
  object.Set("generation", sealed.generation);
  object.Set("spisLeft", sealed.spis_left);
  return object;
}

Napi::Value write_results(Napi::Env env, const std::vector<InstallResult>& results) {
  return write_column<uint8_t>(env, results.size(),
                               [&](size_t i) { return static_cast<uint8_t>(results[i]); });
}

Napi::Array write_events(Napi::Env env, const std::vector<Event>& events) {
  return write_list(env, events, [env](Napi::Object object, const Event& event) {
    std::visit(EventWriter{env, object}, event);
  });
}

Napi::Object write_samples(Napi::Env env, const std::vector<Sample>& samples, size_t count) {
  size_t octets = 0;
  for (size_t i = 0; i < count; ++i) octets += samples[i].copied;
  auto copies = Napi::Uint8Array::New(env, octets);
  size_t at = 0;
  for (size_t i = 0; i < count; ++i) {
    std::memcpy(copies.Data() + at, samples[i].octets.data(), samples[i].copied);
    at += samples[i].copied;
  }
  const auto u8s = [&](auto of) {
    return write_column<uint8_t>(env, count, [&](size_t i) { return static_cast<uint8_t>(of(samples[i])); });
  };
  const auto u16s = [&](auto of) {
    return write_column<uint16_t>(env, count, [&](size_t i) { return of(samples[i]); });
  };
  const auto u32s = [&](auto of) {
    return write_column<uint32_t>(env, count, [&](size_t i) { return of(samples[i]); });
  };
  auto object = Napi::Object::New(env);
  object.Set("count", static_cast<double>(count));
  object.Set("points", u8s([](const Sample& sample) { return sample.point; }));
  object.Set("atNs", write_column<uint64_t>(env, count, [&](size_t i) { return samples[i].at_ns; }));
  object.Set("flows", write_octet_rows(
                          env, samples, count, [](const Sample& sample) -> auto& { return sample.flow; }));
  object.Set("peers", u16s([](const Sample& sample) { return sample.peer; }));
  object.Set("spis", u32s([](const Sample& sample) { return sample.spi; }));
  object.Set("protocols", u8s([](const Sample& sample) { return sample.protocol; }));
  object.Set("sourcePorts", u16s([](const Sample& sample) { return sample.source_port; }));
  object.Set("destinationPorts", u16s([](const Sample& sample) { return sample.destination_port; }));
  object.Set("rates", u8s([](const Sample& sample) { return sample.rate_log2; }));
  object.Set("reasons", u8s([](const Sample& sample) { return sample.reason; }));
  object.Set("originalLengths", u32s([](const Sample& sample) { return sample.original_length; }));
  object.Set("copied", u16s([](const Sample& sample) { return sample.copied; }));
  object.Set("octets", copies);
  return object;
}

Napi::Object write_flow_page(Napi::Env env, const FlowsCommand& page) {
  const std::vector<FlowRow>& rows = page.rows;
  const size_t count = page.count;
  auto object = Napi::Object::New(env);
  object.Set("flows", write_octet_rows(
                          env, rows, count, [](const FlowRow& row) -> auto& { return row.flow; }));
  object.Set("states", write_column<uint8_t>(env, count,
                                             [&](size_t i) { return static_cast<uint8_t>(rows[i].state); }));
  object.Set("peers", write_column<uint16_t>(env, count, [&](size_t i) { return rows[i].peer; }));
  object.Set("spis", write_column<uint32_t>(env, count, [&](size_t i) { return rows[i].spi; }));
  object.Set("versions", write_column<uint8_t>(env, count, [&](size_t i) { return rows[i].version; }));
  object.Set("modes",
             write_column<uint8_t>(env, count, [&](size_t i) { return static_cast<uint8_t>(rows[i].mode); }));
  object.Set("pathMtus", write_column<uint16_t>(env, count, [&](size_t i) { return rows[i].path_mtu; }));
  object.Set("packets", write_column<uint64_t>(env, count, [&](size_t i) { return rows[i].packets; }));
  object.Set("bytes", write_column<uint64_t>(env, count, [&](size_t i) { return rows[i].bytes; }));
  object.Set("held", write_column<uint32_t>(env, count, [&](size_t i) { return rows[i].held; }));
  object.Set("liveSpis", write_column<uint8_t>(env, count, [&](size_t i) { return rows[i].live_spis; }));
  object.Set("nextCursor", static_cast<double>(page.next_cursor));
  return object;
}

Napi::Object write_counters(Napi::Env env, const EngineCounts& counts) {
  const auto big = [env](uint64_t value) { return Napi::BigInt::New(env, value); };
  const auto write_port = [&](const char* role, const PortCount& port) {
    auto object = Napi::Object::New(env);
    object.Set("role", role);
    object.Set("rxPackets", big(port.rx_packets));
    object.Set("rxBytes", big(port.rx_bytes));
    object.Set("txPackets", big(port.tx_packets));
    object.Set("txBytes", big(port.tx_bytes));
    return object;
  };
  auto ports = Napi::Array::New(env, 2);
  ports.Set(0u, write_port("unsecured", counts.unsecured));
  ports.Set(1u, write_port("secured", counts.secured));
  auto values = Napi::Object::New(env);
  for (const NamedValue& value : counts.values) values.Set(write_text(env, value.name), big(value.value));
  auto object = Napi::Object::New(env);
  object.Set("pipes", write_list(env, counts.pipes, [&](Napi::Object row, const PipeCount& pipe) {
               row.Set("name", write_text(env, pipe.name));
               row.Set("hit", big(pipe.hit));
               row.Set("miss", big(pipe.miss));
             }));
  object.Set("drops", write_list(env, counts.drops, [&](Napi::Object row, const DropCount& drop) {
               row.Set("reason", write_text(env, drop.reason));
               row.Set("direction", write_text(env, drop.direction));
               row.Set("packets", big(drop.packets));
             }));
  object.Set("ports", ports);
  object.Set("peers", write_list(env, counts.peers, [&](Napi::Object row, const PeerCount& peer) {
               row.Set("egressPackets", big(peer.egress_packets));
               row.Set("egressBytes", big(peer.egress_bytes));
               row.Set("ingressPackets", big(peer.ingress_packets));
               row.Set("ingressBytes", big(peer.ingress_bytes));
               row.Set("lastEgressMs", big(peer.last_egress_ms));
               row.Set("lastIngressMs", big(peer.last_ingress_ms));
               row.Set("keyedFlows", static_cast<double>(peer.keyed_flows));
               row.Set("inboundFlows", static_cast<double>(peer.inbound_flows));
             }));
  object.Set("lcores", write_list(env, counts.lcores, [&](Napi::Object row, const LcoreCount& lcore) {
               row.Set("rxPackets", big(lcore.rx_packets));
               row.Set("txPackets", big(lcore.tx_packets));
             }));
  object.Set("bypass", write_list(env, counts.bypass, [&](Napi::Object row, const BypassCount& rule) {
               row.Set("egressPackets", big(rule.egress_packets));
               row.Set("ingressPackets", big(rule.ingress_packets));
             }));
  object.Set("values", values);
  return object;
}

Napi::Error write_error(Napi::Env env, const EngineError& error) {
  const auto fields = kFields.find(error.code);
  const Fields names = fields == kFields.end() ? Fields{"name", "detail"} : fields->second;
  auto data = Napi::Object::New(env);
  if (!error.name.empty()) data.Set(names.name, error.name);
  if (names.detail == nullptr) {
    write_words(data, error.detail);
  } else if (!error.detail.empty()) {
    data.Set(names.detail, error.detail);
  }
  std::string message = error.code;
  for (const std::string& part : {error.name, error.detail}) {
    if (!part.empty()) message += ": " + part;
  }
  Napi::Error result = Napi::Error::New(env, message);
  result.Set("code", error.code);
  result.Set("data", data);
  return result;
}

Napi::Value engine_counters(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return write_list(env, engine_kinds(), [env](Napi::Object row, const EngineKind& kind) {
    row.Set("kind", write_text(env, kind.name));
    row.Set("counters", write_counters(env, kind.make()->counts()));
  });
}

Napi::Array write_drop_reasons(Napi::Env env) {
  return write_list(env, kDropReasons, [env](Napi::Object row, const DropReason& reason) {
    row.Set("name", write_text(env, reason.name));
    row.Set("direction", write_text(env, direction_name(reason.direction)));
    row.Set("cause", write_text(env, reason.cause));
    row.Set("remedy", write_text(env, reason.remedy));
  });
}

Napi::Array write_values(Napi::Env env) {
  return write_list(env, kValues, [env](Napi::Object row, const ValueName& value) {
    row.Set("name", write_text(env, value.name));
    row.Set("meaning", write_text(env, value.meaning));
  });
}

Napi::Array write_pipes(Napi::Env env) {
  return write_list(env, kPipes, [env](Napi::Object row, const PipeName& pipe) {
    row.Set("name", write_text(env, pipe.name));
    row.Set("guide", write_text(env, pipe.guide));
    row.Set("doca33", write_text(env, pipe.doca33));
  });
}

}  // namespace psp
