# Named and timed stages. Sourced by scripts/test.

stages=()

# stage NAME COMMAND...: runs the command under a header. The first failure ends the script.
stage() {
    local name=$1 start=$SECONDS
    shift
    printf '\n==> %s\n' "$name"
    # Not `"$@" || ..`: inside such a list, the shell continues after an error in a function.
    "$@"
    printf -- '--- %s: %d s\n' "$name" "$((SECONDS - start))"
    stages+=("$(printf '%6d s  %s' "$((SECONDS - start))" "$name")")
}

summary() {
    printf '\nAll stages passed:\n'
    printf '%s\n' "${stages[@]}"
}

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

# Cargo prints one result for each test program; this prints their sum. A test whose program is missing
# prints that it is skipped, and passes.
add_up_results() {
    awk '
        /^test result:/ {
            for (i = 2; i <= NF; i++) {
                if ($i == "passed;") passed += $(i - 1)
                if ($i == "failed;") failed += $(i - 1)
                if ($i == "ignored;") skipped += $(i - 1)
            }
        }
        match($0, /skipped: .*: no `/) {
            skipped++
            passed--
            why = why substr($0, RSTART) "\n"
        }
        END { printf "\n%s%d passed, %d failed, %d skipped\n", why, passed, failed, skipped }
    ' "$1"
}
