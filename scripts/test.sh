#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Everything that a change must pass: setup, build, format, native tests (also under sanitizers), a short run of the
# fuzz targets, then vitest stage by stage. A failed stage does not prevent later ones. One closing line sums up all
# stages.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash scripts/setup.sh || {
  echo "0 passed, 1 failed, 0 skipped"
  exit 1
}

reports="$PWD/build/reports"
rm -rf "$reports"
mkdir -p "$reports"
failed=()

# stage NAME COMMAND...: runs a stage. A stage without a test report of its own counts as one test.
stage() {
  local name="$1" began=$SECONDS
  shift
  echo "== $name"
  if "$@"; then
    echo "{\"passed\":1}" >"$reports/stage-$name.json"
  else
    echo "{\"failed\":1}" >"$reports/stage-$name.json"
    failed+=("$name")
  fi
  echo "== $name took $((SECONDS - began)) s"
}

# vitest_stage NAME: runs one project of vitest.config.ts.
vitest_stage() {
  stage "$1" npx --no-install vitest run --project "$1" --passWithNoTests \
    --reporter=default --reporter=json --outputFile.json="$reports/vitest-$1.json"
}

stage build bash scripts/build.sh
stage lint bash scripts/lint.sh
stage native bash scripts/native_test.sh "$reports"
stage fuzz env PSP_FUZZ_SEED=1 bash scripts/fuzz.sh 10
for project in house vectors core adapters e2e; do vitest_stage "$project"; done

((${#failed[@]} == 0)) || echo "failed stages: ${failed[*]}"
node scripts/sum_reports.mjs "$reports"
