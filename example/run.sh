#!/usr/bin/env bash
# Builds example/compare_policies in a release build and runs it; the arguments are its own
# (--help tells them). The standard output is the program's alone.
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/../test/support/setup.sh"

need "${build_packages[@]}"
build release compare_policies >&2
exec "$root/build/release/example/compare_policies" "$@"
