// SPDX-License-Identifier: Apache-2.0
// A port on a kernel interface, by a packet socket that carries checksum and segmentation metadata both ways
// (PACKET_VNET_HDR), so hosts keep their offloads. GSO packets are segmented on receipt and partial checksums
// are completed; packets of one flow that leave together are merged into GRO packets. It makes plain system
// calls, one for a burst each way: a ring of shared memory would save no copy, would need 64 KiB in each
// slot, and would keep a frame that the fence refuses at its head for ever. A refused frame is counted and
// dropped here. Several queues are sockets of one fanout group, by a hash of addresses and ports, without
// reassembly in the kernel. Used by the polling thread.
#pragma once

#include <sys/socket.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "engine/counters.h"
#include "engine/memory/inplace_vector.h"
#include "engine/ports/gro.h"
#include "engine/ports/gso.h"
#include "engine/ports/link_watch.h"
#include "engine/ports/packet.h"
#include "engine/ports/pool.h"
#include "engine/ports/port.h"

namespace psp {

class KernelPort : public Port {
 public:
  // Opens it, with EAL initialized. `sealed`: the port carries PSP, whose datagrams need no checksum to be
  // merged, and get none when they are segmented. Throws EngineError with INTERFACE_MISSING, PORT_TAKEN,
  // RIGHTS_MISSING or PORT_FAILED.
  KernelPort(const std::string& interface, bool sealed, Counters& counters);
  // One more queue of an open port, which outlives it. Throws EngineError with PORT_FAILED.
  KernelPort(KernelPort& of, Counters& counters);
  ~KernelPort() override;
  KernelPort(const KernelPort&) = delete;
  KernelPort& operator=(const KernelPort&) = delete;

  PortInfo info() const override { return info_; }
  uint16_t rx_burst(rte_mbuf** packets, uint16_t count) override;
  uint16_t tx_burst(rte_mbuf** packets, uint16_t count) override;
  int descriptor() const override { return socket_; }
  uint64_t missed() override;
  // Of the first queue.
  LinkState link() const override { return link_->state(); }
  bool link_changed() override { return link_->next(); }
  int link_descriptor() const override { return link_->descriptor(); }

 private:
  // Frames that one system call receives. While GSO packets arrive it receives fewer, so that they are still
  // in the cache when they are segmented.
  static constexpr uint32_t kFrames = 32, kGsoPackets = 4;

  // One received frame: the kernel's metadata, a packet buffer that ordinary frames fit into, and the rest of
  // a GSO packet.
  struct Received {
    FrameFacts facts;
    rte_mbuf* mbuf = nullptr;
    std::unique_ptr<uint8_t[]> buffer;
    std::array<iovec, 3> pieces;
    alignas(cmsghdr) std::array<uint8_t, 64> auxiliary;
  };
  // One frame to be sent: a single packet, or a GRO packet.
  struct Sent {
    GroPacket frame;
    FrameFacts facts;
    std::array<uint8_t, GroPacket::kHeadersAtMost> headers;
  };

  void claim();
  void open();
  void close();
  void join_group(int group);
  void hide_outgoing();

  void receive(uint32_t frames);
  rte_mbuf* next_packet();
  rte_mbuf* take(Received& received);
  bool begin_segmenting(Received& received, uint32_t length);
  rte_mbuf* whole(Received& received, uint32_t length);

  uint32_t join(rte_mbuf** packets, uint16_t count);
  void write_messages(rte_mbuf** packets, uint32_t frames);
  uint16_t send_messages(uint32_t frames);

  const std::string interface_;
  const bool sealed_;
  Counters& counters_;
  PortInfo info_;
  unsigned index_ = 0;
  std::unique_ptr<LinkWatch> link_;  // of the first queue
  int lock_ = -1;                    // held for as long as we use the interface
  int socket_ = -1;
  int group_ = -1;            // fanout group, once there are several queues
  uint32_t data_octets_ = 0;  // octets of a frame that fit into a packet buffer
  bool merges_udp_ = true;    // until the kernel reports that it does not support it
  std::unique_ptr<Pool> pool_;

  std::array<Received, kFrames> received_;
  std::array<mmsghdr, kFrames> incoming_{};
  uint32_t at_ = 0, taken_ = 0;  // received frames: the next one to pass on, and how many there are
  bool begun_ = false;           // the next one is a GSO packet that is being segmented
  bool gso_packets_ = false;     // the last system call received some
  Segments segments_;

  std::array<Sent, kBurst> sent_;
  std::array<mmsghdr, kBurst> outgoing_{};
  InplaceVector<iovec, 3 * kBurst> slices_;
};

}  // namespace psp
