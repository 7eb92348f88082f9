// SPDX-License-Identifier: Apache-2.0
// Sizes follow the interface's MTU: the ring of an af_packet port has frames of fixed size, each with the
// kernel's header in front, and packet memory must take a whole frame.
#include "engine/dpdk_port.h"

#include <linux/if_packet.h>
#include <rte_dev.h>
#include <rte_ethdev.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cctype>
#include <filesystem>
#include <system_error>

#include "engine/interface.h"
#include "engine/packet.h"
#include "engine/packet_ring.h"
#include "psp/aead.h"

namespace psp {

namespace {

constexpr uint16_t kRingSize = 1024;
// Packets of one port outside its rings: queued for sending, waiting for neighbours, in a burst.
constexpr uint32_t kPacketsBeside = 2047;
constexpr uint32_t kFrameHeader = 96;      // TPACKET2 header, address and alignment, VLAN tag
constexpr uint32_t kSmallestFrame = 2048;  // a power of two, as all frame sizes
constexpr uint32_t kBlock = 1 << 16;       // of the ring's memory, whole frames
constexpr uint32_t kRingOctets = 4 << 20;  // at most, each way

bool is_hex(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) { return isxdigit(c); });
}

// [domain:]bus:device.function
bool is_pci(const std::string& device) {
  const std::string address = device.substr(0, device.find(','));
  const size_t dot = address.rfind('.'), colon = address.rfind(':');
  if (dot == std::string::npos || colon == std::string::npos || colon > dot) return false;
  std::string front = address.substr(0, colon);
  std::erase(front, ':');
  return is_hex(front) && is_hex(address.substr(colon + 1, dot - colon - 1)) &&
         is_hex(address.substr(dot + 1));
}

bool pci_device_exists(const std::string& device) {
  const std::string address = device.substr(0, device.find(','));
  const bool has_domain = std::count(address.begin(), address.end(), ':') == 2;
  return std::filesystem::exists("/sys/bus/pci/devices/" + std::string(has_domain ? "" : "0000:") + address);
}

EngineError failed(const std::string& device, const std::string& what, int code) {
  return EngineError{"PORT_FAILED", device, what + ": " + rte_strerror(-code)};
}

}  // namespace

DeviceKind device_kind(const std::string& device) {
  if (is_pci(device)) return DeviceKind::kPci;
  for (const char* prefix : {"net_", "eth_", "virtio_user"}) {
    if (device.starts_with(prefix)) return DeviceKind::kVirtual;
  }
  return DeviceKind::kInterface;
}

DpdkPort::DpdkPort(const std::string& device, const std::string& role)
    : device_(device), kind_(device_kind(device)), id_(RTE_MAX_ETHPORTS) {
  static std::atomic<unsigned> number{0};
  try {
    if (kind_ == DeviceKind::kInterface) {
      interface_index_ = interface_index(device);
      if (interface_index_ == 0) throw EngineError{"INTERFACE_MISSING", device, ""};
      check_packet_rights(device);
      lock_ = claim_interface(device, interface_index_);
      info_.mtu = interface_mtu(device);
      const uint32_t frame = std::max(
          kSmallestFrame, std::bit_ceil(info_.mtu + kEthernetLength + uint32_t{kIcvLength} + kFrameHeader));
      const uint32_t block = std::max(kBlock, frame);
      const uint32_t frames = std::min<uint32_t>(kRingSize, kRingOctets / frame);
      ring_ = {.frame = frame, .block = block, .frames = frames};
      packet_room_ = frame;
      name_ = "net_af_packet_" + role + std::to_string(number++);
      probe(name_ + ",iface=" + device + ",framesz=" + std::to_string(frame) +
            ",blocksz=" + std::to_string(block) + ",framecnt=" + std::to_string(frames));
    } else {
      name_ = device.substr(0, device.find(','));
      probe(device);
    }
    configure();
    if (kind_ != DeviceKind::kPci) find_descriptor();
  } catch (...) {
    release();
    throw;
  }
}

DpdkPort::~DpdkPort() {
  release();
}

uint16_t DpdkPort::rx_burst(rte_mbuf** packets, uint16_t count) {
  return rte_eth_rx_burst(id_, 0, packets, count);
}

uint16_t DpdkPort::tx_burst(rte_mbuf** packets, uint16_t count) {
  return rte_eth_tx_burst(id_, 0, packets, count);
}

bool DpdkPort::raise_mtu(uint16_t mtu) {
  if (kind_ == DeviceKind::kInterface) return false;
  const uint32_t needed = mtu + kEthernetLength + uint32_t{kIcvLength};
  if (needed > packet_room_) return false;
  // Rings and the like know no MTU: whatever fits into packet memory passes.
  const int done = rte_eth_dev_set_mtu(id_, mtu);
  rte_eth_dev_info device_info;
  if (done == -ENOTSUP && rte_eth_dev_info_get(id_, &device_info) == 0 &&
      device_info.max_rx_pktlen >= needed) {
    info_.mtu = mtu;
    return true;
  }
  if (done != 0) return false;
  info_.mtu = mtu;
  return true;
}

bool DpdkPort::is_there() const {
  return kind_ != DeviceKind::kInterface || interface_index(device_) == interface_index_;
}

bool DpdkPort::is_up() const {
  return kind_ != DeviceKind::kInterface || interface_runs(device_);
}

void DpdkPort::probe(const std::string& arguments) {
  if (rte_eth_dev_get_port_by_name(name_.c_str(), &id_) == 0) {
    // PCI devices were probed with EAL; a virtual one of this name belongs to another port of ours.
    if (kind_ == DeviceKind::kPci) return;
    id_ = RTE_MAX_ETHPORTS;
    name_.clear();
    throw EngineError{"PORT_TAKEN", device_, ""};
  }
  const int done = rte_dev_probe(arguments.c_str());
  if (done == 0 && rte_eth_dev_get_port_by_name(name_.c_str(), &id_) == 0) return;
  if (done != 0) name_.clear();
  switch (-done) {
    case EBUSY:
    case EEXIST:
      throw EngineError{"PORT_TAKEN", device_, ""};
    case EPERM:
    case EACCES:
      throw EngineError{"RIGHTS_MISSING", "port " + device_, "rights on the device"};
    case EFAULT:  // no bus knows such a device, for want of the driver that names it
      throw EngineError{"DRIVER_MISSING", device_, ""};
    case 0:  // no driver took it
    case ENODEV:
      if (kind_ == DeviceKind::kPci && !pci_device_exists(device_)) {
        throw EngineError{"INTERFACE_MISSING", device_, ""};
      }
      throw EngineError{"DRIVER_MISSING", device_, ""};
    default:
      throw failed(device_, "probing it", done);
  }
}

void DpdkPort::configure() {
  rte_eth_dev_info device_info;
  int done = rte_eth_dev_info_get(id_, &device_info);
  if (done != 0) throw failed(device_, "asking it", done);
  if (kind_ != DeviceKind::kInterface) {
    uint16_t mtu = 0;
    rte_eth_dev_get_mtu(id_, &mtu);
    info_.mtu = mtu;
    packet_room_ = std::max(kSmallestFrame, device_info.min_rx_bufsize);
  }
  rte_eth_conf conf{};
  done = rte_eth_dev_configure(id_, 1, 1, &conf);
  if (done != 0) throw failed(device_, "configuring it", done);
  uint16_t rx = kRingSize, tx = kRingSize;
  rte_eth_dev_adjust_nb_rx_tx_desc(id_, &rx, &tx);
  // Kernel interfaces copy, so their rings hold none of our packets.
  const uint32_t in_rings = kind_ == DeviceKind::kInterface ? 0 : uint32_t{rx} + tx;
  pool_ = std::make_unique<Pool>("rx", in_rings + kPacketsBeside, packet_room_ + RTE_PKTMBUF_HEADROOM);
  done = rte_eth_rx_queue_setup(id_, 0, rx, SOCKET_ID_ANY, nullptr, pool_->get());
  if (done == 0) done = rte_eth_tx_queue_setup(id_, 0, tx, SOCKET_ID_ANY, nullptr);
  if (done == 0) done = rte_eth_dev_start(id_);
  if (done != 0) throw failed(device_, "starting it", done);
  // Neighbour discovery comes by multicast. Where the device cannot choose, it passes everything anyway.
  if (kind_ != DeviceKind::kInterface && rte_eth_promiscuous_enable(id_) != 0) {
    rte_eth_allmulticast_enable(id_);
  }
  rte_ether_addr mac;
  done = rte_eth_macaddr_get(id_, &mac);
  if (done != 0) throw failed(device_, "reading its MAC address", done);
  std::copy_n(mac.addr_bytes, info_.mac.size(), info_.mac.begin());
}

void DpdkPort::find_descriptor() {
  if (kind_ != DeviceKind::kInterface) return;
  descriptor_ = find_port_socket(interface_index_);
  if (descriptor_ < 0) throw failed(device_, "finding its packet socket", -ENOENT);
  try {
    leave_fanout(descriptor_, interface_index_, ring_);
  } catch (const std::system_error& error) {
    throw EngineError{"PORT_FAILED", device_, error.what()};
  }
  const auto set = [this](int option, const auto& value, const char* what) {
    if (setsockopt(descriptor_, SOL_PACKET, option, &value, sizeof value) != 0) {
      throw failed(device_, what, -errno);
    }
  };
  // Else what we send would come back to us.
  set(PACKET_IGNORE_OUTGOING, int{1}, "hiding our own frames from its packet socket");
  // Frames for every address, as long as this socket lives: the driver's own way would mark the interface
  // beyond our end.
  packet_mreq everything{};
  everything.mr_ifindex = static_cast<int>(interface_index_);
  everything.mr_type = PACKET_MR_PROMISC;
  set(PACKET_ADD_MEMBERSHIP, everything, "receiving frames for every address");
}

void DpdkPort::stop() {
  if (id_ == RTE_MAX_ETHPORTS) return;
  rte_eth_dev_info device_info{};
  const bool known = rte_eth_dev_info_get(id_, &device_info) == 0;
  rte_eth_dev_stop(id_);
  rte_eth_dev_close(id_);
  if (known && kind_ != DeviceKind::kPci && device_info.device != nullptr) rte_dev_remove(device_info.device);
  id_ = RTE_MAX_ETHPORTS;
}

void DpdkPort::release() {
  stop();
  if (lock_ >= 0) ::close(lock_);
  lock_ = -1;
}

}  // namespace psp
