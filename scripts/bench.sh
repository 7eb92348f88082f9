#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs one bench, a file of bench/, or one of the commands over all benches. Sets up and builds what is missing first,
# so it works in a fresh clone. The benches install the programs that they compare with.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

commands=(all report compare)
mapfile -t benches < <(basename -s .ts bench/*.ts | grep -vxF "$(printf '%s\n' "${commands[@]}")")

usage() {
  cat <<END
npm run bench -- NAME [--json FILE]   runs one bench: ${benches[*]}
npm run bench -- engine|secgw|wire --profile [--json FILE]   shows where the time goes, with perf
npm run bench -- all [--json DIR]     runs all benches and writes their JSON to DIR; without DIR, regenerates docs/performance.md
npm run bench -- report [DIR]         regenerates docs/performance.md and its plots from the JSON in DIR; runs no bench
npm run bench -- compare DIR DIR      reports whether two runs agree within their noise
END
}

name="${1:-}"
if [[ "$name" == --help || "$name" == help ]]; then usage && exit 0; fi
if [[ ! "$name" =~ ^[a-z_]+$ || ! -e "bench/$name.ts" ]]; then
  echo "bench: there is no bench '$name'; choose one of: ${benches[*]} ${commands[*]}" >&2
  exit 2
fi
bash scripts/setup.sh
bash scripts/build.sh
exec node "dist/bench/$name.js" "${@:2}"
