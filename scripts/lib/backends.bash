# Finds and installs the telemetry backends and the browser: the OpenTelemetry Collector, Jaeger, Prometheus and
# promtool, Chromium and chromedriver.
# Sourced by scripts/test and scripts/stack.
#
# Each program is taken from the folder POOLSCOPE_BACKENDS if that is set, else from PATH, else from a folder
# in the user's cache, where the first two are built. tests/support/programs.rs searches the same places, and
# skips the tests of missing programs, except on a CI machine.

backends=${XDG_CACHE_HOME:-$HOME/.cache}/poolscope/backends

# Fails only on a CI machine.
install_backends() {
    local program missing=()
    if ! has_backends prometheus promtool; then
        install_by_apt prometheus || echo 'Prometheus could not be installed.' >&2
    fi
    if ! has_backends chromium chromedriver; then
        install_by_apt chromium chromium-driver || echo 'Chromium could not be installed.' >&2
    fi
    build_backends || echo 'The collector or Jaeger could not be built.' >&2

    for program in otelcol jaeger prometheus promtool chromium chromedriver; do
        if has_backends "$program"; then
            echo "$program: $(find_backend "$program")"
        else
            missing+=("$program")
        fi
    done
    if ((${#missing[@]} == 0)); then
        return
    fi
    echo "Missing: ${missing[*]}. Install them in PATH or in $backends." >&2
    if [[ -n ${CI:-} ]]; then
        fail 'On a CI machine (CI is set), their tests must not be skipped.'
    fi
    echo 'The tests that need them are skipped, and listed at the end.' >&2
}

# has_backends PROGRAM...: succeeds if all programs are found.
has_backends() {
    local program
    for program in "$@"; do
        find_backend "$program" >/dev/null || return 1
    done
}

# find_backend PROGRAM: prints its path.
find_backend() {
    if [[ -n ${POOLSCOPE_BACKENDS:-} && -x $POOLSCOPE_BACKENDS/$1 ]]; then
        echo "$POOLSCOPE_BACKENDS/$1"
    elif ! type -P "$1"; then
        [[ -x $backends/$1 ]] && echo "$backends/$1"
    fi
}

# install_by_apt PACKAGE...: fails if apt cannot install them.
install_by_apt() {
    if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
        echo "Missing. On Debian or Ubuntu, as root:" \
            "apt-get update && apt-get install -y --no-install-recommends $*" >&2
        return 1
    fi
    echo "installing $*"
    apt-get update -q </dev/null \
        && DEBIAN_FRONTEND=noninteractive \
            apt-get install -q -y --no-install-recommends "$@" </dev/null
}

# Does nothing if the user has both programs. Rebuilds those that were built here from other versions.
build_backends() {
    if [[ -n ${POOLSCOPE_BACKENDS:-} ]] || { type -P otelcol && type -P jaeger; } >/dev/null; then
        return
    fi
    tests/backends/build "$backends"
}
