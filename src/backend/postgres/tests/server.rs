//! Starts a Postgres server that runs until the test process ends.

use std::time::{Duration, Instant};

use diesel_async::{AsyncPgConnection, RunQueryDsl};
use rustix::process::Signal;
use tokio::sync::OnceCell;

use super::support::folder::{Account, Folder};
use super::support::ports::free_port;
use super::support::postgres::{find_programs, is_ready};
use super::support::server::{Server as Process, output_of};
use crate::backend::connect_error::ConnectError;
use crate::backend::postgres::connect::{Connected, connect};
use crate::backend::postgres::open::{Opened, open};
use crate::backend::postgres::url::Target;

/// A running server.
pub(super) struct Server {
    pub(super) port: u16,
    process: Process,
}

/// A certificate and its key, in PEM.
pub(super) struct Identity {
    pub(super) certificate: String,
    pub(super) key: String,
    /// The authority of clients: if set, the user `client` needs a certificate.
    pub(super) clients: Option<String>,
}

/// The access rules: the database `demands` requires TLS and the user `scram` requires a password.
/// The user `full` (see [`SET_UP`]) cannot connect, because its connection limit is zero. `ldap` and `pam`
/// cannot either, because there is nothing to ask.
const ACCESS: &str = "
host    offers  ldap    127.0.0.1/32 ldap ldapserver=127.0.0.1 ldapport=1 ldapprefix=cn-
host    offers  pam     127.0.0.1/32 pam pamservice=poolscope-none
local   all     all                 trust
host    all     scram   127.0.0.1/32 scram-sha-256
hostssl demands all     127.0.0.1/32 trust
host    offers  all     127.0.0.1/32 trust
host    postgres all    127.0.0.1/32 trust
";
const SET_UP: [&str; 7] = [
    "CREATE DATABASE demands",
    "CREATE DATABASE offers",
    "CREATE ROLE scram LOGIN PASSWORD 'it''s@secret'",
    "CREATE ROLE \"full\" LOGIN CONNECTION LIMIT 0",
    "CREATE ROLE client LOGIN",
    "CREATE ROLE ldap LOGIN",
    "CREATE ROLE pam LOGIN",
];

/// Returns the server without TLS.
pub(super) async fn plain() -> &'static Server {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    SERVER.get_or_init(|| Server::start(None)).await
}

impl Server {
    pub(super) async fn start(identity: Option<Identity>) -> Self {
        let programs = find_programs();
        let account = Account::unless_root_is_fine("postgres");
        let folder = Folder::new("postgres", account, "QUIT");
        let (data, port) = (folder.join("data"), free_port());
        let mut initdb = folder.command(programs.join("initdb"));
        let initdb = initdb.args(["-U", "postgres", "-A", "trust", "--no-sync", "-D"]);
        output_of(initdb.arg(&data)).expect("initdb");
        let mut settings = format!(
            "port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{}'\nfsync = off\n",
            folder.path().display()
        );
        let mut access = ACCESS.to_owned();
        if let Some(identity) = identity {
            folder.write("data/server.crt", identity.certificate);
            folder.write("data/server.key", identity.key);
            settings.push_str("ssl = on\n");
            if let Some(authority) = identity.clients {
                folder.write("data/clients.crt", authority);
                settings.push_str("ssl_ca_file = 'clients.crt'\n");
                access.insert_str(0, "hostssl offers client 127.0.0.1/32 cert\n");
            }
        }
        folder.write("data/postgresql.conf", settings);
        folder.write("data/pg_hba.conf", access);
        let command = (programs.join("postgres"), vec!["-D".into(), data.into()]);
        let mut process = Process::new("PostgreSQL", folder, Signal::QUIT, command);
        process.start(is_ready);
        let server = Self { port, process };
        let url = server.url("localhost", "postgres?sslmode=disable");
        let mut connection = connect(&target(&url)).await.unwrap().connection;
        for statement in SET_UP {
            run(&mut connection, statement).await.unwrap();
        }
        server
    }

    /// Returns the server's folder, which is also that of its Unix socket.
    pub(super) fn folder(&self) -> &Folder {
        &self.process.folder
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
            .0
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
