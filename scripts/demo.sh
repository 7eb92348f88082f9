#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From a fresh clone to the story told: sets up, builds, then runs the demo with the arguments given.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[[ "$(id -u)" == 0 ]] || {
  echo "demo: needs root, for network namespaces and raw access to their interfaces" >&2
  exit 1
}
bash scripts/setup.sh
[[ -e dist/scripts/demo.js && -e build/native/psp_addon.node ]] || echo "demo: builds (some minutes the first time)"
bash scripts/build.sh
exec node dist/scripts/demo.js "$@"
