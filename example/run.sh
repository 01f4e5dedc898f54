#!/usr/bin/env bash
# Builds the examples in a release build and runs compare_policies; the arguments are its own
# (--help tells them). The standard output is the program's alone.
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/../test/support/setup.sh"

need "${build_packages[@]}"
build release polyloop_examples >&2
exec "$root/build/release/example/compare_policies" "$@"
