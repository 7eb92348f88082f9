#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the demo from a fresh clone: sets up, builds, then starts it with the given arguments.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[[ "$(id -u)" == 0 ]] || {
  echo "demo: root is required, for network namespaces and raw access to their interfaces" >&2
  exit 1
}
bash scripts/setup.sh
[[ -e dist/scripts/demo.js && -e build/native/psp_addon.node ]] || echo "demo: building (takes some minutes the first time)"
bash scripts/build.sh
exec node dist/scripts/demo.js "$@"
