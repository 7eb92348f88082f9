#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs a bench by its name, a file of bench/, or one of the commands over all of them. It sets up and builds what is
# missing first, so it works on a fresh clone; peers are installed by the benches that measure them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

commands=(all report compare)
mapfile -t benches < <(basename -s .ts bench/*.ts | grep -vxF "$(printf '%s\n' "${commands[@]}")")

usage() {
  cat <<END
npm run bench -- NAME [--json FILE]   one of: ${benches[*]}
npm run bench -- engine|secgw|wire --profile [--json FILE]   where the time goes, by perf
npm run bench -- all [--json DIR]     all of them in turn, JSON into DIR; without DIR docs/performance.md is made anew
npm run bench -- report [DIR]         docs/performance.md and its plots, of the JSON in DIR; runs no bench
npm run bench -- compare DIR DIR      whether two runs agree within their noise
END
}

name="${1:-}"
if [[ "$name" == --help || "$name" == help ]]; then usage && exit 0; fi
if [[ ! "$name" =~ ^[a-z_]+$ || ! -e "bench/$name.ts" ]]; then
  echo "bench: no bench is called '$name'; name one of: ${benches[*]} ${commands[*]}" >&2
  exit 2
fi
bash scripts/setup.sh
bash scripts/build.sh
exec node "dist/bench/$name.js" "${@:2}"
