// SPDX-License-Identifier: Apache-2.0
// Starts threads, which the system may refuse: an expected failure, and no reason to end the process.
#pragma once

#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "engine/engine.h"

namespace psp {

// Throws EngineError with ENGINE_FAILED. Thread: std::thread or std::jthread.
template <typename Thread = std::thread, typename Work>
Thread start_thread(Work&& work) {
  try {
    return Thread(std::forward<Work>(work));
  } catch (const std::system_error& error) {
    throw EngineError{"ENGINE_FAILED", "",
                      "the system refuses another thread (" + error.code().message() +
                          "); raise the limit on processes and threads (ulimit -u, TasksMax, pids)"};
  }
}

}  // namespace psp
