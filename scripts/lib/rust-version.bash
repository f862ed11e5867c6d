# Is the `rust-version` in Cargo.toml true? Sourced by scripts/test.
#
# No toolchain of that version is needed: every crate states what it needs itself. What counts is
# what a user's cargo chooses for the library, so a copy of Cargo.toml without dev-dependencies is
# resolved anew, the way cargo does since 1.84: the newest versions that state no more than ours,
# and newer ones only where there are none. One of those is what this looks for.

# In a shell of its own, so that the copy is removed however this ends.
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
    # All features are in the lock file, and all platforms.
    manifests=$(manifests_of_dependencies "$copy")
    while read -r manifest; do
        theirs=$(rust_version_in "$manifest")
        if [[ -n $theirs && $(printf '%s\n' "$ours" "$theirs" | sort -V | tail -n 1) != "$ours" ]]; then
            too_new+=("$(basename "$(dirname "$manifest")") needs Rust $theirs")
        fi
    done <<<"$manifests"

    if ((${#too_new[@]})); then
        printf '%s\n' "${too_new[@]}" >&2
        fail "Cargo.toml states Rust $ours: state the highest of these, or ask for older versions of them"
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

# With three numbers, to be compared: 1.88 is 1.88.0.
rust_version_in() {
    sed -n 's/^rust-version *= *"\([0-9.]*\)".*/\1/p' "$1" | sed 's/^[0-9]*\.[0-9]*$/&.0/'
}
