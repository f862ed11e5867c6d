# What a checkout and a query cost in instructions. Sourced by scripts/bench and scripts/test.
#
# A clock on a busy machine shows a change of a fifth, a count one of a hundredth: runs differ by 1 %, and by 3 % where a
# connection is moved by value (`layered`). What is counted is the program and its libraries, not the kernel; a cache
# miss, an atomic and a reading of the clock count as what they are made of. One task on one thread, so that
# every run takes the same way. A fifth of it is the C library (memcpy, malloc): so its version has to be the
# same too. Of a processor valgrind shows it no more than AVX2, whatever it has.

counts=benches/instructions.txt
counted=(
    'checkout bb8' 'checkout layered' 'checkout metrics' 'checkout unsampled' 'checkout sampled'
    'select bb8' 'select metrics' 'select unsampled' 'select sampled'
    'sdk metrics' 'sdk unsampled' 'sdk sampled'
)
# Percent.
may_grow=3

# Prints why nothing can be counted; nothing if it can.
why_not_counted() {
    command -v valgrind >/dev/null || echo 'valgrind is missing: apt-get install -y valgrind'
}

# Prints why counts of here cannot be compared with those kept; nothing if they can.
why_not_compared() {
    local kept
    kept=$(sed -n 's/^# by //p' "$counts")
    [[ $kept == "$(counted_by)" ]] || echo "the counts kept are by $kept, and this is $(counted_by)"
}

counted_by() {
    rustc --version --verbose | awk 'NR == 1 { version = $0 } /^host:/ { printf "%s, %s, ", version, $2 }'
    echo "$(getconf GNU_LIBC_VERSION)${RUSTFLAGS:+, $RUSTFLAGS}"
}

# count PROGRAM: a line `LOAD POOL COUNT` each, for a minute or a little more.
count() {
    local each times log
    log=$(mktemp)
    for each in "${counted[@]}"; do
        # Enough that what happens once a second does not show.
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

# keep_counts FILE: as those to compare with from now on.
keep_counts() {
    {
        echo '# Instructions a checkout and a query take, counted and kept by `scripts/bench --keep`,'
        echo '# compared with by `scripts/bench --check`.'
        echo "# by $(counted_by)"
        sed -n 's/^model name\s*:/# on/p' /proc/cpuinfo | head -n 1
        cat "$1"
    } >"$counts"
    echo "written: $counts" >&2
}

# compare_counts FILE: fails if one of them has grown.
compare_counts() {
    awk -v may_grow="$may_grow" '
        /^#/ { next }
        NR == FNR { kept[$1 " " $2] = $3; next }
        !($1 " " $2 in kept) { printf "%-8s  %-9s  %6d, not kept yet: scripts/bench --keep\n", $1, $2, $3; next }
        {
            change = 100 * ($3 / kept[$1 " " $2] - 1)
            grown = change > may_grow
            failed = failed || grown
            printf "%-8s  %-9s  %6d, were %6d: %+.1f %%%s\n", $1, $2, $3, kept[$1 " " $2], change, grown ? "  <-- grown" : ""
        }
        END { exit failed }
    ' "$counts" "$1" || fail "more than $may_grow % more instructions; if that is meant: scripts/bench --keep"
}

# counts_as_table FILE: a section of docs/benchmarks.md.
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
    printf '\nOf the client, by callgrind, without the kernel. With %s.\n' "$(counted_by)"
}
