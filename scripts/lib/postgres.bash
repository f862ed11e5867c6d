# A PostgreSQL server for a while, in a folder that is thrown away. Sourced by scripts/stack.

# start_postgres FOLDER PORT: on 127.0.0.1, with the user and the database `shop`, who needs no
# password. The folder has to exist; the server runs in it when this returns.
start_postgres() {
    local folder=$1 port=$2 programs owner=()
    programs=$(postgres_programs) || fail 'PostgreSQL is missing: apt-get install -y postgresql'
    # It refuses to run as root.
    if ((EUID == 0)); then
        owner=(setpriv --reuid postgres --regid postgres --init-groups)
        chown postgres "$folder"
    fi
    cd "$folder"
    "${owner[@]}" "$programs/initdb" -D data -U shop -A trust -E UTF8 --no-sync >log
    # What is thrown away need not be safe.
    start_in_background postgres "${owner[@]}" "$programs/postgres" -D data -p "$port" -c listen_addresses=127.0.0.1 \
        -c unix_socket_directories= -c fsync=off -c full_page_writes=off
    cd - >/dev/null
    until_it_answers PostgreSQL "$programs/pg_isready" -q -h 127.0.0.1 -p "$port" -U shop
    "$programs/createdb" -h 127.0.0.1 -p "$port" -U shop shop
}

# Debian keeps them out of PATH, each version in a folder of its own: the newest. In PATH there may
# be links to some of them.
postgres_programs() {
    local initdb
    initdb=$(type -P initdb) || initdb=$(compgen -G '/usr/lib/postgresql/*/bin/initdb' | sort -V | tail -n 1)
    [[ -n $initdb ]] && dirname "$(readlink -f "$initdb")"
}
