// SPDX-License-Identifier: Apache-2.0
// The claim is a listening name in the abstract socket space, which belongs to the network namespace as the
// interface does, and which the kernel frees with the process.
#include "engine/interface.h"

#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "engine/engine.h"

#ifndef AF_XDP
#define AF_XDP 44
#endif

namespace psp {

namespace {

// Asks the kernel about an interface; false with errno when it does not say.
bool ask(unsigned long what, const std::string& name, ifreq* answer) {
  std::strncpy(answer->ifr_name, name.c_str(), IFNAMSIZ - 1);
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const int done = ioctl(fd, what, answer);
  const int why = errno;
  close(fd);
  errno = why;
  return done == 0;
}

}  // namespace

unsigned interface_index(const std::string& name) {
  return if_nametoindex(name.c_str());
}

uint16_t interface_mtu(const std::string& name) {
  ifreq answer{};
  if (!ask(SIOCGIFMTU, name, &answer)) {
    throw EngineError{"PORT_FAILED", name, std::string("its MTU is unknown: ") + strerror(errno)};
  }
  return static_cast<uint16_t>(std::min(answer.ifr_mtu, 65535));
}

bool interface_runs(const std::string& name) {
  ifreq answer{};
  return ask(SIOCGIFFLAGS, name, &answer) && (answer.ifr_flags & IFF_UP) && (answer.ifr_flags & IFF_RUNNING);
}

int claim_interface(const std::string& name, unsigned index) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string claim = "psp-gateway-port-" + std::to_string(index);
  std::memcpy(address.sun_path + 1, claim.data(), claim.size());
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + claim.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd >= 0 && bind(fd, reinterpret_cast<sockaddr*>(&address), length) == 0) return fd;
  const int why = errno;
  if (fd >= 0) close(fd);
  if (why == EADDRINUSE) throw EngineError{"PORT_TAKEN", name, ""};
  throw EngineError{"PORT_FAILED", name, strerror(why)};
}

void check_packet_rights(const std::string& name) {
  const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
  if (fd >= 0) {
    close(fd);
    return;
  }
  if (errno == EPERM || errno == EACCES) {
    throw EngineError{"RIGHTS_MISSING", "port " + name, "CAP_NET_RAW and CAP_NET_ADMIN"};
  }
  throw EngineError{"PORT_FAILED", name, std::string("packet socket: ") + strerror(errno)};
}

int find_port_socket(unsigned index) {
  std::error_code ignored;
  int xdp = -1;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", ignored)) {
    const int fd = std::atoi(entry.path().filename().c_str());
    int domain = 0;
    socklen_t length = sizeof domain;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) != 0) continue;
    if (domain == AF_XDP) xdp = fd;
    sockaddr_ll address{};
    length = sizeof address;
    if (domain != AF_PACKET || getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) continue;
    if (address.sll_ifindex == static_cast<int>(index)) return fd;
  }
  return xdp;
}

}  // namespace psp
