#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs one bench by its name, a file of bench/: `npm run bench -- first_packet [--json FILE]`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
name="${1:-}"
[[ -n "$name" && -e "bench/$name.ts" ]] || {
  echo "bench: name one of: $(basename -s .ts bench/*.ts | tr '\n' ' ')" >&2
  exit 2
}
bash scripts/setup.sh
bash scripts/build.sh
exec node "dist/bench/$name.js" "${@:2}"
