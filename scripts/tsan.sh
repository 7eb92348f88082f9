#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the concurrency tests under the thread sanitizer, each for the number of seconds given as first argument
# (default 60). gtest's report goes to the folder given as second argument (default build/reports).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
reports="$(mkdir -p "${2:-build/reports}" && cd "${2:-build/reports}" && pwd)"

cmake -S native -B build/tsan -G Ninja -DPSP_TSAN=ON >build/tsan.log 2>&1 || {
  cat build/tsan.log >&2
  exit 1
}
ninja -C build/tsan -j "$(nproc)" --quiet churn_test
export PSP_CHURN_SECONDS="${1:-60}" TSAN_OPTIONS=halt_on_error=1
echo "native: churn_test, threads, $PSP_CHURN_SECONDS s"
build/tsan/churn_test --gtest_brief=1 --gtest_output="json:$reports/gtest-tsan-churn_test.json"
