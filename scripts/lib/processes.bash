# Programs that run beside a script and end with it. Sourced by scripts/stack.
#
# `folder` is where their logs go, NAME.log.

declare -A running=()
started=()

# start_in_background NAME COMMAND...: in a session of its own, so that Ctrl-C reaches the script
# alone, which ends them in order.
start_in_background() {
    local name=$1
    shift
    setsid "$@" </dev/null >>"$folder/$name.log" 2>&1 &
    running[$name]=$!
    # So that the shell does not tell how it ended.
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
    fail "$name: still nothing after a minute. $(<"$folder/complaint")"
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

# The last that was started first. Each gets five seconds, which Jaeger would use.
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

# free_port PREFERRED: that one, or one that is free.
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
