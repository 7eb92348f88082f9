// SPDX-License-Identifier: Apache-2.0
// A bounded ring of samples between one producer and one consumer, whose slots are as long as the configured
// copies. All memory is allocated at start. A full ring refuses further samples, and the producer counts
// them. Captured packets have slots of their own beside those of the samples, so that forged packets cost no
// sample.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>

#include "engine/memory/slab.h"
#include "engine/sample.h"

namespace psp {

// Slots of one kind.
class SampleLane {
 public:
  // Throws std::bad_alloc.
  SampleLane(size_t capacity, uint16_t snap_bytes)
      : mask_(std::bit_ceil(capacity) - 1),
        snap_bytes_(std::min(snap_bytes, kSnapAtMost)),
        facts_(mask_ + 1),
        octets_((mask_ + 1) * size_t{std::max<uint16_t>(snap_bytes_, 1)}) {}

  // Producer. Copies the front of `length` octets; both lengths of the facts are set here. False when full.
  bool push(const SampleFacts& facts, const uint8_t* octets, uint32_t length) {
    const size_t tail = tail_.load(std::memory_order_relaxed);
    if (tail - head_.load(std::memory_order_acquire) > mask_) return false;
    SampleFacts& slot = facts_[tail & mask_];
    slot = facts;
    slot.original_length = length;
    slot.copied = static_cast<uint16_t>(std::min<uint32_t>(length, snap_bytes_));
    std::memcpy(copy(tail), octets, slot.copied);
    tail_.store(tail + 1, std::memory_order_release);
    return true;
  }

  // Consumer. The oldest, or null.
  const SampleFacts* front() const {
    const size_t head = head_.load(std::memory_order_relaxed);
    return head == tail_.load(std::memory_order_acquire) ? nullptr : &facts_[head & mask_];
  }
  // Consumer, after a front() that was not null.
  void pop(Sample* sample) {
    const size_t head = head_.load(std::memory_order_relaxed);
    static_cast<SampleFacts&>(*sample) = facts_[head & mask_];
    std::memcpy(sample->octets.data(), copy(head), sample->copied);
    head_.store(head + 1, std::memory_order_release);
  }

  // As SampleRing's.
  uint64_t due_in_ns(uint64_t now_ns) const {
    const size_t head = head_.load(std::memory_order_acquire);
    const size_t waiting = tail_.load(std::memory_order_acquire) - head;
    if (waiting == 0) return UINT64_MAX;
    const uint64_t due_ns = facts_[head & mask_].at_ns + kSampleWaitMs * uint64_t{1'000'000};
    return waiting >= kSampleBatch || now_ns >= due_ns ? 0 : due_ns - now_ns;
  }

 private:
  uint8_t* copy(size_t position) { return &octets_[(position & mask_) * snap_bytes_]; }

  const size_t mask_;
  const uint16_t snap_bytes_;
  ZeroedArray<SampleFacts> facts_;
  ZeroedArray<uint8_t> octets_;
  alignas(64) std::atomic<size_t> head_{0};
  alignas(64) std::atomic<size_t> tail_{0};
};

class SampleRing {
 public:
  // Capacity in samples is rounded up to a power of two, with a quarter as much for captured packets besides;
  // copies are cut to snap_bytes. Throws std::bad_alloc.
  SampleRing(size_t capacity, uint16_t snap_bytes)
      : drawn_(capacity, snap_bytes), captured_(std::max<size_t>(capacity / 4, 1), snap_bytes) {}

  // Producer. Copies the front of `length` octets; both lengths of the facts are set here. False when there
  // is no slot left for its kind.
  bool push(const SampleFacts& facts, const uint8_t* octets, uint32_t length) {
    return (is_capture(facts.point) ? captured_ : drawn_).push(facts, octets, length);
  }

  // Consumer. The oldest; false when empty.
  bool pop(Sample* sample) {
    const SampleFacts* const drawn = drawn_.front();
    const SampleFacts* const captured = captured_.front();
    if (drawn == nullptr && captured == nullptr) return false;
    const bool is_drawn = captured == nullptr || (drawn != nullptr && drawn->at_ns <= captured->at_ns);
    (is_drawn ? drawn_ : captured_).pop(sample);
    return true;
  }

  // The producer's thread, or any other while nobody pops. How long until samples are due, in nanoseconds: 0
  // when a batch waits or the oldest has waited long enough, UINT64_MAX when there is none.
  uint64_t due_in_ns(uint64_t now_ns) const {
    return std::min(drawn_.due_in_ns(now_ns), captured_.due_in_ns(now_ns));
  }

 private:
  SampleLane drawn_, captured_;
};

}  // namespace psp
