#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what the build, the tests and the demo need on Debian 12: packages by apt, then node_modules by npm. Prints
# what it will install before it installs it, installs only what is missing, and does nothing the second time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

packages=(
  # to build
  cmake ninja-build g++ pkg-config libdpdk-dev libssl-dev libgtest-dev clang-format
  # to run
  nats-server nftables iproute2 openssl util-linux procps
  # to test and to demonstrate
  ethtool iputils-ping traceroute tcpdump tshark iperf3 prometheus clang libclang-rt-14-dev
  # to test with gRPC and cryptography of other projects, in Debian's own Python
  python3-grpcio python3-grpc-tools python3-cryptography
)
if [[ "$(dpkg --print-architecture 2>/dev/null || true)" == amd64 ]]; then packages+=(libipsec-mb-dev); fi

fail() {
  echo "setup: $*" >&2
  exit 1
}

node_major="$(node --version 2>/dev/null | sed -E 's/^v([0-9]+).*/\1/')"
[[ -n "$node_major" && "$node_major" -ge 20 ]] || fail "Node.js 20 or newer is required; install it first"

is_installed() {
  [[ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null || true)" == installed ]]
}

install_packages() {
  command -v apt-get >/dev/null || fail "apt-get not found: setup supports Debian only; install these packages manually: $*"
  [[ "$(id -u)" == 0 ]] || fail "apt needs root; run as root, or install these packages manually: $*"
  echo "setup: installing with apt: $*"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # A package must not start its service: every gateway starts its own nats-server.
  local policy=/usr/sbin/policy-rc.d placed=''
  if [[ ! -e "$policy" ]]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    placed=yes
    # shellcheck disable=SC2064 # the path is known now
    trap "rm -f $policy" EXIT
  fi
  apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 "$@" >/dev/null
  if [[ -n "$placed" ]]; then
    rm -f "$policy"
    trap - EXIT
  fi
}

missing=()
for package in "${packages[@]}"; do is_installed "$package" || missing+=("$package"); done
if ((${#missing[@]} > 0)); then install_packages "${missing[@]}"; fi

# npm writes this file last, so it distinguishes a complete installation from an interrupted one.
installed=node_modules/.package-lock.json
if [[ ! -e "$installed" || package-lock.json -nt "$installed" ]]; then
  echo "setup: installing with npm: the packages of package-lock.json into node_modules"
  # Not `npm ci`: it refuses a lock file that lacks other platforms' packages, which some registries do not have. None
  # of the required packages needs its install script; those of optional packages would compile.
  npm install --no-save --ignore-scripts --no-audit --no-fund --loglevel=error
  touch "$installed"
fi
