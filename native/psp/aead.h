// SPDX-License-Identifier: Apache-2.0
// AES-GCM behind one interface, chosen once at start: libipsec-mb where the processor runs it, libcrypto
// elsewhere. Expanded keys live in memory of the caller, so that the packet path never allocates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace psp {

inline constexpr size_t kIcvLength = 16;
inline constexpr size_t kNonceLength = 12;
inline constexpr size_t kAeadKeyAlignment = 64;

// Octets of the key of a PSP version: 16 for versions 0 and 2, 32 for 1 and 3 (PSP specification, "Packet
// Encryption"). AES-GMAC is AES-GCM that encrypts nothing, so one expanded key serves either.
inline constexpr size_t key_length(uint8_t version) {
  return (version & 1) ? 32 : 16;
}

// A PSP packet for the AEAD: its header and what else is only authenticated, what is encrypted, and room for
// the ICV, in a row.
struct AeadJob {
  void* expanded;
  uint8_t* psp;     // start of the PSP header
  uint32_t clear;   // octets from there that are authenticated only
  uint32_t length;  // octets behind them that are encrypted

  // SPI and IV, as they lie in the header (PSP specification, "Packet Encryption").
  const uint8_t* nonce() const { return psp + 4; }
  uint8_t* data() const { return psp + clear; }
  uint8_t* tag() const { return psp + clear + length; }
};

class Aead {
 public:
  virtual ~Aead() = default;

  // For display: library, version, instruction set.
  virtual std::string name() const = 0;

  // Octets of one expanded key; its memory begins at a multiple of kAeadKeyAlignment.
  virtual size_t expanded_size() const = 0;
  // Whether an expanded key is nothing but its octets: then zeroed memory is constructed already.
  virtual bool is_plain_memory() const = 0;
  // Makes memory ready for expand, once, off the packet path; destroy wipes and ends it.
  virtual void construct(void* expanded) const = 0;
  virtual void destroy(void* expanded) const = 0;
  // Asks memory for what seal and open of so many octets read of an expanded key of this version.
  virtual void prefetch(const void* expanded, uint8_t version, size_t octets) const = 0;
  // Expands key_length(version) octets into constructed memory, over whatever stood there.
  virtual void expand(void* expanded, const uint8_t* key, uint8_t version) const = 0;

  // Encrypts `length` octets in place and writes the 16-octet tag. Length 0 is legal. One expanded key must
  // not be used by two threads at once.
  virtual void seal(void* expanded, const uint8_t nonce[kNonceLength], const uint8_t* aad, size_t aad_length,
                    uint8_t* data, size_t length, uint8_t tag[kIcvLength]) const = 0;
  // Decrypts in place; false when the tag does not match, and then the data is worthless.
  virtual bool open(void* expanded, const uint8_t nonce[kNonceLength], const uint8_t* aad, size_t aad_length,
                    uint8_t* data, size_t length, const uint8_t tag[kIcvLength]) const = 0;

  // The same for many packets, one after another; *opened says of each whether its tag matched. What the jobs
  // read should have been written a while ago: the processor waits for wide loads of what it stored just now.
  virtual void seal_burst(const AeadJob* jobs, size_t count) const {
    for (size_t i = 0; i < count; ++i) seal(jobs[i]);
  }
  virtual void open_burst(const AeadJob* jobs, size_t count, bool* opened) const {
    for (size_t i = 0; i < count; ++i) opened[i] = open(jobs[i]);
  }
  void seal(const AeadJob& job) const {
    seal(job.expanded, job.nonce(), job.psp, job.clear, job.data(), job.length, job.tag());
  }
  bool open(const AeadJob& job) const {
    return open(job.expanded, job.nonce(), job.psp, job.clear, job.data(), job.length, job.tag());
  }
};

std::unique_ptr<Aead> make_aead_libcrypto();
// Null where this build or this processor has none.
std::unique_ptr<Aead> make_aead_ipsec_mb();
// The same with AVX2 at most.
std::unique_ptr<Aead> make_aead_ipsec_mb_avx2();

}  // namespace psp
