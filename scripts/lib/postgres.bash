# Starts a temporary PostgreSQL server. Sourced by scripts/stack.

# start_postgres FOLDER PORT: starts the server on 127.0.0.1, with a user and a database `shop` and no
# password, in an existing folder. Returns when the server accepts connections.
start_postgres() {
    local folder=$1 port=$2 programs owner=()
    programs=$(postgres_programs) || fail 'PostgreSQL is missing: apt-get install -y postgresql'
    # PostgreSQL refuses to run as root.
    if ((EUID == 0)); then
        owner=(setpriv --reuid postgres --regid postgres --init-groups)
        chown postgres "$folder"
    fi
    cd "$folder"
    "${owner[@]}" "$programs/initdb" -D data -U shop -A trust -E UTF8 --no-sync >log
    # The data is temporary, so durability is off.
    start_in_background postgres "${owner[@]}" "$programs/postgres" -D data -p "$port" -c listen_addresses=127.0.0.1 \
        -c unix_socket_directories= -c fsync=off -c full_page_writes=off
    cd - >/dev/null
    until_it_answers PostgreSQL "$programs/pg_isready" -q -h 127.0.0.1 -p "$port" -U shop
    "$programs/createdb" -h 127.0.0.1 -p "$port" -U shop shop
}

# Debian installs them outside PATH, in a folder for each version: takes the newest. PATH may contain links
# to some of them.
postgres_programs() {
    local initdb
    initdb=$(type -P initdb) || initdb=$(compgen -G '/usr/lib/postgresql/*/bin/initdb' | sort -V | tail -n 1)
    [[ -n $initdb ]] && dirname "$(readlink -f "$initdb")"
}
