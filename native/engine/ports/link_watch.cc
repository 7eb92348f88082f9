// SPDX-License-Identifier: Apache-2.0
// A message holds the whole state, so that a link that went down and came up again is seen as both. Where the
// kernel had no space for a message (ENOBUFS) the state is read from the interface: intermediate states are
// lost, the current one never.
#include "engine/ports/link_watch.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "engine/ports/interface.h"

namespace psp {

namespace {

// Octets that are read of one datagram. The attributes of interest precede all that may be long.
constexpr size_t kMessageOctets = 8192;
constexpr uint32_t kMtuAtMost = 65535;

bool runs(unsigned flags) {
  return (flags & IFF_UP) != 0 && (flags & IFF_RUNNING) != 0;
}

// Passes messages about this interface alone. A load from a packet is in network order.
int filter_for(int socket, unsigned index) {
  constexpr uint32_t kIndex = NLMSG_HDRLEN + offsetof(ifinfomsg, ifi_index);
  sock_filter steps[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kIndex),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htonl(index), 0, 1),
      BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
      BPF_STMT(BPF_RET | BPF_K, 0),
  };
  const sock_fprog filter{std::size(steps), steps};
  return setsockopt(socket, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter);
}

}  // namespace

LinkWatch::LinkWatch(const std::string& interface, unsigned index)
    : interface_(interface),
      index_(index),
      socket_(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE)) {
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = RTMGRP_LINK;
  const bool open = socket_ >= 0 && filter_for(socket_, index) == 0 &&
                    bind(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  if (!open) {
    const int why = errno;
    if (socket_ >= 0) close(socket_);
    throw EngineError{"PORT_FAILED", interface,
                      std::string("following its link by netlink: ") + std::strerror(why)};
  }
  // Changes from here on are reported.
  read_interface();
}

LinkWatch::~LinkWatch() {
  close(socket_);
}

bool LinkWatch::next() {
  const LinkState before = state_;
  while (state_ == before) {
    alignas(nlmsghdr) uint8_t octets[kMessageOctets];
    sockaddr_nl from{};
    socklen_t from_length = sizeof from;
    const ssize_t length =
        recvfrom(socket_, octets, sizeof octets, 0, reinterpret_cast<sockaddr*>(&from), &from_length);
    if (length < 0) {
      if (errno == EINTR) continue;
      if (errno != ENOBUFS) return false;
      read_interface();
    } else if (from.nl_pid == 0) {  // the kernel
      read_messages(reinterpret_cast<const nlmsghdr*>(octets), static_cast<size_t>(length));
    }
  }
  return true;
}

void LinkWatch::read_messages(const nlmsghdr* message, size_t length) {
  // The last one may be cut: it counts as far as it was read.
  while (length >= NLMSG_LENGTH(sizeof(ifinfomsg))) {
    nlmsghdr whole = *message;
    whole.nlmsg_len = static_cast<uint32_t>(std::min<size_t>(message->nlmsg_len, length));
    if (whole.nlmsg_len < NLMSG_LENGTH(sizeof(ifinfomsg))) return;
    read_message(*message, whole.nlmsg_len);
    const size_t step = std::min<size_t>(NLMSG_ALIGN(whole.nlmsg_len), length);
    message = reinterpret_cast<const nlmsghdr*>(reinterpret_cast<const uint8_t*>(message) + step);
    length -= step;
  }
}

// Messages of the bridge family are about the interface as a port of a bridge, which it may leave.
void LinkWatch::read_message(const nlmsghdr& message, size_t length) {
  if (message.nlmsg_type != RTM_NEWLINK && message.nlmsg_type != RTM_DELLINK) return;
  const auto& link = *static_cast<const ifinfomsg*>(NLMSG_DATA(&message));
  if (link.ifi_family != AF_UNSPEC || link.ifi_index != static_cast<int>(index_)) return;
  if (message.nlmsg_type == RTM_DELLINK) {
    state_.present = state_.up = false;
    return;
  }
  state_.up = runs(link.ifi_flags);
  size_t left = length - NLMSG_LENGTH(sizeof link);
  const rtattr* one = IFLA_RTA(&link);
  for (; RTA_OK(one, left); one = RTA_NEXT(one, left)) {
    const auto* const value = static_cast<const uint8_t*>(RTA_DATA(one));
    const size_t octets = RTA_PAYLOAD(one);
    uint32_t mtu;
    if (one->rta_type == IFLA_MTU && octets == sizeof mtu) {
      std::memcpy(&mtu, value, sizeof mtu);
      state_.mtu = static_cast<uint16_t>(std::min(mtu, kMtuAtMost));
    } else if (one->rta_type == IFLA_ADDRESS && octets == state_.mac.size()) {
      std::copy_n(value, octets, state_.mac.begin());
    } else if (one->rta_type == IFLA_IFNAME) {
      // Under another name it is not the one that was asked for.
      const auto* const name = reinterpret_cast<const char*>(value);
      state_.present = interface_ == std::string_view(name, strnlen(name, octets));
    }
  }
}

void LinkWatch::read_interface() try {
  state_.present = interface_index(interface_) == index_;
  state_.up = state_.present && interface_runs(interface_);
  if (!state_.present) return;
  state_.mtu = interface_mtu(interface_);
  state_.mac = interface_mac(interface_);
} catch (const EngineError&) {
  // It went away in between, which the next message says.
}

}  // namespace psp
