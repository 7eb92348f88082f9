// SPDX-License-Identifier: Apache-2.0
// The one table of pipes: our name, the name in NVIDIA's guide to its PSP gateway, and the pipes of its
// DOCA 3.3 application. Every engine has every pipe; counters, CLI and dashboards use our names with each of
// them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace psp {

// enumerator, name, guide, DOCA 3.3; in the order in which a packet can meet them.
#define PSP_PIPES(X)                                                                                 \
  X(kIngressRoot, "ingress_root", "Ingress Root", "ROOT")                                            \
  X(kEgressRoot, "egress_root", "Empty pipe", "EGR_ROOT")                                            \
  X(kEgressAcl, "egress_acl", "Egress ACL", "MATCH_EGR_ACL_IPV4, MATCH_EGR_ACL_IPV6, ENCAP_ENCRYPT") \
  X(kEgressSampling, "egress_sampling", "Egress Sampling", "EGR_SAMPL")                              \
  X(kIngressDecrypt, "ingress_decrypt", "Ingress Decrypt", "match_ingress_decrypt, DECRYPT")         \
  X(kIngressSampling, "ingress_sampling", "Ingress Sampling", "INGR_SAMPL")                          \
  X(kIngressAcl, "ingress_acl", "Ingress ACL", "MATCH_INGR_ACL_IPV4, MATCH_INGR_ACL_IPV6, DECAP")    \
  X(kSyndromeStats, "syndrome_stats", "Syndrome Stats", "SYNDROME_STATS")

enum class Pipe : uint8_t {
#define X(enumerator, name, guide, doca33) enumerator,
  PSP_PIPES(X)
#undef X
};

struct PipeName {
  std::string_view name;
  std::string_view guide;
  std::string_view doca33;
};

inline constexpr std::array kPipes = {
#define X(enumerator, name, guide, doca33) PipeName{name, guide, doca33},
    PSP_PIPES(X)
#undef X
};

inline constexpr size_t kPipeCount = kPipes.size();

}  // namespace psp
