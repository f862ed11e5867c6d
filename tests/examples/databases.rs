//! The three databases, as environment variables of the quickstart.

use tempfile::TempDir;

use crate::support::{mariadb, postgres};

/// An empty database, which lives as long as the value.
pub struct Database {
    pub url: String,
    /// Whether the database is a server with sessions.
    pub server: bool,
    _folder: Option<TempDir>,
}

pub fn sqlite() -> Database {
    let folder = tempfile::tempdir().expect("a temporary folder");
    Database {
        url: format!("sqlite://{}", folder.path().join("app.db").display()),
        server: false,
        _folder: Some(folder),
    }
}

pub fn postgres(name: &str) -> Database {
    Database {
        url: postgres::shared().create_database(name),
        server: true,
        _folder: None,
    }
}

pub fn mariadb(name: &str) -> Database {
    Database {
        url: mariadb::shared().create_database(name),
        server: true,
        _folder: None,
    }
}
