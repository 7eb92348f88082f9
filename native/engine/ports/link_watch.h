// SPDX-License-Identifier: Apache-2.0
// Follows one interface of the kernel while the engine runs: link state, MTU, MAC address, removal. The
// kernel publishes each change on a netlink route socket (RTNLGRP_LINK, rtnetlink(7)), which needs no
// privileges; the messages of other interfaces are filtered out in the kernel. Nothing here blocks or
// allocates after construction.
#pragma once

#include <linux/netlink.h>

#include <string>

#include "engine/engine.h"

namespace psp {

class LinkWatch {
 public:
  // Throws EngineError PORT_FAILED.
  LinkWatch(const std::string& interface, unsigned index);
  ~LinkWatch();
  LinkWatch(const LinkWatch&) = delete;
  LinkWatch& operator=(const LinkWatch&) = delete;

  // Readable while changes may wait.
  int descriptor() const { return socket_; }
  const LinkState& state() const { return state_; }
  // Takes the next change. False: none waits.
  bool next();

 private:
  void read_messages(const nlmsghdr* message, size_t length);
  void read_message(const nlmsghdr& message, size_t length);
  // Asks the interface itself.
  void read_interface();

  const std::string interface_;
  const unsigned index_;
  int socket_;
  LinkState state_;
};

}  // namespace psp
