# Checks that dependencies need no newer Rust than Cargo.toml's `rust-version`. Sourced by scripts/test.
#
# No toolchain of that version is needed, because every crate states its own. A user's cargo resolves without
# dev-dependencies, so this resolves a copy of Cargo.toml without them, as cargo does since 1.84: it prefers
# versions that state no newer Rust than ours, and takes newer ones only if there are no others. The
# check reports those.

# Runs in a subshell, so that the copy is always removed.
check_rust_version() (
    local ours copy manifests manifest theirs too_new=()
    ours=$(rust_version_in Cargo.toml)
    [[ -n $ours ]] || fail 'Cargo.toml states no rust-version'

    copy=$(mktemp -d)
    trap 'rm -rf "$copy"' EXIT
    mkdir "$copy/src"
    touch "$copy/src/lib.rs"
    awk '/^\[/ { skip = /^\[(\[(bench|bin|example|test)\]\]|dev-dependencies)/ } !skip' \
        Cargo.toml >"$copy/Cargo.toml"
    # The lock file contains all features and all platforms.
    manifests=$(manifests_of_dependencies "$copy")
    while read -r manifest; do
        theirs=$(rust_version_in "$manifest")
        if [[ -n $theirs && $(printf '%s\n' "$ours" "$theirs" | sort -V | tail -n 1) != "$ours" ]]; then
            too_new+=("$(basename "$(dirname "$manifest")") needs Rust $theirs")
        fi
    done <<<"$manifests"

    if ((${#too_new[@]})); then
        printf '%s\n' "${too_new[@]}" >&2
        fail "Cargo.toml states Rust $ours: state the highest of these, or require older versions of them"
    fi
    echo "no dependency needs more than Rust $ours"
)

manifests_of_dependencies() (
    cd "$1"
    export CARGO_RESOLVER_INCOMPATIBLE_RUST_VERSIONS=fallback
    cargo generate-lockfile --quiet
    cargo metadata --format-version 1 --all-features \
        | grep -o '"manifest_path":"[^"]*"' | cut -d '"' -f 4 | grep -vxF "$PWD/Cargo.toml"
)

# Adds a third number for comparison: 1.88 becomes 1.88.0.
rust_version_in() {
    sed -n 's/^rust-version *= *"\([0-9.]*\)".*/\1/p' "$1" | sed 's/^[0-9]*\.[0-9]*$/&.0/'
}
