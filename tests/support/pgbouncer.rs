//! A real PgBouncer in front of a real PostgreSQL.

use std::net::{Ipv4Addr, TcpStream};

use rustix::process::Signal;

use super::PASSWORD;
use super::folder::{Account, Folder};
use super::ports::free_port;
use super::programs::find_or_skip;
use super::server::Server;

/// A PgBouncer on 127.0.0.1 with the user and password of the test servers.
pub struct PgBouncer {
    server: Server,
    port: u16,
}

impl PgBouncer {
    /// Starts one in transaction mode, with this number of server sessions for each database, or prints
    /// why the test is skipped.
    pub fn in_transaction_mode(postgres: u16, sessions: u16) -> Option<Self> {
        let program = find_or_skip("pgbouncer")?;
        let port = free_port();
        // PgBouncer refuses to run as root.
        let account = Account::unless_root_is_fine("postgres");
        let folder = Folder::new("pgbouncer", account, "TERM");
        let users = folder.write("users", format!("\"poolscope\" \"{PASSWORD}\"\n"));
        let configuration = folder.write(
            "pgbouncer.ini",
            format!(
                "[databases]\n\
                 * = host=127.0.0.1 port={postgres}\n\
                 [pgbouncer]\n\
                 listen_addr = 127.0.0.1\n\
                 listen_port = {port}\n\
                 unix_socket_dir =\n\
                 auth_type = scram-sha-256\n\
                 auth_file = {}\n\
                 pool_mode = transaction\n\
                 server_login_retry = 1\n\
                 default_pool_size = {sessions}\n",
                users.display()
            ),
        );
        let command = (program, vec![configuration.into()]);
        let mut server = Server::new("PgBouncer", folder, Signal::TERM, command);
        server.start(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
        Some(PgBouncer { server, port })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn log(&self) -> String {
        self.server.log()
    }
}
