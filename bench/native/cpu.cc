// SPDX-License-Identifier: Apache-2.0
// The idle CPU use of an engine, and how late it then receives a packet. The whole engine with its thread
// runs on two kernel interfaces; frames are sent from the far end of one and awaited at the far end of the
// other. Prints the share of a core that the idle polling thread uses, and per round the microseconds from
// send to receipt.
//   cpu_bench busy|adaptive UNSECURED SECURED HOST WIRE (interfaces: the engine's two, then their far ends)
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <thread>

#include "engine/software/software_engine.h"
#include "measure.h"
#include "mill.h"

namespace psp {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kPackets = 300;
constexpr auto kBetween = std::chrono::milliseconds(10);
constexpr auto kIdle = std::chrono::seconds(5);
// Longer than the scheduling delay of a thread on a busy machine.
constexpr auto kPatience = std::chrono::seconds(10);

int open_interface(const char* name) {
  const int descriptor = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(0x0003));
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(0x0003);
  address.sll_ifindex = static_cast<int>(if_nametoindex(name));
  if (descriptor < 0 || bind(descriptor, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    throw std::runtime_error(name);
  }
  return descriptor;
}

// Processor time of all threads except this one, in nanoseconds.
double others_ns() {
  double sum = 0;
  const std::string own = std::to_string(gettid());
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    double ns = 0;
    std::ifstream(task.path() / "schedstat") >> ns;
    if (task.path().filename() != own) sum += ns;
  }
  return sum;
}

// Microseconds until a sealed frame arrives at the far end of the wire; negative: none arrived.
double there_after(int host, int wire, const Frame& frame) {
  uint8_t seen[2048];
  while (recv(wire, seen, sizeof seen, 0) > 0) {
  }
  const auto sent = Clock::now();
  if (send(host, frame.data(), frame.size(), 0) < 0) return -1;
  while (Clock::now() - sent < kPatience) {
    pollfd waiting{wire, POLLIN, 0};
    poll(&waiting, 1, 1000);
    const ssize_t length = recv(wire, seen, sizeof seen, 0);
    const bool is_sealed = length > 42 && seen[12] == 0x08 && seen[23] == kProtocolUdp;
    if (is_sealed) return std::chrono::duration<double, std::micro>(Clock::now() - sent).count();
  }
  return -1;
}

int run(bool busy, char** interfaces) {
  EngineConfig config = gateway_config();
  config.busy_polling = busy;
  config.unsecured.device = interfaces[0];
  config.secured.device = interfaces[1];
  const auto engine = make_software_engine();
  const EngineInfo info = engine->start(config);
  auto command = std::make_unique<Command>();
  EgressKey key = egress_key(5);
  key.mac = kPeerMac;
  command->body = InstallCommand{0, {flow("10.1.0.5", "10.2.0.7")}, {key}, std::vector<InstallResult>(1)};
  engine->submit(command);

  const int host = open_interface(interfaces[2]), wire = open_interface(interfaces[3]);
  Frame frame = from_host("10.1.0.5", "10.2.0.7", "a packet after a pause");
  std::copy(info.unsecured.mac.begin(), info.unsecured.mac.end(), frame.begin());
  std::vector<double> microseconds;
  for (int i = 0; i < kPackets; ++i) {
    std::this_thread::sleep_for(kBetween);
    const double after = there_after(host, wire, frame);
    if (after < 0) throw std::runtime_error("a packet did not come through");
    microseconds.push_back(after);
  }
  const double before = others_ns();
  std::this_thread::sleep_for(kIdle);
  const double idle = (others_ns() - before) / std::chrono::duration<double, std::nano>(kIdle).count();
  engine->stop();
  close(host);
  close(wire);
  Line("cpu")
      .text("polling", busy ? "busy" : "adaptive")
      .number("idlePercent", idle * 100)
      .numbers("us", microseconds);
  return 0;
}

}  // namespace
}  // namespace psp

int main(int count, char** words) {
  if (count != 6) return 2;
  return psp::run(std::strcmp(words[1], "busy") == 0, words + 2);
}
