// SPDX-License-Identifier: Apache-2.0
// The fields have the order of services/shared/bus/seal.ts.
#include "psp/bus_seal_data.h"

#include "psp/octets.h"

namespace psp {

namespace {

class Octets {
 public:
  template <typename T>
  void integer(T value) {
    uint8_t octets[sizeof(T)];
    store(octets, value);
    raw(octets);
  }
  void octet(uint8_t value) { all.push_back(value); }
  void raw(std::span<const uint8_t> octets) { all.insert(all.end(), octets.begin(), octets.end()); }
  void text(const std::string& value) {
    octet(static_cast<uint8_t>(value.size()));
    all.insert(all.end(), value.begin(), value.end());
  }
  void optional(const std::optional<uint64_t>& value) {
    octet(value.has_value());
    integer(value.value_or(0));
  }

  std::vector<uint8_t> all;
};

}  // namespace

std::vector<uint8_t> associated_data(const SealContext& context, const std::string& node,
                                     const std::string& sender, const RequestId& own) {
  const RequestId& request = context.request ? *context.request : own;
  Octets data;
  data.text("psp bus seal v1");
  data.text(context.contract);
  data.text(node);
  data.text(sender);
  data.integer(context.epoch);
  data.raw(request.start);
  data.integer(request.counter);
  data.octet(static_cast<uint8_t>(context.role));
  data.text(context.peer);
  data.integer(context.exchange);
  data.optional(context.peer_epoch);
  data.integer(static_cast<uint32_t>(context.flows.size()));
  for (const FlowKey& flow : context.flows) {
    data.raw(flow.source);
    data.raw(flow.destination);
  }
  data.integer(static_cast<uint32_t>(context.offers.size()));
  for (const Offer& offer : context.offers) {
    data.octet(offer.version);
    data.integer(offer.spi);
    data.optional(offer.number);
    data.integer(offer.cookie);
    data.octet(static_cast<uint8_t>(offer.mode));
    data.raw(offer.address);
    data.raw(offer.mac);
  }
  return data.all;
}

}  // namespace psp
