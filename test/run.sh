#!/usr/bin/env bash
set -euo pipefail

usage="Usage: test/run.sh [--all] [--row NAME]... [--backend NAME]... [--jobs N] [--help]

Installs what is missing (Debian 12), builds, and runs the tests of a debug build.

  --all       also a release build with a short run of example/run.sh, the sanitizers
              (address and undefined behaviour with clang, threads with GCC), the variant for
              select (with clang, as a shared library), valgrind on a part, a minute of
              fuzzing, b2 (which makes a shared library, too), and the variants of the library
              used by other projects
  --row NAME  one of these instead: debug release asan tsan select valgrind fuzz b2
              installed subdirectory; or io_uring: the tests on that variant; or repeat: those
              of signals and forks 200 times
  --backend NAME
              the tests on one backend: epoll (the row debug), select or io_uring
  --jobs N    processes at once, by default one per processor
"

source "$(dirname "${BASH_SOURCE[0]}")/support/setup.sh"

all_packages=(
    clang-16 libclang-rt-16-dev liburing-dev pkg-config valgrind libboost1.81-tools-dev
)

every_row=(debug release asan tsan select valgrind fuzz b2 installed subdirectory)
other_rows=(io_uring repeat)
rows=() all=
while (($#)); do
    case $1 in
        --all) all=1 ;;
        --row)
            [[ " ${every_row[*]} ${other_rows[*]} " == *" ${2-} "* ]] ||
                { printf 'No such row: %s\n\n%s' "${2-}" "$usage" >&2; exit 2; }
            rows+=("$2"); shift ;;
        --backend)
            case ${2-} in
                epoll) rows+=(debug) ;;
                select | io_uring) rows+=("$2") ;;
                *) printf 'No such backend: %s\n\n%s' "${2-}" "$usage" >&2; exit 2 ;;
            esac
            shift ;;
        --jobs) jobs=${2-}; shift $(($# > 1)) ;;
        --help) printf '%s' "$usage"; exit 0 ;;
        *) printf 'Unknown argument: %s\n\n%s' "$1" "$usage" >&2; exit 2 ;;
    esac
    shift
done
if [[ $all ]]; then
    rows=("${every_row[@]}")
elif ((${#rows[@]} == 0)); then
    rows=(debug)
fi
[[ $jobs =~ ^[1-9][0-9]*$ ]] || { echo "--jobs wants a number, not '$jobs'" >&2; exit 2; }

# -- rows: each stops at its first failing command ------------------------------------------
run_preset()
{
    build "$1"
    # GCC 12's sanitizers cannot live with as much address randomisation as newer kernels do.
    local unrandomised=()
    if [[ $1 == [at]san ]] && setarch -R true 2> /dev/null; then
        unrandomised=(setarch -R)
    fi
    "${unrandomised[@]}" ctest --preset "$1" --parallel "$jobs"
}

# Ends with an error where a row of the comparison has errors, or no requests.
run_release()
{
    local result=$root/build/log/compare_policies.json
    example/run.sh --json "$result" --duration 0.3
    test -s "$result"
}

# Skipped, aloud, where the kernel refuses io_uring: no loop can be made there.
run_io_uring()
{
    build io_uring backend_info
    local told
    told=$(build/io_uring/example/backend_info) || grep -q '^available: no' <<< "$told"
    if grep -q '^available: no' <<< "$told"; then
        echo "io_uring SKIPPED: $(sed -n 's/^because: *//p' <<< "$told")"
        return 0
    fi
    run_preset io_uring
}

# What is built for memcheck: that which knows of fibers' stacks, with little waiting.
run_valgrind()
{
    local programs=(
        loop.strand sync.channel sync.mutex task.run_until_complete task.spawn task.task
        task.task_group task.this_fiber
    )
    build valgrind "${programs[@]}"
    local program
    for program in "${programs[@]}"; do
        echo "$program under valgrind"
        # A program that hangs is aborted, so that memcheck shows where it is.
        timeout --signal=ABRT --kill-after=30 300 \
            valgrind --quiet --fair-sched=yes --error-exitcode=99 --leak-check=full \
            --show-leak-kinds=definite --errors-for-leak-kinds=definite \
            "build/valgrind/test/$program" --log_level=unit_scope --color_output=no
    done
}

# A minute of new programs. What fails is left in build/fuzz, to be put into test/fuzz/corpus.
run_fuzz()
{
    build fuzz fuzz.programs
    mkdir -p build/fuzz/corpus
    local unrandomised=()
    ! setarch -R true 2> /dev/null || unrandomised=(setarch -R)
    "${unrandomised[@]}" build/fuzz/test/fuzz.programs -max_total_time=60 -max_len=256 -timeout=60 \
        -print_final_stats=1 -artifact_prefix=build/fuzz/ build/fuzz/corpus test/fuzz/corpus
}

# What depends on when a signal or a fork comes: it has to be right each time.
run_repeat()
{
    build debug runner.signals policy.fork
    ctest --preset debug --parallel "$jobs" --tests-regex '^(runner\.signals|policy\.fork)$' \
        --repeat until-fail:200
}

run_b2()
{
    local flags=(-q "-j$jobs" "--user-config=$root/test/support/user-config.jam"
        toolset=clang-16 debug-symbols=off warnings=extra warnings-as-errors=on)
    local variants=polyloop-backend=platform,select,io_uring
    b2 "${flags[@]}" polyloop test example
    b2 "${flags[@]}" install "$variants" "--prefix=$root/build/stage/b2" > /dev/null
    test -f build/stage/b2/include/polyloop.hpp
    test -f build/stage/b2/lib/libpolyloop.so
    test -f build/stage/b2/lib/libpolyloop_select.so
    test -f build/stage/b2/lib/libpolyloop_io_uring.so
    cd test/consumer/b2
    b2 "${flags[@]}" "$variants" consumer
}

# consumer NAME DIRECTORY OPTION...: another project, made from nothing each time.
consumer()
{
    local directory=$root/build/consumer/$1
    cmake -S "test/consumer/$2" -B "$directory" --fresh -G Ninja \
        -DCMAKE_BUILD_TYPE=Debug "${@:3}"
    cmake --build "$directory" --parallel "$jobs"
    "$directory/consumer"
}

# An install has all variants, static and shared. Each is used by CMake and by pkg-config.
run_installed()
{
    local kind prefix name
    for kind in static shared; do
        prefix=$root/build/stage/$kind
        cmake -S . -B "build/installed-$kind" -G Ninja -DCMAKE_BUILD_TYPE=Debug \
            -DCMAKE_CXX_FLAGS_DEBUG= -DCMAKE_CXX_COMPILER=clang++-16 \
            -DPOLYLOOP_BUILD_TESTS=OFF -DPOLYLOOP_BUILD_EXAMPLES=OFF -DPOLYLOOP_WERROR=ON \
            "-DCMAKE_INSTALL_PREFIX=$prefix" \
            "-DBUILD_SHARED_LIBS=$([[ $kind == static ]] || echo ON)"
        cmake --build "build/installed-$kind" --parallel "$jobs"
        rm -rf "$prefix"
        cmake --install "build/installed-$kind" > /dev/null
        for name in polyloop select io_uring; do
            consumer "installed-$kind-$name" installed "-DCMAKE_PREFIX_PATH=$prefix" \
                "-DBACKEND=$name"
        done
        for name in polyloop polyloop-select polyloop-io_uring; do
            pkg_config_consumer "$prefix" "$name"
        done
    done
    # Some distributions' compilers have flags of their own, and no say in the library's layout.
    consumer installed-flags installed "-DCMAKE_PREFIX_PATH=$root/build/stage/static" \
        -DBACKEND=polyloop -DCMAKE_CXX_FLAGS=-fcf-protection=full
}

# pkg_config_consumer PREFIX PACKAGE
pkg_config_consumer()
{
    local flags program=build/consumer/$2
    export PKG_CONFIG_PATH
    PKG_CONFIG_PATH=$(dirname "$(find "$1" -name "$2.pc")")
    read -ra flags <<< "$(pkg-config --cflags --libs "$2")"
    g++ -std=c++20 test/consumer/main.cpp "${flags[@]}" \
        "-Wl,-rpath,$(pkg-config --variable=libdir "$2")" -o "$program"
    "$program"
}

run_subdirectory()
{
    consumer subdirectory subdirectory
}

run_row()
{
    set -e
    case $1 in
        b2 | fuzz | installed | io_uring | release | repeat | subdirectory | valgrind) "run_$1" ;;
        *) run_preset "$1" ;;
    esac
}

# The suite on each backend, as ctest told it.
variants()
{
    local row name log counts passed
    for row in "${rows[@]}"; do
        case $row in
            debug) name=epoll ;;
            select | io_uring) name=$row ;;
            *) continue ;;
        esac
        log=$logs/$row.log
        if grep -q "^$row SKIPPED" "$log"; then
            printf '%-10s %s\n' "$name" "$(grep "^$row SKIPPED" "$log")"
            continue
        fi
        counts=$(sed -n 's/.* \([0-9]*\) tests failed out of \([0-9]*\)$/\1 \2/p' "$log")
        [[ $counts ]] || continue
        passed=$((${counts#* } - ${counts% *}))
        printf '%-10s %3d tests, %3d passed, %d skipped\n' "$name" "${counts#* }" "$passed" \
            "$(grep -c '^[[:space:]]*[0-9]* - .*(Disabled)\|^[[:space:]]*[0-9]* - .*(Skipped)' "$log")"
    done
    echo
}

# -- the run --------------------------------------------------------------------------------
need "${build_packages[@]}" "${client_packages[@]}"
[[ ${rows[*]} == debug || ${rows[*]} == release ]] || need "${all_packages[@]}"

cd "$root"
logs=$root/build/log
mkdir -p "$logs"

table='' failed='' number=0
for row in "${rows[@]}"; do
    number=$((number + 1))
    log=$logs/$row.log
    echo "[$number/${#rows[@]}] $row, after $((SECONDS / 60)) min $((SECONDS % 60)) s"
    begin=$SECONDS

    # Not as a condition: there bash would not stop a row at its first failing command.
    set +e
    (run_row "$row") 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    set -e

    result=passed
    if ((status)); then
        result=FAILED
        failed+="-- $row failed with status $status, see $log, which ends:"$'\n'
        failed+=$(tail -n 60 "$log")$'\n'
    fi
    table+=$(printf '%-14s %-8s %5d s' "$row" "$result" $((SECONDS - begin)))$'\n'
done

if ((${#rows[@]} > 1)); then
    printf '\n%s\n' "$table"
    variants
    # What ctest said at the end of the first row.
    [[ $failed ]] || sed -n '/tests passed/,$p' "$logs/${rows[0]}.log"
fi
if [[ $failed ]]; then
    printf '\n%s' "$failed"
    exit 1
fi
