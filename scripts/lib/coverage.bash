# Measures which lines of src/ the tests run. Sourced by scripts/test.
#
# Uses Rust's instrumentation and LLVM's tools, so no other program has to be built. Dependencies are not
# instrumented: they compile once and run at full speed. Examples that tests run as programs count, unless
# they are killed.

# with_coverage COMMAND PERCENT: runs the command with this crate instrumented. Fails if the command fails
# or covers a lower percentage of lines. Runs in a subshell, to contain the environment.
with_coverage() (
    local command=$1 percent=$2 folder=$PWD/target/coverage
    find_llvm_tools || fail 'no llvm-profdata and llvm-cov'
    rm -rf "$folder"
    mkdir -p "$folder"

    export RUSTC_WORKSPACE_WRAPPER=$PWD/scripts/lib/instrumented-rustc
    # Hundreds of programs share four files, and append to them when they exit.
    export LLVM_PROFILE_FILE=$folder/%4m.profraw
    "$command"
    count_lines "$folder"
    awk -v "root=$PWD/" -v "least=$percent" -f scripts/lib/coverage.awk "$folder/lcov"
)

# Converts the output of the programs to LCOV.
count_lines() {
    local folder=$1 built program programs=()
    # Everything is built already, with the same `locked`; this prints the paths.
    built=$(cargo test "${locked[@]}" --all-features --no-run --quiet --message-format json \
        | grep -o '"executable":"[^"]*"' | cut -d '"' -f 4)
    while read -r program; do
        programs+=(--object "$program")
    done <<<"$built"
    # A program that was killed while writing leaves an unreadable file; the others count.
    "${llvm_tools}profdata" merge --failure-mode=all --sparse --output "$folder/profdata" "$folder"/*.profraw
    "${llvm_tools}cov" export --format=lcov --instr-profile "$folder/profdata" \
        "${programs[@]}" --sources "$PWD/src" >"$folder/lcov"
}

llvm_version() {
    rustc --version --verbose | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p'
}

# Finds the LLVM tools of rustc's version, in Rust's component `llvm-tools` or in the system. Other versions
# may not read the output.
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
