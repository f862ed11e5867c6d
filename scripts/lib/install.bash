# Installs what the tests need beyond Rust. Sourced by scripts/test.

# install_requirements COVERAGE: installs by apt when root; otherwise prints what to install, and fails.
install_requirements() {
    local packages=() components=()
    cargo fmt --version >/dev/null 2>&1 || components+=(rustfmt)
    cargo clippy --version >/dev/null 2>&1 || components+=(clippy)
    if ((${#components[@]})); then
        fail "Rust is installed without ${components[*]}. Run: rustup component add ${components[*]}"
    fi

    command -v cc >/dev/null || packages+=(gcc libc6-dev)
    has_postgres || packages+=(postgresql)
    has_mariadb || packages+=(mariadb-server)
    has_pgbouncer || packages+=(pgbouncer)
    if $1 && ! find_llvm_tools; then
        packages+=("llvm-$(llvm_version)")
    fi
    if ((${#packages[@]} == 0)); then
        echo 'nothing is missing'
        return
    fi

    if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
        echo "Missing. On Debian or Ubuntu, as root: apt-get update && apt-get install -y ${packages[*]}" >&2
        fail '(instead of llvm, with rustup: rustup component add llvm-tools)'
    fi
    echo "installing ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q </dev/null
    apt-get install -q -y --no-install-recommends "${packages[@]}" </dev/null
    if $1; then
        find_llvm_tools || fail "llvm-profdata and llvm-cov for LLVM $(llvm_version) are still missing"
    fi
}

# Debian installs the server's programs outside PATH, in a folder for each version.
has_postgres() {
    command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null
}

has_mariadb() {
    command -v mariadb >/dev/null && PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v mariadbd >/dev/null
}

has_pgbouncer() {
    PATH="$PATH:/usr/sbin" command -v pgbouncer >/dev/null
}
