#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Checks the format: Biome for TypeScript, clang-format for C++, buf for the protocols. With the argument `format` it
# corrects what it can instead.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mapfile -t cpp < <(find native test -name '*.cc' -o -name '*.h' | sort)
if [[ "${1:-}" == format ]]; then
  npx --no-install biome check --write .
  clang-format -i "${cpp[@]}"
else
  npx --no-install biome check --error-on-warnings .
  clang-format --dry-run -Werror "${cpp[@]}"
  npx --no-install buf lint
fi
