// SPDX-License-Identifier: Apache-2.0
// What every engine can do, software or hardware. An engine owns two ports and moves packets between them.
// The control side (one thread) submits commands through a bounded ring and takes completions, events and
// samples from others; the polling side never blocks, allocates on the heap, logs or calls upwards. The
// engine alone makes receive SPIs, their keys and master keys. This header and the four beside it (config.h,
// commands.h, events.h, counts.h) are all that the author of an engine needs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "engine/commands.h"
#include "engine/config.h"
#include "engine/counts.h"
#include "engine/events.h"

namespace psp {

struct PortInfo {
  MacAddress mac{};
  uint16_t mtu = 0;
  bool completes_checksums = false;  // of what it receives; without it partial ones come unmarked
  bool up = true;                    // as LinkState, when it was opened
};

struct EngineInfo {
  std::string crypto;  // for display: what encrypts, with its version
  PortInfo unsecured;
  PortInfo secured;
  uint16_t wanted_mtu = 0;  // the MTU of the secured port at which every packet of a host fits sealed
};

// A failure at start with a code of services/shared/errors.ts; `name` and `detail` fill its message. `name`
// is the device as configured (RIGHTS_MISSING: what needs the right in `detail`). MTU_TOO_SMALL: `detail`
// holds the numbers as "mtu=1200 need=1280".
struct EngineError {
  std::string code;
  std::string name;
  std::string detail;
};

class Engine {
 public:
  virtual ~Engine() = default;

  // What this engine can do with the devices of `config`, before it is started. Opens nothing for good.
  // Throws EngineError.
  virtual Capabilities capabilities(const EngineConfig& config) const = 0;

  // Opens the ports, makes the first master key and begins to move packets. Blocks until they move. Throws
  // EngineError.
  virtual EngineInfo start(const EngineConfig& config) = 0;
  // Ends polling, closes the ports. Blocks until done. Safe to call twice.
  virtual void stop() = 0;

  // Control side. False: the ring is full, and the command is still the caller's.
  virtual bool submit(std::unique_ptr<Command>& command) = 0;
  // The next completed command, or null.
  virtual std::unique_ptr<Command> completed() = 0;
  // The next event; false when there is none.
  virtual bool next_event(Event* event) = 0;
  // The next sample; false when there is none.
  virtual bool next_sample(Sample* sample) = 0;
  // Whether samples should be taken: a batch of them waits, or one has waited for kSampleWaitMs.
  virtual bool samples_due() const = 0;
  // Blocks until there may be completions or events or samples are due, or until interrupt(); from a thread
  // of its own. Returns at once while some lie unread: wait again only after having taken them.
  virtual void wait() = 0;
  virtual void interrupt() = 0;

  // Any thread; a snapshot without locks.
  virtual EngineCounts counts() const = 0;
};

}  // namespace psp
