# Which lines of src/ the tests run. Sourced by scripts/test.
#
# By Rust's own instrumentation and LLVM's own tools, so there is no other program to build; and
# dependencies are not instrumented, so they are compiled once and run at full speed. Examples that
# tests run as programs count too, unless they are killed.

# with_coverage COMMAND PERCENT: runs the command with all of this crate instrumented. Fails when it
# does, or when less than that part of the lines was run. In a shell of its own, for the environment.
with_coverage() (
    local command=$1 percent=$2 folder=$PWD/target/coverage
    find_llvm_tools || fail 'no llvm-profdata and llvm-cov'
    rm -rf "$folder"
    mkdir -p "$folder"

    export RUSTC_WORKSPACE_WRAPPER=$PWD/scripts/lib/instrumented-rustc
    # Programs run in any folder and by the hundred: four files for each, added to as they end.
    export LLVM_PROFILE_FILE=$folder/%4m.profraw
    "$command"
    count_lines "$folder"
    awk -v "root=$PWD/" -v "least=$percent" -f scripts/lib/coverage.awk "$folder/lcov"
)

# What the programs wrote down, as LCOV.
count_lines() {
    local folder=$1 built program programs=()
    # Has been built, with the same `locked`; this says where.
    built=$(cargo test "${locked[@]}" --all-features --no-run --quiet --message-format json \
        | grep -o '"executable":"[^"]*"' | cut -d '"' -f 4)
    while read -r program; do
        programs+=(--object "$program")
    done <<<"$built"
    # A program that was killed while writing leaves a file that cannot be read; the others count.
    "${llvm_tools}profdata" merge --failure-mode=all --sparse --output "$folder/profdata" "$folder"/*.profraw
    "${llvm_tools}cov" export --format=lcov --instr-profile "$folder/profdata" \
        "${programs[@]}" --sources "$PWD/src" >"$folder/lcov"
}

llvm_version() {
    rustc --version --verbose | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p'
}

# Finds the tools of the LLVM that rustc was built with: from Rust's component `llvm-tools`, or from
# the system. Another version may not be able to read what the programs write.
find_llvm_tools() {
    local version
    version=$(llvm_version)
    for llvm_tools in \
        "$(rustc --print target-libdir)/../bin/llvm-" \
        "/usr/lib/llvm-$version/bin/llvm-"; do
        if [[ -x ${llvm_tools}profdata && -x ${llvm_tools}cov ]]; then
            return 0
        fi
    done
    return 1
}
