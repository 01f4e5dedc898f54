#!/usr/bin/env bash
set -euo pipefail

usage="Usage: test/bench/run.sh [--json FILE] [--html FILE] [--filter RE] [--quick] [--help]

Installs what is missing (Debian 12), builds the benchmarks, runs them, and prints what each
thing costs beside the limit of the machine, the best peer and the bound, and whether that is
met. A bound that is not met is no error of this script.

  --json FILE   the same with all raw figures, in the form of Google Benchmark
  --html FILE   the same as a page
  --filter RE   only scenarios and systems whose scenario/system matches
  --quick       fewer and shorter runs: to see that all works, not to compare
"

source "$(dirname "${BASH_SOURCE[0]}")/../support/setup.sh"

arguments=()
while (($#)); do
    case $1 in
        --json | --html)
            [[ ${2-} ]] || { echo "$1 wants a file" >&2; exit 2; }
            arguments+=("$1" "$(realpath -m -- "$2")"); shift ;;
        --filter)
            [[ ${2-} ]] || { echo "$1 wants a regular expression" >&2; exit 2; }
            arguments+=("$1=$2"); shift ;;
        --quick) arguments+=("$1") ;;
        --help) printf '%s' "$usage"; exit 0 ;;
        *) printf 'Unknown argument: %s\n\n%s' "$1" "$usage" >&2; exit 2 ;;
    esac
    shift
done

need "${build_packages[@]}" libbenchmark-dev libboost-fiber1.81-dev libuv1-dev \
    nginx-light python3 strace valgrind wrk
build bench polyloop_bench polyloop_bench_echo polyloop_bench_http polyloop_bench_load \
    polyloop_bench_write >&2
exec python3 "$root/test/bench/report.py" --programs "$root/build/bench/test/bench" \
    "${arguments[@]}"
