# Sourced by test/run.sh and example/run.sh: what both need of a Debian 12 machine.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
jobs=$(nproc)

build_packages=(
    g++ cmake ninja-build
    libboost1.81-dev libboost-context1.81-dev libboost-test1.81-dev
    libboost-json1.81-dev libboost-program-options1.81-dev libssl-dev
)
# What the tests of the examples run as clients.
client_packages=(curl openssl wrk)

# need PACKAGE...: installs those that are missing, or names them and stops with 2.
need()
{
    if ! command -v dpkg-query > /dev/null; then
        echo "Not a Debian system: going on, with what these would bring: $*" >&2
        return
    fi

    local package missing=() as_root=()
    for package; do
        if [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null) != installed ]]; then
            missing+=("$package")
        fi
    done
    ((${#missing[@]})) || return 0

    if ((EUID != 0)); then
        as_root=(sudo -n)
        if ! sudo -n true 2> /dev/null; then
            echo "These packages are missing, and only root can install them:" >&2
            echo "    apt-get install --no-install-recommends ${missing[*]}" >&2
            exit 2
        fi
    fi
    echo "Installing ${missing[*]}" >&2
    local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q)
    "${apt[@]}" update >&2 &&
        "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >&2 ||
        { echo "Could not install ${missing[*]}" >&2; exit 2; }
}

# build PRESET [TARGET...]: Ninja configures again by itself, except after a change of presets.
build()
{
    local preset=$1 target targets=()
    shift
    for target; do targets+=(--target "$target"); done

    local directory=$root/build/$preset
    if [[ ! $directory/build.ninja -nt $root/CMakePresets.json ]]; then
        cmake -S "$root" --preset "$preset"
    fi
    cmake --build "$directory" --parallel "$jobs" "${targets[@]}"
}
