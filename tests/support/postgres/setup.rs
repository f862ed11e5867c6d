//! Prepares a PostgreSQL server before its start.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::super::certificates::Certificates;
use super::super::folder::Folder;
use super::super::server::output_of;
use super::super::{PASSWORD, Tls};
use super::Options;

pub fn initialise(programs: &Path, folder: &Folder, data: &Path) {
    let password = folder.write("password", PASSWORD);
    output_of(
        folder
            .command(programs.join("initdb"))
            .args(["--username=poolscope", "--auth=scram-sha-256"])
            .args(["--encoding=UTF8", "--locale=C", "--no-sync"])
            .arg("--pgdata")
            .arg(data)
            .arg("--pwfile")
            .arg(password),
    )
    .expect("initdb");
}

pub fn access_rules(tls: Tls) -> String {
    let host = if tls == Tls::Require {
        "hostssl"
    } else {
        "host"
    };
    format!("local all all scram-sha-256\n{host} all all 127.0.0.1/32 scram-sha-256\n")
}

pub fn configuration(
    options: &Options,
    port: u16,
    folder: &Folder,
    certificates: Option<&Certificates>,
) -> String {
    let sockets = if options.unix_socket {
        folder.path().to_str().expect("a folder in UTF-8")
    } else {
        ""
    };
    // The data need not survive, so nothing waits for the disk.
    let mut lines = format!(
        "listen_addresses = '127.0.0.1'\n\
         port = {port}\n\
         unix_socket_directories = '{sockets}'\n\
         max_connections = {}\n\
         fsync = off\n\
         synchronous_commit = off\n\
         full_page_writes = off\n\
         timezone = 'UTC'\n\
         log_line_prefix = '%m [%p] %q%u@%d '\n",
        options.max_connections
    );
    if let Some(certificates) = certificates {
        let (server, key) = (&certificates.server, &certificates.server_key);
        let _ = writeln!(lines, "ssl = on");
        let _ = writeln!(lines, "ssl_cert_file = '{}'", server.display());
        let _ = writeln!(lines, "ssl_key_file = '{}'", key.display());
    }
    lines.push_str(&options.config);
    lines
}

/// The folder of `postgres` and `initdb`: in `PATH`, or Debian's folder of the newest version.
pub fn find_programs() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).find(|folder| has_programs(folder));
    in_path.or_else(newest_of_debian).unwrap_or_else(|| {
        panic!(
            "the PostgreSQL server is not installed: no `initdb`, `postgres` and `psql` in a folder of PATH \
             or in /usr/lib/postgresql/*/bin.\n\
             scripts/test installs it when run as root; by hand: apt-get install -y postgresql"
        )
    })
}

fn newest_of_debian() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    versions
        .filter_map(|entry| {
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(_, folder)| has_programs(folder))
        .max()
        .map(|(_, folder)| folder)
}

fn has_programs(folder: &Path) -> bool {
    ["initdb", "postgres", "psql"]
        .iter()
        .all(|name| folder.join(name).is_file())
}
