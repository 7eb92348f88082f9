// SPDX-License-Identifier: Apache-2.0
// A frame is received into three parts: the kernel's metadata, a packet buffer, and a larger buffer for the
// rest of a GSO packet. Ordinary frames are passed on in the buffer that the kernel wrote them to; the
// segments of a GSO packet are copies. Frames are sent as lists of slices, so merging copies headers only.
// The qdisc is not bypassed, because then the kernel refuses GSO packets that the device cannot segment by
// itself.
#include "engine/ports/kernel_port.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "engine/ports/interface.h"
#include "psp/aead.h"
#include "psp/protocols.h"

namespace psp {

namespace {

// Packets outside the port: queued for sending, waiting for neighbours, in a burst.
constexpr uint32_t kPacketsOutside = 2047;
constexpr uint32_t kMostDataOctets = UINT16_MAX - RTE_PKTMBUF_HEADROOM - kIcvLength;
constexpr uint32_t kLongestFrame = kEthernetLength + kVlanTag + UINT16_MAX;
// Socket buffers of the kernel each way, in octets.
constexpr int kSocketBuffer = 4 << 20;
// Messages that a packet may still be merged into, counted from the last one.
constexpr uint32_t kOpenFrames = 8;

EngineError failed(const std::string& interface, const char* what) {
  return EngineError{"PORT_FAILED", interface, std::string(what) + ": " + std::strerror(errno)};
}

// The VLAN tag that the kernel removed from the frame, in the form in which a DPDK port reports it.
void read_vlan(msghdr& message, rte_mbuf* mbuf) {
  for (cmsghdr* one = CMSG_FIRSTHDR(&message); one != nullptr; one = CMSG_NXTHDR(&message, one)) {
    if (one->cmsg_level != SOL_PACKET || one->cmsg_type != PACKET_AUXDATA) continue;
    tpacket_auxdata facts;
    std::memcpy(&facts, CMSG_DATA(one), sizeof facts);
    if ((facts.tp_status & TP_STATUS_VLAN_VALID) == 0) return;
    mbuf->ol_flags |= RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
    mbuf->vlan_tci = facts.tp_vlan_tci;
    return;
  }
}

}  // namespace

KernelPort::KernelPort(const std::string& interface, bool sealed, Counters& counters)
    : interface_(interface), sealed_(sealed), counters_(counters) {
  try {
    claim();
    open();
  } catch (...) {
    close();
    throw;
  }
}

// A socket receives everything until it is in the fanout group, so what the second one received before that
// is discarded.
KernelPort::KernelPort(KernelPort& of, Counters& counters)
    : interface_(of.interface_), sealed_(of.sealed_), counters_(counters), index_(of.index_) {
  try {
    open();
    if (of.group_ < 0) of.join_group(-1);
    join_group(of.group_);
    uint8_t octet;
    while (recv(socket_, &octet, sizeof octet, MSG_DONTWAIT | MSG_TRUNC) >= 0) {
    }
  } catch (...) {
    close();
    throw;
  }
}

KernelPort::~KernelPort() {
  for (Received& received : received_) rte_pktmbuf_free(received.mbuf);
  close();
}

void KernelPort::claim() {
  index_ = interface_index(interface_);
  if (index_ == 0) throw EngineError{"INTERFACE_MISSING", interface_, ""};
  check_packet_rights(interface_);
  lock_ = claim_interface(interface_, index_);
  link_ = std::make_unique<LinkWatch>(interface_, index_);
}

void KernelPort::open() {
  info_.mtu = interface_mtu(interface_);
  info_.mac = interface_mac(interface_);
  info_.completes_checksums = true;
  info_.up = interface_runs(interface_);
  data_octets_ =
      std::clamp<uint32_t>(info_.mtu + kEthernetLength + kVlanTag, kLeastDataOctets, kMostDataOctets);
  pool_ = std::make_unique<Pool>("rx", kFrames + kPacketsOutside,
                                 RTE_PKTMBUF_HEADROOM + data_octets_ + kIcvLength);
  for (Received& received : received_) {
    received.buffer = std::make_unique_for_overwrite<uint8_t[]>(data_octets_ + kLongestFrame);
  }

  // Of no protocol, so that nothing is received before all is set.
  socket_ = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (socket_ < 0) throw failed(interface_, "opening a packet socket");
  const auto set = [this](int option, const auto& value, const char* what) {
    if (setsockopt(socket_, SOL_PACKET, option, &value, sizeof value) != 0) throw failed(interface_, what);
  };
  set(PACKET_VNET_HDR, int{1}, "enabling GSO metadata (PACKET_VNET_HDR) on its packet socket");
  set(PACKET_AUXDATA, int{1}, "asking its packet socket for VLAN tags");
  // Otherwise frames that we send would be received again.
  set(PACKET_IGNORE_OUTGOING, int{1}, "hiding our own frames from its packet socket");
  // Frames for every address, as long as this socket lives; the interface bears no mark of it.
  packet_mreq everything{};
  everything.mr_ifindex = static_cast<int>(index_);
  everything.mr_type = PACKET_MR_PROMISC;
  set(PACKET_ADD_MEMBERSHIP, everything, "receiving frames for every address");
  // Without the privilege the system's own limit applies.
  for (const auto& [forced, asked] : {std::pair{SO_RCVBUFFORCE, SO_RCVBUF}, {SO_SNDBUFFORCE, SO_SNDBUF}}) {
    if (setsockopt(socket_, SOL_SOCKET, forced, &kSocketBuffer, sizeof kSocketBuffer) == 0) continue;
    setsockopt(socket_, SOL_SOCKET, asked, &kSocketBuffer, sizeof kSocketBuffer);
  }
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(index_);
  if (bind(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    throw failed(interface_, "binding its packet socket");
  }
}

// -1: makes a group.
void KernelPort::join_group(int group) {
  hide_outgoing();
  int argument = PACKET_FANOUT_HASH << 16 | (group < 0 ? PACKET_FANOUT_FLAG_UNIQUEID << 16 : group);
  if (setsockopt(socket_, SOL_PACKET, PACKET_FANOUT, &argument, sizeof argument) != 0) {
    throw failed(interface_, "distributing its frames over packet sockets");
  }
  socklen_t length = sizeof argument;
  if (getsockopt(socket_, SOL_PACKET, PACKET_FANOUT, &argument, &length) != 0) {
    throw failed(interface_, "reading the fanout group of its packet sockets");
  }
  group_ = argument & 0xffff;
}

// In a fanout group PACKET_IGNORE_OUTGOING has no effect, so a filter does the same.
void KernelPort::hide_outgoing() {
  sock_filter steps[] = {
      {BPF_LD | BPF_B | BPF_ABS, 0, 0, static_cast<uint32_t>(SKF_AD_OFF + SKF_AD_PKTTYPE)},
      {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, PACKET_OUTGOING},
      {BPF_RET | BPF_K, 0, 0, 0},
      {BPF_RET | BPF_K, 0, 0, UINT32_MAX},
  };
  const sock_fprog filter{std::size(steps), steps};
  if (setsockopt(socket_, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) != 0) {
    throw failed(interface_, "hiding our own frames from its packet sockets");
  }
}

void KernelPort::close() {
  if (socket_ >= 0) ::close(socket_);
  if (lock_ >= 0) ::close(lock_);
  socket_ = lock_ = -1;
}

// The kernel restarts its count with every answer.
uint64_t KernelPort::missed() {
  tpacket_stats counts{};
  socklen_t length = sizeof counts;
  const bool counted = getsockopt(socket_, SOL_PACKET, PACKET_STATISTICS, &counts, &length) == 0;
  return counted ? counts.tp_drops : 0;
}

// Makes at most one system call, once all frames of the last one were passed on.
uint16_t KernelPort::rx_burst(rte_mbuf** packets, uint16_t count) {
  uint16_t n = 0;
  for (bool asked = false; n < count;) {
    if (at_ == taken_) {
      if (asked) break;
      asked = true;
      receive(std::min<uint32_t>(gso_packets_ ? kGsoPackets : kFrames, count - n));
      continue;
    }
    rte_mbuf* const packet = next_packet();
    if (packet == nullptr) break;
    packets[n++] = packet;
  }
  return n;
}

void KernelPort::receive(uint32_t frames) {
  at_ = taken_ = 0;
  gso_packets_ = false;
  uint32_t ready = 0;
  for (; ready < frames; ++ready) {
    Received& received = received_[ready];
    // The last call did not need this buffer.
    if (received.mbuf != nullptr) continue;
    received.mbuf = rte_pktmbuf_alloc(pool_->get());
    if (received.mbuf == nullptr) break;
    received.pieces = {iovec{&received.facts, sizeof received.facts},
                       iovec{rte_pktmbuf_mtod(received.mbuf, void*), data_octets_},
                       iovec{received.buffer.get() + data_octets_, kLongestFrame}};
    msghdr& message = incoming_[ready].msg_hdr;
    message.msg_iov = received.pieces.data();
    message.msg_iovlen = received.pieces.size();
    message.msg_control = received.auxiliary.data();
    message.msg_controllen = received.auxiliary.size();
  }
  if (ready == 0) return;
  const int came = recvmmsg(socket_, incoming_.data(), ready, MSG_DONTWAIT, nullptr);
  // An error belongs to a frame that was discarded, or to an interface that went down.
  taken_ = came < 0 ? 0 : static_cast<uint32_t>(came);
}

// Null: no packet buffer is free.
rte_mbuf* KernelPort::next_packet() {
  Received& received = received_[at_];
  if (!begun_) {
    const uint32_t octets = incoming_[at_].msg_len;
    const uint32_t length = octets - std::min<uint32_t>(octets, sizeof received.facts);
    read_vlan(incoming_[at_].msg_hdr, received.mbuf);
    begun_ = is_gso_packet(received.facts) && begin_segmenting(received, length);
    if (!begun_) {
      ++at_;
      return whole(received, length);
    }
  }
  rte_mbuf* const packet = received.mbuf != nullptr ? take(received) : rte_pktmbuf_alloc(pool_->get());
  if (packet == nullptr) return nullptr;
  const uint32_t length = segments_.next(rte_pktmbuf_mtod(packet, uint8_t*));
  rte_pktmbuf_append(packet, static_cast<uint16_t>(length));
  packet->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_GOOD;
  if (segments_.done()) {
    begun_ = false;
    ++at_;
  }
  return packet;
}

rte_mbuf* KernelPort::take(Received& received) {
  return std::exchange(received.mbuf, nullptr);
}

// Makes the two parts of a GSO packet contiguous and begins to segment it. False: it cannot be segmented.
bool KernelPort::begin_segmenting(Received& received, uint32_t length) {
  gso_packets_ = true;
  uint8_t* const frame = received.buffer.get();
  std::memcpy(frame, rte_pktmbuf_mtod(received.mbuf, const void*), std::min(length, data_octets_));
  const bool tagged = received.mbuf->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED;
  if (tagged || !segments_.begin(received.facts, frame, length, sealed_) ||
      segments_.longest() > data_octets_)
    return false;
  counters_[Value::kGsoPacketsSegmented].add();
  if (received.facts.flags & kPartialChecksum) {
    counters_[Value::kChecksumsCompleted].add(segments_.count());
  }
  return true;
}

// Returns a frame as it arrived. Of a frame that does not fit, and of a GSO packet that cannot be segmented,
// it returns only the front, marked so that ingress_root drops and counts it.
rte_mbuf* KernelPort::whole(Received& received, uint32_t length) {
  rte_mbuf* const packet = take(received);
  rte_pktmbuf_append(packet, static_cast<uint16_t>(std::min(length, data_octets_)));
  if (is_gso_packet(received.facts) || length > data_octets_) {
    packet->ol_flags |= RTE_MBUF_F_RX_LRO;
  } else if (received.facts.flags & kPartialChecksum) {
    if (!complete_checksum(received.facts, rte_pktmbuf_mtod(packet, uint8_t*), length)) return packet;
    packet->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_GOOD;
    counters_[Value::kChecksumsCompleted].add();
  }
  return packet;
}

uint16_t KernelPort::tx_burst(rte_mbuf** packets, uint16_t count) {
  const uint16_t packets_at_most = std::min(count, kBurst);
  const uint32_t frames = join(packets, packets_at_most);
  write_messages(packets, frames);
  const uint16_t done = send_messages(frames);
  rte_pktmbuf_free_bulk(packets, done);
  return done;
}

// Decides which packets leave in one frame, and makes them neighbours in `packets`. Returns the number of
// frames.
uint32_t KernelPort::join(rte_mbuf** packets, uint16_t count) {
  std::array<uint8_t, kBurst> frame_of;
  uint32_t frames = 0;
  for (uint16_t i = 0; i < count; ++i) {
    Joinable one;
    if (count > 1) one = read_joinable(rte_pktmbuf_mtod(packets[i], uint8_t*), packets[i]->data_len, sealed_);
    if (one.udp && !merges_udp_) one.headers = 0;
    auto result = GroPacket::Result::kOther;
    uint32_t at = frames;
    for (uint32_t left = std::min(frames, kOpenFrames); left > 0 && result == GroPacket::Result::kOther;
         --left) {
      result = sent_[--at].frame.add(one);
    }
    if (result != GroPacket::Result::kMerged) {
      at = frames++;
      sent_[at].frame.begin(one);
    }
    frame_of[i] = static_cast<uint8_t>(at);
  }
  if (frames == count) return frames;
  std::array<uint16_t, kBurst> place;
  for (uint16_t at = 0, frame = 0; frame < frames; at += sent_[frame++].frame.count()) place[frame] = at;
  std::array<rte_mbuf*, kBurst> arrived;
  std::copy_n(packets, count, arrived.begin());
  for (uint16_t i = 0; i < count; ++i) packets[place[frame_of[i]]++] = arrived[i];
  return frames;
}

void KernelPort::write_messages(rte_mbuf** packets, uint32_t frames) {
  slices_.clear();
  for (uint32_t i = 0; i < frames; ++i) {
    Sent& sent = sent_[i];
    msghdr& message = outgoing_[i].msg_hdr;
    message.msg_iov = slices_.end();
    sent.facts = {};
    slices_.push_back({&sent.facts, sizeof sent.facts});
    const uint32_t count = sent.frame.count();
    uint32_t headers = 0;
    if (count > 1) {
      sent.facts = sent.frame.facts();
      headers = sent.frame.write_headers(sent.headers.data());
      slices_.push_back({sent.headers.data(), headers});
      counters_[Value::kGroPacketsMade].add();
    }
    for (uint32_t left = count; left > 0; --left, ++packets) {
      slices_.push_back({rte_pktmbuf_mtod_offset(*packets, void*, headers), (*packets)->data_len - headers});
    }
    message.msg_iovlen = static_cast<size_t>(slices_.end() - message.msg_iov);
  }
}

// Returns the number of packets that were sent, or refused and counted.
uint16_t KernelPort::send_messages(uint32_t frames) {
  uint16_t packets = 0;
  for (uint32_t done = 0; done < frames;) {
    int sent = sendmmsg(socket_, &outgoing_[done], frames - done, MSG_DONTWAIT);
    if (sent <= 0) {
      if (errno == EAGAIN || errno == EINTR) break;
      const uint32_t count = sent_[done].frame.count();
      if (errno == EINVAL && count > 1 && merges_udp_ && sent_[done].facts.kind == kUdpPackets) {
        merges_udp_ = false;
        break;
      }
      counters_[Value::kFramesRefused].add(count);
      sent = 1;
    }
    for (; sent > 0; --sent) packets = static_cast<uint16_t>(packets + sent_[done++].frame.count());
  }
  return packets;
}

}  // namespace psp
