# Writes measurements into a guide, with the date, the machine and the versions. Sourced by scripts/bench and
# scripts/advice-trial.

# print_environment SCRIPT CRATE...: prints the date, the machine, and the versions of these crates.
print_environment() {
    local script=$1 processor memory crate versions=()
    shift
    processor=$(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -n 1)
    memory=$(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)
    for crate in "$@"; do
        versions+=("$crate $(version_of "$crate")")
    done
    printf 'Measured on %s, by `%s` at %s.\n\n' "$(date +%F)" "$script" \
        "$(git describe --always --dirty 2>/dev/null || echo 'an unknown revision')"
    printf -- '- %s processors: %s; %s; %s %s; load when it began: %s\n' "$(nproc)" \
        "${processor:-$(uname -m)}" "$memory" "$(uname -s)" "$(uname -r)" "$(cut -d ' ' -f 1 /proc/loadavg)"
    printf -- '- %s; %s\n' "$(rustc --version)" "$(postgres_version)"
    printf -- '- %s\n' "$(printf '%s, ' "${versions[@]}" | sed 's/, $//')"
}

version_of() {
    grep -A 1 "^name = \"$1\"$" benches/Cargo.lock | sed -n 's/^version = "\(.*\)"/\1/p' | head -n 1
}

postgres_version() {
    local program
    program=$(ls /usr/lib/postgresql/*/bin/postgres 2>/dev/null | sort -V | tail -n 1)
    "${program:-postgres}" --version
}

# put_between BEGINS ENDS TABLES DOCUMENT: replaces what is between the two marks.
put_between() {
    local begins=$1 ends=$2 tables=$3 document=$4
    awk -v begins="$begins" -v ends="$ends" -v tables="$tables" '
        $0 == ends { skip = 0 }
        !skip { print }
        $0 == begins {
            skip = 1
            print ""
            while ((getline line < tables) > 0) print line
            print ""
        }
    ' "$document" >"$tables.new"
    cp "$tables.new" "$document"
    echo "written: $document" >&2
}
