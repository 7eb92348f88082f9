// SPDX-License-Identifier: Apache-2.0
// Packet memory takes what the device asks for, which is more than a frame of its MTU.
#include "engine/ports/dpdk_port.h"

#include <rte_dev.h>
#include <rte_ethdev.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <utility>

#include "engine/ports/packet.h"
#include "psp/aead.h"
#include "psp/protocols.h"

namespace psp {

namespace {

constexpr uint16_t kRingSize = 1024;
// Packets of one port outside its rings: queued for sending, waiting for neighbours, in a burst.
constexpr uint32_t kPacketsBeside = 2047;
// Octets that a device may receive beside the packet and its Ethernet header: two VLAN tags and the FCS.
constexpr uint32_t kTrailer = 2 * 4 + RTE_ETHER_CRC_LEN;

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

// What the device says that it takes. One that bounds only its frames counts the Ethernet header and the FCS.
uint16_t largest_mtu(const rte_eth_dev_info& device) {
  const bool bounds_mtu = device.max_mtu != UINT16_MAX && device.max_rx_pktlen > device.max_mtu;
  if (bounds_mtu) return device.max_mtu;
  const uint32_t around = RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN;
  return static_cast<uint16_t>(std::clamp<uint32_t>(device.max_rx_pktlen, around, around + device.max_mtu) -
                               around);
}

// One more queue of an open device.
class DpdkQueue : public Port {
 public:
  DpdkQueue(uint16_t id, uint16_t queue, const PortInfo& info) : id_(id), queue_(queue), info_(info) {}
  PortInfo info() const override { return info_; }
  uint16_t rx_burst(rte_mbuf** packets, uint16_t count) override {
    return rte_eth_rx_burst(id_, queue_, packets, count);
  }
  uint16_t tx_burst(rte_mbuf** packets, uint16_t count) override {
    return rte_eth_tx_burst(id_, queue_, packets, count);
  }
  int descriptor() const override { return -1; }

 private:
  const uint16_t id_, queue_;
  const PortInfo info_;
};

}  // namespace

DeviceKind device_kind(const std::string& device) {
  if (is_pci(device)) return DeviceKind::kPci;
  for (const char* prefix : {"net_", "eth_", "virtio_user"}) {
    if (device.starts_with(prefix)) return DeviceKind::kVirtual;
  }
  return DeviceKind::kInterface;
}

bool reaches_packets(const std::string& device) {
  if (device_kind(device) == DeviceKind::kInterface) return false;
  // These copy, or register each pool.
  for (const char* driver : {"net_ring", "net_null", "net_pcap", "net_tap", "net_tun", "net_memif",
                             "net_af_packet", "net_af_xdp"}) {
    if (device.starts_with(driver)) return false;
  }
  return true;
}

DpdkPort::DpdkPort(const std::string& device, uint16_t queues, uint16_t wanted_mtu)
    : device_(device),
      kind_(device_kind(device)),
      name_(device.substr(0, device.find(','))),
      id_(RTE_MAX_ETHPORTS) {
  try {
    probe(device);
    configure(queues, wanted_mtu);
  } catch (...) {
    stop();
    throw;
  }
}

DpdkPort::~DpdkPort() {
  stop();
}

std::unique_ptr<Port> DpdkPort::queue(uint16_t index) const {
  return std::make_unique<DpdkQueue>(id_, index, info_);
}

uint16_t DpdkPort::rx_burst(rte_mbuf** packets, uint16_t count) {
  return rte_eth_rx_burst(id_, 0, packets, count);
}

uint16_t DpdkPort::tx_burst(rte_mbuf** packets, uint16_t count) {
  return rte_eth_tx_burst(id_, 0, packets, count);
}

uint64_t DpdkPort::missed() {
  rte_eth_stats counts;
  if (rte_eth_stats_get(id_, &counts) != 0) return 0;
  return counts.imissed - std::exchange(missed_, counts.imissed);
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

// Gives the stopped device its MTU: many drivers refuse it later. Some read it from the configuration as they
// start, some have an operation for it, some have both. Returns 0 or a negative error.
int DpdkPort::set_up(rte_eth_conf& conf, uint16_t queues, uint16_t mtu) {
  conf.rxmode.mtu = mtu;
  const int done = rte_eth_dev_configure(id_, queues, queues, &conf);
  if (done != 0) return done;
  const int set = rte_eth_dev_set_mtu(id_, mtu);
  return set == -ENOTSUP ? 0 : set;
}

void DpdkPort::configure(uint16_t queues, uint16_t wanted_mtu) {
  rte_eth_dev_info device_info;
  int done = rte_eth_dev_info_get(id_, &device_info);
  if (done != 0) throw failed(device_, "asking it", done);
  uint16_t mtu = 0;
  rte_eth_dev_get_mtu(id_, &mtu);
  const uint16_t asked = std::max(mtu, std::min(wanted_mtu, largest_mtu(device_info)));
  const uint16_t most = std::min(device_info.max_rx_queues, device_info.max_tx_queues);
  if (queues > most) throw EngineError{"LCORES_TOO_MANY", device_, "queues: " + std::to_string(most)};
  rte_eth_conf conf{};
  constexpr uint64_t kFlows = RTE_ETH_RSS_IP | RTE_ETH_RSS_UDP | RTE_ETH_RSS_TCP;
  const uint64_t hashed = device_info.flow_type_rss_offloads & kFlows;
  if (queues > 1 && hashed != 0) {
    conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    conf.rx_adv_conf.rss_conf.rss_hf = hashed;
  }
  done = asked == mtu ? -EINVAL : set_up(conf, queues, asked);
  if (done != 0) {
    conf.rxmode.mtu = mtu;
    done = rte_eth_dev_configure(id_, queues, queues, &conf);
  }
  if (done != 0) throw failed(device_, "configuring it", done);
  rte_eth_dev_get_mtu(id_, &mtu);
  const uint32_t needed = mtu + kEthernetLength + kTrailer + uint32_t{kIcvLength};
  const uint32_t data_octets = std::max({kLeastDataOctets, device_info.min_rx_bufsize, needed});
  uint16_t rx = kRingSize, tx = kRingSize;
  rte_eth_dev_adjust_nb_rx_tx_desc(id_, &rx, &tx);
  pool_ = std::make_unique<Pool>("rx", (uint32_t{rx} + tx + kPacketsBeside) * queues,
                                 data_octets + RTE_PKTMBUF_HEADROOM);
  done = 0;
  for (uint16_t queue = 0; queue < queues && done == 0; ++queue) {
    done = rte_eth_rx_queue_setup(id_, queue, rx, SOCKET_ID_ANY, nullptr, pool_->get());
    if (done == 0) done = rte_eth_tx_queue_setup(id_, queue, tx, SOCKET_ID_ANY, nullptr);
  }
  if (done == 0) done = rte_eth_dev_start(id_);
  if (done != 0) throw failed(device_, "starting it", done);
  // Neighbour discovery comes by multicast. Where the device cannot choose, it passes everything anyway.
  if (rte_eth_promiscuous_enable(id_) != 0) rte_eth_allmulticast_enable(id_);
  rte_ether_addr mac;
  done = rte_eth_macaddr_get(id_, &mac);
  if (done != 0) throw failed(device_, "reading its MAC address", done);
  std::copy_n(mac.addr_bytes, info_.mac.size(), info_.mac.begin());
  // What it took, as it says itself.
  rte_eth_dev_get_mtu(id_, &info_.mtu);
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

}  // namespace psp
