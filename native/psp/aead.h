// SPDX-License-Identifier: Apache-2.0
// AES-GCM behind one interface, chosen once at start: libipsec-mb if the CPU supports it, otherwise
// libcrypto. Expanded keys are in memory of the caller, so that the packet path never allocates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace psp {

inline constexpr size_t kIcvLength = 16;
inline constexpr size_t kNonceLength = 12;
inline constexpr size_t kAesBlock = 16;
inline constexpr size_t kAeadKeyAlignment = 64;

// Key length of a PSP version in octets: 16 for versions 0 and 2, 32 for versions 1 and 3 (PSP specification,
// "Packet Encryption"). AES-GMAC is AES-GCM without plaintext, so one expanded key serves both.
inline constexpr size_t key_length(uint8_t version) {
  return (version & 1) ? 32 : 16;
}

// A PSP packet as input of the AEAD. In memory follow one another: associated data (PSP header and clear
// octets), text, ICV.
struct AeadJob {
  void* expanded;
  uint8_t* psp;     // start of the PSP header
  uint32_t aad;     // octets of associated data from there
  uint32_t length;  // octets of text after the associated data

  // The nonce: SPI and IV as in the header (PSP specification, "Packet Encryption").
  const uint8_t* nonce() const { return psp + 4; }
  uint8_t* data() const { return psp + aad; }
  uint8_t* tag() const { return psp + aad + length; }
};

class Aead {
 public:
  virtual ~Aead() = default;

  // Library, version and instruction set, for display.
  virtual std::string name() const = 0;

  // Size of an expanded key in octets; its memory must be aligned to kAeadKeyAlignment.
  virtual size_t expanded_size() const = 0;
  // The same rounded up to kAeadKeyAlignment: the distance of expanded keys in an array.
  size_t expanded_stride() const {
    return (expanded_size() + kAeadKeyAlignment - 1) / kAeadKeyAlignment * kAeadKeyAlignment;
  }
  // Whether an expanded key is plain memory: zeroed memory then counts as constructed.
  virtual bool is_plain_memory() const = 0;
  // Prepares memory for expand, once, outside the packet path; destroy wipes and releases it.
  virtual void construct(void* expanded) const = 0;
  virtual void destroy(void* expanded) const = 0;
  // Prefetches the part of an expanded key that seal and open of `octets` octets read.
  virtual void prefetch(const void* expanded, uint8_t version, size_t octets) const = 0;
  // Expands a key of key_length(version) octets into constructed memory; an earlier key is overwritten.
  virtual void expand(void* expanded, const uint8_t* key, uint8_t version) const = 0;

  // Encrypts `length` octets in place and writes the 16-octet tag. `length` may be 0. Two threads must not
  // use the same expanded key at the same time.
  virtual void seal(void* expanded, const uint8_t nonce[kNonceLength], const uint8_t* aad, size_t aad_length,
                    uint8_t* data, size_t length, uint8_t tag[kIcvLength]) const = 0;
  // Decrypts in place. Returns false if the tag does not match; the data is then undefined.
  virtual bool open(void* expanded, const uint8_t nonce[kNonceLength], const uint8_t* aad, size_t aad_length,
                    uint8_t* data, size_t length, const uint8_t tag[kIcvLength]) const = 0;

  // Same for a burst of packets; opened[i] is set to whether the tag of jobs[i] matched. The octets of the
  // jobs should have been stored some time before: the CPU stalls on wide loads of octets that it has just
  // stored.
  virtual void seal_burst(const AeadJob* jobs, size_t count) const {
    for (size_t i = 0; i < count; ++i) seal(jobs[i]);
  }
  virtual void open_burst(const AeadJob* jobs, size_t count, bool* opened) const {
    for (size_t i = 0; i < count; ++i) opened[i] = open(jobs[i]);
  }
  void seal(const AeadJob& job) const {
    seal(job.expanded, job.nonce(), job.psp, job.aad, job.data(), job.length, job.tag());
  }
  bool open(const AeadJob& job) const {
    return open(job.expanded, job.nonce(), job.psp, job.aad, job.data(), job.length, job.tag());
  }
};

std::unique_ptr<Aead> make_aead_libcrypto();
// Returns null if this build or this CPU does not support libipsec-mb.
std::unique_ptr<Aead> make_aead_ipsec_mb();
// Same, limited to AVX2.
std::unique_ptr<Aead> make_aead_ipsec_mb_avx2();

}  // namespace psp
