// SPDX-License-Identifier: Apache-2.0
// A socket cannot leave a fanout group. The driver keeps the number of its descriptor and the address of its
// rings; both are given to the new socket, by dup3() and by mapping over the old rings.
#include "engine/packet_ring.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <string>
#include <system_error>

namespace psp {

namespace {

struct Mapping {
  void* address = MAP_FAILED;
  size_t length = 0;
};

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int number() const { return number_; }

 private:
  const int number_;
};

void check(bool done, const char* what) {
  if (!done) throw std::system_error(errno, std::generic_category(), what);
}

// Where this process has mapped the socket.
Mapping find_mapping(int descriptor) {
  struct stat socket {};
  check(fstat(descriptor, &socket) == 0, "looking at the packet socket");
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    uintptr_t start = 0, end = 0;
    uint64_t inode = 0;
    const int read =
        std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " %*s %*s %*s %" SCNu64, &start, &end, &inode);
    if (read != 3 || inode != socket.st_ino || line.find("socket:") == std::string::npos) continue;
    return {reinterpret_cast<void*>(start), end - start};
  }
  return {};
}

void copy_option(int from, int to, int option) {
  int value = 0;
  socklen_t length = sizeof value;
  check(getsockopt(from, SOL_PACKET, option, &value, &length) == 0, "reading an option of the packet socket");
  check(setsockopt(to, SOL_PACKET, option, &value, sizeof value) == 0,
        "setting an option of the packet socket");
}

}  // namespace

void leave_fanout(int descriptor, unsigned interface, const PacketRing& ring) {
  const Descriptor fresh(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  check(fresh.number() >= 0, "opening a packet socket");
  for (const int option : {PACKET_VERSION, PACKET_LOSS, PACKET_QDISC_BYPASS}) {
    copy_option(descriptor, fresh.number(), option);
  }
  tpacket_req shape{};
  shape.tp_block_size = ring.block;
  shape.tp_block_nr = ring.frames / (ring.block / ring.frame);
  shape.tp_frame_size = ring.frame;
  shape.tp_frame_nr = ring.frames;
  for (const int side : {PACKET_RX_RING, PACKET_TX_RING}) {
    check(setsockopt(fresh.number(), SOL_PACKET, side, &shape, sizeof shape) == 0, "making a packet ring");
  }

  const Mapping old = find_mapping(descriptor);
  errno = EINVAL;
  check(old.length == size_t{2} * shape.tp_block_size * shape.tp_block_nr, "finding the packet rings");
  void* const mapped =
      mmap(old.address, old.length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fresh.number(), 0);
  check(mapped == old.address, "mapping the packet rings");

  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(interface);
  check(bind(fresh.number(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0,
        "binding the packet socket");
  check(dup3(fresh.number(), descriptor, O_CLOEXEC) == descriptor, "replacing the packet socket");
}

}  // namespace psp
