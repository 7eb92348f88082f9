#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds everything: message types from proto/, TypeScript into dist/, the native side into build/native. With the
# argument `native` it builds only the latter; native_test.sh builds the native tests. Each part rebuilds only what
# changed, so a second run takes seconds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

native() {
  {
    cmake -S native -B build/native -G Ninja && ninja -C build/native -j "$(nproc)" --quiet psp_addon psp_addon_null psp_addon_known_keys no_allocation
  } >build/native.log 2>&1 || {
    cat build/native.log >&2
    exit 1
  }
}

# newer FILE PATH...: succeeds if something under PATH changed after FILE was written.
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
