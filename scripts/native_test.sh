#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the native tests twice: as built for production, and under the address and undefined behaviour sanitizers. Runs
# the engine's tests also with each of the other AEADs. Each program runs in two halves in parallel. Then runs the
# concurrency tests under the thread sanitizer. gtest's reports, one per program, build and half, go to the folder
# given as argument (default build/reports).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
reports="$(mkdir -p "${1:-build/reports}" && cd "${1:-build/reports}" && pwd)"
failed=0

# run FOLDER NAME: runs every test program of one build.
run() {
  local program name half halves
  for program in "$1"/*_test; do
    name="$(basename "$program")"
    echo "native: $name, $2"
    halves=()
    for half in 0 1; do
      GTEST_TOTAL_SHARDS=2 GTEST_SHARD_INDEX="$half" "$program" --gtest_brief=1 \
        --gtest_output="json:$reports/gtest-$2-$name-$half.json" &
      halves+=($!)
    done
    for half in "${halves[@]}"; do wait "$half" || failed=1; done
  done
}

bash scripts/build.sh native
ninja -C build/native -j "$(nproc)" --quiet
run build/native plain
for aead in avx2 libcrypto; do
  echo "native: engine_test, plain, $aead"
  PSP_TEST_AEAD="$aead" build/native/engine_test --gtest_brief=1 \
    --gtest_output="json:$reports/gtest-plain-$aead-engine_test.json" || failed=1
done

cmake -S native -B build/sanitized -G Ninja -DPSP_SANITIZE=ON -DCMAKE_BUILD_TYPE=Debug \
  -DCMAKE_CXX_FLAGS_DEBUG="-O1 -g1" >build/sanitized.log 2>&1 || {
  cat build/sanitized.log >&2
  exit 1
}
ninja -C build/sanitized -j "$(nproc)" --quiet
export UBSAN_OPTIONS=print_stacktrace=1
run build/sanitized sanitized
bash scripts/tsan.sh 10 "$reports" || failed=1
exit "$failed"
