#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the fuzz targets of test/fuzz under the address and undefined behaviour sanitizers and runs them two at a
# time: fuzz.sh [SECONDS] [TARGET...], 10 seconds per target by default. The seeds in test/fuzz/corpus are only read;
# new coverage inputs of a run are discarded. The input of a finding stays in build/fuzz/findings, and
# `build/fuzz/fuzz_TARGET FILE` reproduces it. PSP_FUZZ_SEED sets the random seed, so that `npm test` is repeatable;
# without it every run differs.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds="${1:-10}"
shift || true
[[ "$seconds" =~ ^[1-9][0-9]*$ ]] || {
  echo "fuzz: \"$seconds\" is not a number of seconds; usage: fuzz.sh [SECONDS] [TARGET...]" >&2
  exit 2
}

build="build/fuzz"
findings="$build/findings"
mkdir -p "$findings"
{
  cmake -S native -B "$build" -G Ninja -DPSP_FUZZ=ON -DCMAKE_CXX_COMPILER=clang++ &&
    ninja -C "$build" -j "$(nproc)" --quiet
} >"$build.log" 2>&1 || {
  cat "$build.log" >&2
  exit 1
}

targets=("$@")
if ((${#targets[@]} == 0)); then
  for program in "$build"/fuzz_*; do
    [[ -x "$program" && "$program" != */fuzz_make_seeds ]] && targets+=("${program##*/fuzz_}")
  done
fi
((${#targets[@]} > 0)) || {
  echo "fuzz: no targets were built" >&2
  exit 1
}
for target in "${targets[@]}"; do
  [[ -x "$build/fuzz_$target" ]] || {
    echo "fuzz: there is no target \"$target\"" >&2
    exit 2
  }
done

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export UBSAN_OPTIONS=print_stacktrace=1
# DPDK keeps its memory until the process ends.
export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1

# run TARGET: prints one line, and for a finding also its report.
run() {
  local target="$1" log="$work/$1.log" last found
  mkdir -p "$work/$target"
  if "$build/fuzz_$target" -max_total_time="$seconds" -seed="${PSP_FUZZ_SEED:-0}" -timeout=25 -rss_limit_mb=3072 -verbosity=1 \
    -artifact_prefix="$findings/$target-" "$work/$target" "test/fuzz/corpus/$target" >"$log" 2>&1; then
    last="$(grep -E '^#[0-9]+[[:space:]]+DONE' "$log")" || {
      echo "fuzz: $target: FAILED, it ended early"
      return 1
    }
    echo "fuzz: $target: $(sed -E 's/^#([0-9]+).* cov: ([0-9]+) ft: ([0-9]+).*/\1 runs, coverage \2, features \3/' <<<"$last")"
    return 0
  fi
  found="$(grep -oE "$findings/$target-[^ ]+" "$log" | tail -n 1)"
  grep -vE '^#[0-9]+[[:space:]]' "$log" | tail -n 60 >&2
  echo "fuzz: $target: FAILED, input in ${found:-"(none written)"}"
  return 1
}

failed=0
running=()
for target in "${targets[@]}"; do
  if ((${#running[@]} == 2)); then
    wait "${running[0]}" || failed=1
    running=("${running[1]}")
  fi
  run "$target" &
  running+=($!)
done
for process in "${running[@]}"; do wait "$process" || failed=1; done
exit "$failed"
