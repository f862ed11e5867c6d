# Runs the tests repeatedly on a busy machine. Sourced by scripts/test.

load=()

# soak ROUNDS COMMAND...: runs the command repeatedly under load on every processor and on the disk. Runs all
# rounds, and fails if one failed.
soak() {
    local rounds=$1 round failed=()
    shift
    start_load
    for ((round = 1; round <= rounds; round++)); do
        printf '\n==> round %d of %d\n' "$round" "$rounds"
        if ! "$@"; then
            failed+=("$round: $(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' target/test-output | paste -sd ' ')")
        fi
    done
    stop_load
    printf '\n%d of %d rounds are clean\n' "$((rounds - ${#failed[@]}))" "$rounds"
    if ((${#failed[@]})); then
        printf 'round %s\n' "${failed[@]}"
        return 1
    fi
}

# Starts a busy loop on each processor, and a loop that writes 64 MiB and waits for the disk. They end with the
# script, or after six hours.
start_load() {
    local processor
    trap stop_load EXIT
    for ((processor = 0; processor < $(nproc); processor++)); do
        timeout 6h sh -c 'while :; do :; done' &
        load+=("$!")
    done
    timeout 6h sh -c 'while :; do dd if=/dev/zero of=target/soak bs=1M count=64 conv=fsync 2>/dev/null; done' &
    load+=("$!")
}

stop_load() {
    if ((${#load[@]})); then
        kill "${load[@]}" 2>/dev/null || true
        wait "${load[@]}" 2>/dev/null || true
    fi
    load=()
    rm -f target/soak
}
