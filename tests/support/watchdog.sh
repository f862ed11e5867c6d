# When the test process ends, ends the program in a folder, and removes the folder.
#
#   $1  the folder; its file `pid` has the process ID of the program, if one runs
#   $2  the signal to send before SIGKILL
#
# Standard input is a pipe whose other end only the test process holds, so it closes when that process ends,
# normally, by a panic or by SIGKILL.
while read -r _; do :; done

if pid=$(cat "$1/pid" 2>/dev/null); then
    children=$(cat "/proc/$pid/task/$pid/children" 2>/dev/null)
    # A frozen process would not receive the other signals.
    kill -s CONT "$pid" $children 2>/dev/null
    kill -s "$2" "$pid" 2>/dev/null
    sleep 0.5
    kill -s KILL "$pid" $children 2>/dev/null
fi

# A dying process may still write.
for _ in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf "$1" 2>/dev/null && exit
    sleep 0.1
done
