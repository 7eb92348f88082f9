// SPDX-License-Identifier: Apache-2.0
// The one table of pipes: our name, the name in NVIDIA's guide to its PSP gateway, the pipes of its DOCA 3.3
// application, and the engines that have it. Counters, CLI and dashboards use our names with either engine.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace psp {

enum class EngineSet : uint8_t { kSoftware = 1, kDoca = 2, kBoth = 3 };

// enumerator, name, guide, DOCA 3.3, engines; in the order in which a packet can meet them.
#define PSP_PIPES(X)                                                                                        \
  X(kIngressRoot, "ingress_root", "Ingress Root", "ROOT", kBoth)                                            \
  X(kEgressRoot, "egress_root", "Empty pipe", "EGR_ROOT", kBoth)                                            \
  X(kEgressAcl, "egress_acl", "Egress ACL", "MATCH_EGR_ACL_IPV4, MATCH_EGR_ACL_IPV6, ENCAP_ENCRYPT", kBoth) \
  X(kEgressSampling, "egress_sampling", "Egress Sampling", "EGR_SAMPL", kBoth)                              \
  X(kIngressDecrypt, "ingress_decrypt", "Ingress Decrypt", "match_ingress_decrypt, DECRYPT", kBoth)         \
  X(kIngressSampling, "ingress_sampling", "Ingress Sampling", "INGR_SAMPL", kBoth)                          \
  X(kIngressAcl, "ingress_acl", "Ingress ACL", "MATCH_INGR_ACL_IPV4, MATCH_INGR_ACL_IPV6, DECAP", kBoth)    \
  X(kSyndromeStats, "syndrome_stats", "Syndrome Stats", "SYNDROME_STATS", kBoth)

enum class Pipe : uint8_t {
#define X(enumerator, name, guide, doca33, engines) enumerator,
  PSP_PIPES(X)
#undef X
};

struct PipeName {
  std::string_view name;
  std::string_view guide;
  std::string_view doca33;
  EngineSet engines;
};

inline constexpr std::array kPipes = {
#define X(enumerator, name, guide, doca33, engines) PipeName{name, guide, doca33, EngineSet::engines},
    PSP_PIPES(X)
#undef X
};

inline constexpr size_t kPipeCount = kPipes.size();

}  // namespace psp
