# Runs programs that end with the script. Sourced by scripts/stack.
#
# Their logs are NAME.log in `folder`.

declare -A running=()
started=()

# start_in_background NAME COMMAND...: starts the command in a new session, so that Ctrl-C reaches only the
# script, which then ends the programs in order.
start_in_background() {
    local name=$1
    shift
    setsid "$@" </dev/null >>"$folder/$name.log" 2>&1 &
    running[$name]=$!
    # The shell does not report how it ends.
    disown
    started+=("$name")
}

# until_it_answers NAME COMMAND...: waits until the command succeeds.
until_it_answers() {
    local name=$1 tries
    shift
    for ((tries = 0; tries < 600; tries++)); do
        "$@" >/dev/null 2>"$folder/complaint" && return
        fail_if_one_has_ended
        sleep 0.1
    done
    show_logs
    fail "$name does not answer after a minute. $(<"$folder/complaint")"
}

fail_if_one_has_ended() {
    local name
    for name in "${started[@]}"; do
        if ! kill -0 "${running[$name]}" 2>/dev/null; then
            tail -n 20 "$folder/$name.log" >&2
            fail "$name has ended"
        fi
    done
}

show_logs() {
    local name
    for name in "${started[@]}"; do
        printf -- '--- %s\n' "$name"
        tail -n 20 "$folder/$name.log"
    done >&2
}

# Ends the programs in reverse order. Each has ten seconds, except Jaeger, which would use them.
stop_all() {
    local i name pid tries
    for ((i = ${#started[@]} - 1; i >= 0; i--)); do
        name=${started[i]} pid=${running[${started[i]}]}
        kill -TERM "$pid" 2>/dev/null || continue
        [[ $name == jaeger ]] && kill -KILL "$pid" 2>/dev/null
        for ((tries = 0; tries < 100; tries++)); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL "$pid" 2>/dev/null || true
    done
    started=()
}

# free_port PREFERRED: prints the preferred port if it is free, else another one.
free_port() {
    local port=$1
    while is_taken "$port"; do
        port=$((20000 + RANDOM % 12000))
    done
    echo "$port"
}

is_taken() {
    (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}
