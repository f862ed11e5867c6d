//! Starts a Postgres server that runs until the test process ends.

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use diesel_async::{AsyncPgConnection, RunQueryDsl};
use tokio::sync::OnceCell;

use crate::backend::connect_error::{ConnectError, ConnectErrorKind};
use crate::backend::postgres::connect::{Connected, Opened, connect, open};
use crate::backend::postgres::url::Target;

/// A running server.
///
/// The server stops and its directory is deleted when this is dropped or when the test process ends
/// for any reason, because the shell that supervises it then reads the end of its input.
pub(super) struct Server {
    pub(super) port: u16,
    pub(super) folder: PathBuf,
    _watcher: Child,
}

/// A certificate and its key, in PEM.
pub(super) struct Identity {
    pub(super) certificate: String,
    pub(super) key: String,
}

const START: &str = r#"
"$1/postgres" -D "$2/data" >"$2/log" 2>&1 &
server=$!
cat >/dev/null
kill -INT $server
wait $server
rm -rf "$2"
"#;

/// The access rules: the database `demands` requires TLS and the user `scram` requires a password.
/// The user `full` (see [`SET_UP`]) cannot connect, because its connection limit is zero.
const ACCESS: &str = "
local   all     all                 trust
host    all     scram   127.0.0.1/32 scram-sha-256
hostssl demands all     127.0.0.1/32 trust
host    offers  all     127.0.0.1/32 trust
host    postgres all    127.0.0.1/32 trust
";
const SET_UP: [&str; 4] = [
    "CREATE DATABASE demands",
    "CREATE DATABASE offers",
    "CREATE ROLE scram LOGIN PASSWORD 'it''s@secret'",
    "CREATE ROLE \"full\" LOGIN CONNECTION LIMIT 0",
];

/// Returns the server without TLS.
pub(super) async fn plain() -> &'static Server {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    SERVER.get_or_init(|| Server::start(None)).await
}

impl Server {
    pub(super) async fn start(identity: Option<Identity>) -> Self {
        let programs = programs();
        let folder =
            PathBuf::from(output(&["mktemp", "-d", "-t", "poolscope-postgres.XXXXXX"]).trim());
        let data = folder.join("data");
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let initdb = programs.join("initdb");
        output(&[
            initdb.to_str().unwrap(),
            "-D",
            data.to_str().unwrap(),
            "-U",
            "postgres",
            "-A",
            "trust",
            "--no-sync",
        ]);
        let mut settings = format!(
            "port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{}'\nfsync = off\n",
            folder.display()
        );
        if let Some(Identity { certificate, key }) = identity {
            write(&data.join("server.crt"), &certificate);
            write(&data.join("server.key"), &key);
            settings.push_str("ssl = on\n");
        }
        write(&data.join("postgresql.conf"), &settings);
        write(&data.join("pg_hba.conf"), ACCESS);
        let watcher = command(&[
            "sh",
            "-c",
            START,
            "sh",
            programs.to_str().unwrap(),
            folder.to_str().unwrap(),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
        let server = Self {
            port,
            folder,
            _watcher: watcher,
        };
        server.set_up().await;
        server
    }

    async fn set_up(&self) {
        let url = self.url("localhost", "postgres?sslmode=disable");
        let patience = Instant::now() + Duration::from_secs(120);
        let mut connection = loop {
            match connect(&target(&url)).await {
                Ok(connected) => break connected.connection,
                // The server does not listen yet, or is starting up.
                Err(error) => {
                    let expected = [ConnectErrorKind::Unreachable, ConnectErrorKind::Starting];
                    assert!(
                        expected.contains(&error.kind()) && Instant::now() < patience,
                        "{error}"
                    );
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        };
        for statement in SET_UP {
            run(&mut connection, statement).await.unwrap();
        }
    }

    /// Returns a URL of this server; `rest` is the database and the parameters.
    pub(super) fn url(&self, host: &str, rest: &str) -> String {
        format!("postgres://postgres@{host}:{}/{rest}", self.port)
    }

    /// Connects to the database `postgres`.
    pub(super) async fn connect(&self) -> Connected {
        connect(&target(&self.url("127.0.0.1", "postgres")))
            .await
            .unwrap()
    }

    /// Connects with a client of tokio-postgres, which supports more than that of diesel-async.
    pub(super) async fn open(&self) -> Opened {
        open(&target(&self.url("127.0.0.1", "postgres")))
            .await
            .unwrap()
    }
}

pub(super) fn target(url: &str) -> Target {
    Target::parse(url).unwrap_or_else(|reason| panic!("{url}: {reason}"))
}

/// Returns the error of a connection attempt that must fail.
pub(super) async fn refused(url: &str) -> ConnectError {
    connect(&target(url))
        .await
        .err()
        .unwrap_or_else(|| panic!("{url} was not rejected"))
}

pub(super) async fn run(
    connection: &mut AsyncPgConnection,
    statement: &str,
) -> diesel::QueryResult<usize> {
    diesel::sql_query(statement).execute(connection).await
}

/// Waits until another task makes the condition true.
pub(super) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(120);
    while !condition() {
        assert!(Instant::now() < patience, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Writes a file that only the server's user may read.
pub(super) fn write(path: &Path, text: &str) {
    let mut writer = command(&[
        "sh",
        "-c",
        r#"umask 077; cat >"$1""#,
        "sh",
        path.to_str().unwrap(),
    ])
    .stdin(Stdio::piped())
    .spawn()
    .unwrap();
    writer
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    assert!(writer.wait().unwrap().success());
}

fn output(words: &[&str]) -> String {
    let output = command(words).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns a command that runs as the current user, or as `postgres` if that is root, because the
/// server refuses to run as root.
fn command(words: &[&str]) -> Command {
    let user = Command::new("id").arg("-u").output().unwrap().stdout;
    let root = user.trim_ascii() == b"0";
    let words = if root {
        [&["runuser", "-u", "postgres", "--"], words].concat()
    } else {
        words.to_vec()
    };
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir("/");
    command
}

/// Returns the directory of the newest installed server of Debian, else the first in `PATH`.
fn programs() -> PathBuf {
    let debian = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let debian = debian.map(|version| version.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found: Vec<_> = debian
        .filter(|folder| folder.join("initdb").exists())
        .collect();
    found.sort();
    let mut others = std::env::split_paths(&path).filter(|folder| folder.join("initdb").exists());
    found
        .pop()
        .or_else(|| others.next())
        .expect("PostgreSQL's initdb, in /usr/lib/postgresql/*/bin or on the PATH")
}
