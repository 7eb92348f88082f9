#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds everything: message types from proto/, TypeScript into dist/, the native side into build/native.
# With the argument `native` only the latter; its tests are built by native_test.sh. Each part looks at what
# changed, so a second run takes seconds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

native() {
  {
    cmake -S native -B build/native -G Ninja && ninja -C build/native -j "$(nproc)" --quiet psp_addon no_allocation
  } >build/native.log 2>&1 || {
    cat build/native.log >&2
    exit 1
  }
}

# newer FILE PATH...: something under PATH changed after FILE was written.
newer() {
  local stamp="$1"
  shift
  [[ ! -e "$stamp" ]] || [[ -n "$(find "$@" -newer "$stamp" -print -quit)" ]]
}

mkdir -p build
if [[ "${1:-}" != native ]]; then
  if newer build/proto.stamp proto/*.proto buf.yaml buf.gen.yaml package-lock.json || [[ ! -d proto/gen ]]; then
    npx --no-install buf generate
    touch build/proto.stamp
  fi
  npx --no-install tsc --incremental --tsBuildInfoFile dist/tsconfig.tsbuildinfo
  chmod 755 dist/cli/psp.js
fi
native
