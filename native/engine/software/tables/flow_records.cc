// SPDX-License-Identifier: Apache-2.0
// Key bytes lie in locked memory, which is wiped when it is freed.
#include "engine/software/tables/flow_records.h"

#include "psp/secret.h"

namespace psp {

FlowRecords::FlowRecords(uint32_t count, IvCounter& ivs)
    : flows_(count),
      key_memory_((size_t{count} + 1) * kKeyBytes),
      keys_(static_cast<uint8_t*>(allocate_secret(key_memory_))),
      ivs_(ivs) {}

FlowRecords::~FlowRecords() {
  free_secret(keys_, key_memory_);
}

}  // namespace psp
