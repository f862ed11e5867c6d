# Counts the instructions of a checkout and of a query. Sourced by scripts/bench and scripts/test.
#
# On a busy machine, a clock detects changes of 20 %, an instruction count changes of 1 %: runs differ by 1 %, and by
# 3 % where a connection is moved by value (`layered`). The count covers the program and its libraries, not the
# kernel; cache misses, atomics and clock reads count as their instructions. One task runs on one thread, so that
# every run takes the same path. A fifth of the count is the C library (memcpy, malloc), so its version must match.
# Valgrind emulates a processor with AVX2 at most.

counts=benches/instructions.txt
counted=(
    'checkout bb8' 'checkout layered' 'checkout metrics' 'checkout unsampled' 'checkout sampled'
    'select bb8' 'select metrics' 'select unsampled' 'select sampled'
    'sdk metrics' 'sdk unsampled' 'sdk sampled'
)
# Percent.
may_grow=3

# Prints why instructions cannot be counted; nothing if they can.
why_not_counted() {
    command -v valgrind >/dev/null || echo 'valgrind is missing: apt-get install -y valgrind'
}

# Prints why new counts cannot be compared with the stored ones; nothing if they can.
why_not_compared() {
    local kept
    kept=$(sed -n 's/^# by //p' "$counts")
    [[ $kept == "$(counted_by)" ]] || echo "the stored counts are by $kept, this is $(counted_by)"
}

counted_by() {
    rustc --version --verbose | awk 'NR == 1 { version = $0 } /^host:/ { printf "%s, %s, ", version, $2 }'
    echo "$(getconf GNU_LIBC_VERSION)${RUSTFLAGS:+, $RUSTFLAGS}"
}

# count PROGRAM: prints a line `LOAD POOL COUNT` for each load and pool, in about a minute.
count() {
    local each times log
    log=$(mktemp)
    for each in "${counted[@]}"; do
        # Enough to hide work that happens once a second.
        [[ $each == select* ]] && times=4000 || times=20000
        # shellcheck disable=SC2086 # two words
        TIMES=$times valgrind --tool=callgrind --callgrind-out-file=/dev/null \
            --toggle-collect='*profile*counted*' "$1" $each >/dev/null 2>"$log" || { cat "$log" >&2; return 1; }
        awk -v each="$each" -v times="$times" \
            '/Collected : [1-9]/ { printf "%s %.0f\n", each, $NF / times; found = 1 } END { exit !found }' "$log" \
            || { cat "$log" >&2; return 1; }
    done
    rm "$log"
}

# keep_counts FILE: stores the counts for later comparisons.
keep_counts() {
    {
        echo '# Instructions per checkout and per query. Written by `scripts/bench --keep`,'
        echo '# read by `scripts/bench --check`.'
        echo "# by $(counted_by)"
        sed -n 's/^model name\s*:/# on/p' /proc/cpuinfo | head -n 1
        cat "$1"
    } >"$counts"
    echo "written: $counts" >&2
}

# compare_counts FILE: fails if a count has grown.
compare_counts() {
    awk -v may_grow="$may_grow" '
        /^#/ { next }
        NR == FNR { kept[$1 " " $2] = $3; next }
        !($1 " " $2 in kept) { printf "%-8s  %-9s  %6d, not stored yet: scripts/bench --keep\n", $1, $2, $3; next }
        {
            change = 100 * ($3 / kept[$1 " " $2] - 1)
            grown = change > may_grow
            failed = failed || grown
            printf "%-8s  %-9s  %6d, was %6d: %+.1f %%%s\n", $1, $2, $3, kept[$1 " " $2], change, grown ? "  <-- grown" : ""
        }
        END { exit failed }
    ' "$counts" "$1" || fail "a count grew by more than $may_grow %; to accept it: scripts/bench --keep"
}

# counts_as_table FILE: prints a section of docs/benchmarks.md.
counts_as_table() {
    printf '\n### Instructions: one task, one thread\n\n| load | pool | instructions | over raw bb8 |\n|---|---|---|---|\n'
    awk '
        BEGIN {
            name["bb8"] = "raw bb8, without ping"
            name["layered"] = "`ObserveLayer` over that bb8, metrics"
            name["metrics"] = "`Pool`, metrics"
            name["unsampled"] = "`Pool`, metrics, traces not sampled"
            name["sampled"] = "`Pool`, metrics, every trace sampled"
            load["checkout"] = "a checkout"
            load["select"] = "a checkout and `SELECT 1`"
        }
        $2 == "bb8" { raw = $3 }
        $1 == "sdk" { alone[$2] = $3; next }
        { printf "| %s | %s | %d | %s |\n", load[$1], name[$2], $3, $2 == "bb8" ? "" : sprintf("%+d", $3 - raw) }
        END {
            printf "\nOpenTelemetry\047s SDK alone takes %d instructions for two histograms, %d for a span that is not sampled, and", \
                alone["metrics"], alone["unsampled"]
            printf " %d for a\nsampled span without attributes.\n", alone["sampled"]
        }
    ' "$1"
    printf '\nCounted by callgrind in the client, without the kernel. With %s.\n' "$(counted_by)"
}
