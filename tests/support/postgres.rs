//! Real PostgreSQL servers.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rustix::process::Signal;

use super::certificates::Certificates;
use super::folder::{Account, Folder};
use super::ports::free_port;
use super::server::{Server, assert_plain, output_of};
use super::{PASSWORD, Tls};

mod setup;

pub use self::setup::find_programs;

/// A PostgreSQL server on 127.0.0.1 with password authentication (SCRAM).
///
/// Its superuser and its first database are both called `poolscope`.
pub struct Postgres {
    server: Server,
    port: u16,
    programs: PathBuf,
    certificates: Option<Certificates>,
}

/// The configuration of a [`Postgres`].
#[derive(Clone, Debug)]
pub struct Options {
    max_connections: u16,
    tls: Tls,
    certificate_names: Vec<String>,
    unix_socket: bool,
    config: String,
}

/// The shutdown modes of Postgres.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Waits for every client to disconnect.
    Smart,
    /// Rolls back and disconnects every client (SQLSTATE 57P01).
    Fast,
    /// Drops every client, and recovers at the next start.
    Immediate,
}

/// The server that all tests of a test binary share, each with its own database
/// ([`create_database`](Postgres::create_database)).
pub fn shared() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(|| Postgres::start(Options::new()))
}

impl Options {
    pub fn new() -> Self {
        Options {
            max_connections: 100,
            tls: Tls::None,
            certificate_names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
            unix_socket: false,
            config: String::new(),
        }
    }

    /// Defaults to 100. Postgres reserves 3 of them for superusers.
    pub fn max_connections(mut self, number: u16) -> Self {
        self.max_connections = number;
        self
    }

    /// Defaults to none.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = tls;
        self
    }

    /// The hosts of the server's certificate. Defaults to `localhost` and `127.0.0.1`.
    pub fn certificate_for(mut self, names: &[&str]) -> Self {
        self.certificate_names = names.iter().map(|&name| name.to_owned()).collect();
        self
    }

    /// Also listens on a Unix socket.
    pub fn unix_socket(mut self) -> Self {
        self.unix_socket = true;
        self
    }

    /// Adds a line to `postgresql.conf`.
    pub fn config(mut self, line: &str) -> Self {
        self.config.push_str(line);
        self.config.push('\n');
        self
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

impl Postgres {
    /// Starts a new, empty server (about a second).
    pub fn start(options: Options) -> Self {
        let programs = find_programs();
        let port = free_port();
        let account = Account::unless_root_is_fine("postgres");
        // SIGQUIT is Postgres's immediate shutdown, which also releases its System V shared memory.
        let folder = Folder::new("postgres", account, "QUIT");
        let data = folder.join("data");

        setup::initialise(&programs, &folder, &data);
        let certificates = (options.tls != Tls::None)
            .then(|| Certificates::new(&folder, &options.certificate_names));
        folder.write("data/pg_hba.conf", setup::access_rules(options.tls));
        folder.write(
            "data/postgresql.conf",
            setup::configuration(&options, port, &folder, certificates.as_ref()),
        );

        let arguments = vec![OsString::from("-D"), data.into()];
        let server = Server::new(
            "PostgreSQL",
            folder,
            Signal::QUIT,
            (programs.join("postgres"), arguments),
        );
        let mut postgres = Postgres {
            server,
            port,
            programs,
            certificates,
        };
        postgres.start_again();
        postgres.query_in("postgres", "CREATE DATABASE poolscope");
        postgres
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of the database `poolscope`.
    pub fn url(&self) -> String {
        self.url_of("poolscope")
    }

    /// The URL of another database.
    pub fn url_of(&self, database: &str) -> String {
        format!(
            "postgres://poolscope:{PASSWORD}@127.0.0.1:{}/{database}",
            self.port
        )
    }

    /// The URL with another password.
    pub fn url_with_password(&self, password: &str) -> String {
        format!(
            "postgres://poolscope:{password}@127.0.0.1:{}/poolscope",
            self.port
        )
    }

    /// The folder of the Unix socket, for use as the host of a connection.
    pub fn socket_folder(&self) -> &Path {
        self.server.folder.path()
    }

    /// # Panics
    /// If the server was started without TLS.
    pub fn certificates(&self) -> &Certificates {
        self.certificates.as_ref().expect("a server with TLS")
    }

    /// Creates an empty database, and returns its URL.
    pub fn create_database(&self, name: &str) -> String {
        assert_plain(name);
        self.query_in("postgres", &format!("CREATE DATABASE {name}"));
        self.url_of(name)
    }

    /// Creates a user without superuser rights, and returns the URL of the database `poolscope` for it.
    pub fn create_user(&self, name: &str) -> String {
        assert_plain(name);
        self.psql(&format!("CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'"));
        format!(
            "postgres://{name}:{PASSWORD}@127.0.0.1:{}/poolscope",
            self.port
        )
    }

    /// Runs SQL in the database `poolscope` with psql, as the superuser. Returns one line for each row,
    /// with `|` between columns.
    pub fn psql(&self, sql: &str) -> String {
        self.query_in("poolscope", sql)
    }

    /// As `psql`, in another database.
    pub fn query_in(&self, database: &str, sql: &str) -> String {
        self.try_query_in(database, sql)
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// As `query_in`; an error is psql's message.
    pub fn try_query_in(&self, database: &str, sql: &str) -> Result<String, String> {
        output_of(
            Command::new(self.programs.join("psql"))
                .args([
                    "-X",
                    "-q",
                    "-A",
                    "-t",
                    "-w",
                    "-v",
                    "ON_ERROR_STOP=1",
                    "-c",
                    sql,
                ])
                .env("PGHOST", "127.0.0.1")
                .env("PGPORT", self.port.to_string())
                .env("PGUSER", "poolscope")
                .env("PGPASSWORD", PASSWORD)
                .env("PGDATABASE", database)
                .env("PGCONNECT_TIMEOUT", "10"),
        )
    }

    /// Stops the server. It keeps its data and its port.
    pub fn stop(&mut self, how: Stop) {
        self.server.stop(match how {
            Stop::Smart => Signal::TERM,
            Stop::Fast => Signal::INT,
            Stop::Immediate => Signal::QUIT,
        });
    }

    /// Starts it again as a standby (of nobody): it is in recovery, and its sessions may only read.
    /// `pg_promote()` makes it a primary.
    pub fn make_standby(&mut self) {
        self.stop(Stop::Fast);
        self.server.folder.write("data/standby.signal", "");
        self.start_again();
    }

    /// Starts it again on the same port.
    pub fn start_again(&mut self) {
        self.server.start(is_ready);
    }

    /// Kills every process of the server: sockets close without a message to the clients.
    pub fn kill9(&mut self) {
        self.server.kill9();
        self.remove_shared_memory();
    }

    /// Freezes every process of the server: connections stay open and new ones are accepted by the
    /// system, but nothing responds.
    pub fn pause(&mut self) {
        self.server.pause();
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&mut self) {
        self.server.resume();
    }

    pub fn log(&self) -> String {
        self.server.log()
    }

    /// A killed Postgres leaves a few bytes of System V shared memory, which no process owns.
    fn remove_shared_memory(&self) {
        let file = fs::read_to_string(self.server.folder.join("data/postmaster.pid"));
        let file = file.unwrap_or_default();
        // The seventh line has the key and the id.
        if let Some(id) = file
            .lines()
            .nth(6)
            .and_then(|line| line.split_whitespace().nth(1))
        {
            let _ = Command::new("ipcrm").args(["-m", id]).output();
        }
    }
}

/// The first line of a file has the server's process id, the eighth its state. A killed server leaves
/// the file.
pub fn is_ready(folder: &Folder) -> bool {
    let read = |name| fs::read_to_string(folder.join(name)).unwrap_or_default();
    let (pid, file) = (read("pid"), read("data/postmaster.pid"));
    let mut lines = file.lines().map(str::trim);
    lines.next() == Some(pid.trim()) && matches!(lines.nth(6), Some("ready" | "standby"))
}
