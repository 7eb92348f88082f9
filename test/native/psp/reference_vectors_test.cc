// SPDX-License-Identifier: Apache-2.0
// Captures of google/psp, if they are kept beside the repository (../shared/vectors). This implementation
// must produce the same octets from the PSP header to the ICV, and open them.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "psp/master_key.h"
#include "sealing.h"
#include "vector_table.h"

namespace psp::test {
namespace {

constexpr size_t kEthernetHeader = 14, kPcapHeader = 24, kPcapRecord = 16;

std::filesystem::path folder() {
  return repository_root() / "../shared/vectors";
}

// The only IP packet of a capture in little-endian byte order.
Octets packet_of(const std::string& name) {
  std::ifstream file(folder() / name, std::ios::binary);
  const Octets octets{std::istreambuf_iterator<char>(file), {}};
  return Octets(octets.begin() + kPcapHeader + kPcapRecord + kEthernetHeader, octets.end());
}

struct Capture {
  const char* name;
  bool ipv6, transport;
  uint8_t version;
  uint32_t spi;
};

const char* master_key_of(uint32_t spi) {
  return slot_of(spi) == 0 ? "34448a064292601b11a0978f56a2d34cf3fc35ede1a6bc04f8db3e5243a2b0ca"
                           : "563952565d3a78ae773ec1b779f2f2d99f4a7f53a6fbb9b07d5b71f39364d739";
}

class Reference : public testing::TestWithParam<Capture> {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(folder())) GTEST_SKIP() << "there are no vectors beside the repository";
  }
};

TEST_P(Reference, OpensAndSealsToTheSameOctets) {
  const Capture& capture = GetParam();
  const Octets cleartext = packet_of(capture.ipv6 ? "v6_cleartext.pcap" : "v4_cleartext.pcap");
  const Octets wire = packet_of(capture.name + std::string(".pcap"));
  for (const auto& aead : all_aeads()) {
    SCOPED_TRACE(aead->name());
    const Octets master = unhex(master_key_of(capture.spi));
    Octets octets(key_length(capture.version));
    MasterKey(std::span<const uint8_t, 32>(master)).derive(capture.spi, capture.version, octets.data());
    const ExpandedKey key(*aead, octets, capture.version);

    const Opened result = opened(*aead, key.get(), capture.transport, wire);
    ASSERT_TRUE(result.good());
    EXPECT_EQ(result.header.spi, capture.spi);
    EXPECT_EQ(result.header.version, capture.version);
    EXPECT_EQ(hex(result.packet), hex(cleartext));

    const Axes axes{capture.transport,        capture.ipv6,    capture.ipv6,
                    result.header.has_cookie, capture.version, 0};
    EXPECT_EQ(hex(psp_of(sealed(*aead, key.get(), axes, cleartext, result.header))), hex(psp_of(wire)));
  }
}

INSTANTIATE_TEST_SUITE_P(Captures, Reference,
                         testing::Values(Capture{"v4_tunnel_crypt_off_128", false, false, 0, 0x1a345678},
                                         Capture{"v6_tunnel_crypt_off_256_vc", true, false, 1, 0x1a345678},
                                         Capture{"v4_transport_crypt_off_128_vc", false, true, 0, 0x9a345678},
                                         Capture{"v6_transport_no_crypt_off_256", true, true, 1, 0x1a345678}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace psp::test
