# Reads LCOV; prints the lines that did not run, by file, and the percentage of lines that ran.
#
#   -v root=FOLDER/   removes this prefix from file names
#   -v least=PERCENT  exits with 1 if the percentage is lower
#
# Lines of unit tests do not count: from `#[cfg(test)] mod .. {` to the end of the file.

/^SF:/ {
    file = substr($0, 4)
    name = index(file, root) == 1 ? substr(file, length(root) + 1) : file
    tests = first_line_of_tests(file, name)
    missed = ""
    first = last = 0
}

/^DA:/ {
    split(substr($0, 4), count, ",")
    line = count[1] + 0
    if (line >= tests) next
    lines++
    if (count[2] > 0) {
        run++
    } else if (line == last + 1) {
        last = line
    } else {
        end_of_gap()
        first = last = line
    }
}

/^end_of_record/ {
    end_of_gap()
    if (missed != "") print "not run: " name ":" missed
}

END {
    if (lines == 0) {
        print "no lines were counted"
        exit 1
    }
    percent = 100 * run / lines
    printf "\ncoverage of src/: %.2f %% of lines (%d of %d)\n", percent, run, lines
    if (percent < least) {
        printf "the minimum is %s %%\n", least
        exit 1
    }
}

function end_of_gap() {
    if (first) missed = missed " " (first == last ? first : first "-" last)
    first = last = 0
}

function first_line_of_tests(file, name,    text, number, marked, found) {
    # Matches the name without the root, which may contain a folder `tests`.
    if (name ~ /^src\/(.*\/)?tests(\.rs$|\/)/) return 0
    found = 1e9
    while ((getline text < file) > 0) {
        number++
        if (marked && text ~ /^(pub(\(.*\))? )?mod .*\{/) {
            found = marked
            break
        }
        if (text ~ /^#\[cfg\((test|all\(test,.*)\)\]/) marked = number
        else if (text !~ /^#\[/) marked = 0
    }
    close(file)
    return found
}
