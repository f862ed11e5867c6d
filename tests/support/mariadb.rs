//! Real MariaDB servers.

use std::ffi::OsString;
use std::io::Read;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::Signal;

use super::certificates::Certificates;
use super::folder::{Account, Folder};
use super::ports::free_port;
use super::server::{Server, assert_plain, output_of};
use super::{PASSWORD, Tls};

/// A MariaDB server on 127.0.0.1.
///
/// Its administrator and its first database are both called `poolscope`.
pub struct MariaDb {
    server: Server,
    port: u16,
    client: PathBuf,
    certificates: Option<Certificates>,
}

/// The configuration of a [`MariaDb`].
#[derive(Clone, Debug)]
pub struct Options {
    max_connections: u16,
    tls: Tls,
    arguments: Vec<String>,
}

/// The server that all tests of a test binary share, each with its own database
/// ([`create_database`](MariaDb::create_database)).
pub fn shared() -> &'static MariaDb {
    static SHARED: OnceLock<MariaDb> = OnceLock::new();
    SHARED.get_or_init(|| MariaDb::start(Options::new()))
}

impl Options {
    pub fn new() -> Self {
        Options {
            max_connections: 100,
            tls: Tls::None,
            arguments: Vec::new(),
        }
    }

    /// Defaults to 100, plus one for the administrator; at least 10.
    pub fn max_connections(mut self, number: u16) -> Self {
        self.max_connections = number;
        self
    }

    /// Defaults to none. The certificate is for `localhost` and `127.0.0.1`.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = tls;
        self
    }

    /// Adds an argument for `mariadbd`, such as `--wait-timeout=2`.
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

impl MariaDb {
    /// Starts a new, empty server (about a second; 200 MB of memory).
    pub fn start(options: Options) -> Self {
        let program = find_program("mariadbd");
        let port = free_port();
        let account = Account::unless_root_is_fine("mysql");
        // A graceful stop would clean up data that the folder's removal deletes anyway.
        let folder = Folder::new("mariadb", account, "KILL");
        initialise(&folder);
        let certificates = (options.tls != Tls::None)
            .then(|| Certificates::new(&folder, &["localhost".to_owned(), "127.0.0.1".to_owned()]));

        let arguments = arguments(&options, port, &folder, certificates.as_ref());
        let mut mariadb = MariaDb {
            server: Server::new("MariaDB", folder, Signal::KILL, (program, arguments)),
            port,
            client: find_program("mariadb"),
            certificates,
        };
        mariadb.start_again();
        mariadb
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
            "mysql://poolscope:{PASSWORD}@127.0.0.1:{}/{database}",
            self.port
        )
    }

    /// The URL with another password.
    pub fn url_with_password(&self, password: &str) -> String {
        format!(
            "mysql://poolscope:{password}@127.0.0.1:{}/poolscope",
            self.port
        )
    }

    /// # Panics
    /// If the server was started without TLS.
    pub fn certificates(&self) -> &Certificates {
        self.certificates.as_ref().expect("a server with TLS")
    }

    /// Creates an empty database, and returns its URL.
    pub fn create_database(&self, name: &str) -> String {
        assert_plain(name);
        self.sql(&format!("CREATE DATABASE {name}"));
        self.url_of(name)
    }

    /// Creates a user with rights on the database `poolscope` only, and returns the URL of that
    /// database for the user.
    pub fn create_user(&self, name: &str) -> String {
        assert_plain(name);
        self.sql(&format!(
            "CREATE USER {name}@'%' IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON poolscope.* TO {name}@'%'"
        ));
        format!(
            "mysql://{name}:{PASSWORD}@127.0.0.1:{}/poolscope",
            self.port
        )
    }

    /// Runs SQL in the database `poolscope` with the server's client, as the administrator. Returns
    /// one line for each row, with a tab between columns.
    pub fn sql(&self, sql: &str) -> String {
        self.query_in("poolscope", sql)
    }

    /// As `sql`, in another database.
    pub fn query_in(&self, database: &str, sql: &str) -> String {
        self.try_query_in(database, sql)
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// As `query_in`; an error is the client's message.
    pub fn try_query_in(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut command = Command::new(&self.client);
        command
            .args([
                "--no-defaults",
                "--protocol=TCP",
                "--host=127.0.0.1",
                "--user=poolscope",
            ])
            .args(["--skip-column-names", "--batch", "--connect-timeout=10"])
            .arg(format!("--port={}", self.port))
            .arg(format!("--execute={sql}"))
            .env("MYSQL_PWD", PASSWORD);
        if self.certificates.is_some() {
            command.arg("--ssl");
        }
        output_of(command.arg(database))
    }

    /// Stops the server gracefully. It keeps its data and its port.
    pub fn stop(&mut self) {
        self.server.stop(Signal::TERM);
    }

    /// Starts it again on the same port.
    pub fn start_again(&mut self) {
        let port = self.port;
        self.server.start(|_| greets(port));
    }

    /// Kills the server: sockets close without a message to the clients.
    pub fn kill9(&mut self) {
        self.server.kill9();
    }

    /// Freezes the server: connections stay open and new ones are accepted by the system, but nothing
    /// responds.
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
}

fn initialise(folder: &Folder) {
    output_of(
        folder
            .command(find_program("mariadb-install-db"))
            .arg("--no-defaults")
            .arg(with_path("--datadir=", &folder.join("data")))
            .args(["--auth-root-authentication-method=normal", "--skip-test-db"]),
    )
    .expect("mariadb-install-db");
    // The server runs this file at every start.
    folder.write(
        "users.sql",
        format!(
            "CREATE DATABASE IF NOT EXISTS poolscope;\n\
             CREATE USER IF NOT EXISTS poolscope@'%' IDENTIFIED BY '{PASSWORD}';\n\
             GRANT ALL ON *.* TO poolscope@'%' WITH GRANT OPTION;\n"
        ),
    );
}

fn arguments(
    options: &Options,
    port: u16,
    folder: &Folder,
    certificates: Option<&Certificates>,
) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec![
        "--no-defaults".into(),
        "--bind-address=127.0.0.1".into(),
        format!("--port={port}").into(),
        format!("--max-connections={}", options.max_connections).into(),
        "--skip-name-resolve".into(),
        "--innodb-flush-log-at-trx-commit=0".into(),
        "--innodb-buffer-pool-size=32M".into(),
        "--default-time-zone=+00:00".into(),
        with_path("--datadir=", &folder.join("data")),
        with_path("--socket=", &folder.join("socket")),
        with_path("--pid-file=", &folder.join("mariadbd.pid")),
        with_path("--init-file=", &folder.join("users.sql")),
    ];
    if let Some(certificates) = certificates {
        arguments.push(with_path("--ssl-ca=", &certificates.authority));
        arguments.push(with_path("--ssl-cert=", &certificates.server));
        arguments.push(with_path("--ssl-key=", &certificates.server_key));
    }
    if options.tls == Tls::Require {
        arguments.push("--require-secure-transport=ON".into());
    }
    arguments.extend(options.arguments.iter().map(OsString::from));
    arguments
}

fn with_path(option: &str, path: &Path) -> OsString {
    let mut argument = OsString::from(option);
    argument.push(path);
    argument
}

/// The server sends first, once it has run its init file.
fn greets(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok_and(|mut socket| {
        let _ = socket.set_read_timeout(Some(Duration::from_secs(1)));
        socket.read(&mut [0; 64]).is_ok_and(|length| length > 0)
    })
}

/// Servers are in folders that only root's `PATH` contains.
fn find_program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(more)
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .unwrap_or_else(|| {
            panic!(
                "MariaDB is not installed (no `{name}` in PATH, /usr/sbin or /usr/local/sbin).\n\
                 scripts/test installs it when run as root; by hand: apt-get install -y mariadb-server"
            )
        })
}
