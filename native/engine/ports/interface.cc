// SPDX-License-Identifier: Apache-2.0
// The claim is a listening name in the abstract socket space, which belongs to the network namespace as the
// interface does, and which the kernel frees with the process.
#include "engine/ports/interface.h"

#include <net/ethernet.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "engine/engine.h"

namespace psp {

namespace {

// Queries the kernel about an interface; false with errno when that fails.
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

MacAddress interface_mac(const std::string& name) {
  ifreq answer{};
  if (!ask(SIOCGIFHWADDR, name, &answer)) {
    throw EngineError{"PORT_FAILED", name, std::string("its MAC address is unknown: ") + strerror(errno)};
  }
  MacAddress mac;
  std::memcpy(mac.data(), answer.ifr_hwaddr.sa_data, mac.size());
  return mac;
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

}  // namespace psp
