//! The URL of the database, which never shows its password.

mod form;
mod in_memory;
mod mistake;
mod pieces;
mod redact;

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use self::form::Form;
pub(super) use self::mistake::EXPECTED;

/// The URL of the database. Only [`expose`](Self::expose) returns its password.
///
/// `Debug`, `Display` and `Serialize` show the URL with `***` in place of the password and of the
/// values of all query parameters. A part that cannot be parsed with certainty is hidden entirely.
///
/// | form | examples |
/// |---|---|
/// | Postgres | `postgres://user:password@host:5432/db`, `postgresql://...` |
/// | MySQL, MariaDB | `mysql://user:password@host:3306/db`; `mariadb://` is turned into `mysql://` |
/// | SQLite | `sqlite://app.db`, `sqlite:///absolute/app.db`, `sqlite:app.db`, `file:app.db?mode=ro`, `./app.db`, `:memory:` |
///
/// ```
/// use poolscope::settings::{DatabaseKind, DatabaseUrl};
///
/// let url = DatabaseUrl::from("postgres://app:s%40crets@db/shop?sslmode=require");
/// assert_eq!(url.database_kind(), Some(DatabaseKind::Postgres));
/// assert_eq!(url.to_string(), "postgres://app:***@db/shop?sslmode=***");
/// assert_eq!(url.redact("cannot log in with s@crets"), "cannot log in with ***");
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(from = "String")]
pub struct DatabaseUrl(String);

/// The kinds of databases that have a backend.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DatabaseKind {
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    Mysql,
    /// SQLite.
    Sqlite,
}

impl DatabaseKind {
    /// Returns the value of `db.system.name`.
    pub(crate) const fn system_name(self) -> &'static str {
        match self {
            Self::Postgres => "postgresql",
            Self::Mysql => "mysql",
            Self::Sqlite => "sqlite",
        }
    }
}

impl fmt::Display for DatabaseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Postgres => "PostgreSQL",
            Self::Mysql => "MySQL",
            Self::Sqlite => "SQLite",
        })
    }
}

impl DatabaseUrl {
    /// Returns the URL with its password, for the database driver only.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the text before `://` or `:`; `None` for a bare path.
    #[must_use]
    pub fn scheme(&self) -> Option<&str> {
        form::split_scheme(&self.0).map(|(scheme, _)| scheme)
    }

    /// Returns the kind of the database; `None` if the URL has none of the forms above.
    #[must_use]
    pub fn database_kind(&self) -> Option<DatabaseKind> {
        match Form::of(&self.0) {
            Form::Server { kind, .. } => Some(kind),
            Form::Sqlite { .. } => Some(DatabaseKind::Sqlite),
            Form::Unknown { .. } => None,
        }
    }
}

impl From<&str> for DatabaseUrl {
    fn from(text: &str) -> Self {
        Self(form::normalise(text))
    }
}

impl From<String> for DatabaseUrl {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact::masked(&self.0))
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DatabaseUrl")
            .field(&redact::masked(&self.0))
            .finish()
    }
}

impl Serialize for DatabaseUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_determines_the_kind() {
        use DatabaseKind::{Mysql, Postgres, Sqlite};

        for (url, kind) in [
            ("postgres://db/shop", Some(Postgres)),
            ("postgresql://db/shop", Some(Postgres)),
            ("POSTGRES://db/shop", Some(Postgres)),
            ("host=db user=app", None),
            ("mysql://db/shop", Some(Mysql)),
            ("mariadb://db/shop", Some(Mysql)),
            ("sqlite://app.db", Some(Sqlite)),
            ("sqlite:///var/app.db", Some(Sqlite)),
            ("sqlite:app.db", Some(Sqlite)),
            ("sqlite::memory:", Some(Sqlite)),
            ("file:app.db?mode=ro", Some(Sqlite)),
            ("app.db", Some(Sqlite)),
            ("./data/app", Some(Sqlite)),
            ("/data/app.sqlite3", Some(Sqlite)),
            ("C:\\data\\app.sqlite", Some(Sqlite)),
            ("app.db?mode=ro", Some(Sqlite)),
            (":memory:", Some(Sqlite)),
            ("", None),
            ("postgres", None),
            ("postgres:app.db", None),
            ("redis://db", None),
            ("postgresql+asyncpg://db/shop", None),
            ("app:hunter2@db/shop", None),
            ("hunter2@db/shop", None),
            ("color=red", None),
            ("host=db user", None),
        ] {
            assert_eq!(DatabaseUrl::from(url).database_kind(), kind, "{url}");
        }
    }

    #[test]
    fn only_the_scheme_is_normalised() {
        for (text, expected) in [
            (" MariaDB://App:Pw@DB/Shop\n", "mysql://App:Pw@DB/Shop"),
            ("PostgreSQL://App@DB", "postgresql://App@DB"),
            ("SQLite:App.db", "sqlite:App.db"),
            ("Redis://X", "redis://X"),
            ("C:\\App.db", "C:\\App.db"),
        ] {
            assert_eq!(DatabaseUrl::from(text).expose(), expected);
        }
        assert_eq!(DatabaseUrl::from("mariadb://db").scheme(), Some("mysql"));
        assert_eq!(
            DatabaseUrl::from("sqlite::memory:").scheme(),
            Some("sqlite")
        );
        assert_eq!(DatabaseUrl::from("host=db").scheme(), None);
        assert_eq!(DatabaseUrl::from("C:\\App.db").scheme(), None);
    }

    #[test]
    fn serde_reads_the_url_and_writes_it_without_the_password() {
        let json = r#""mysql://app:hunter2@db/shop""#;
        let url: DatabaseUrl = serde_json::from_str(json).unwrap();
        assert_eq!(url.expose(), "mysql://app:hunter2@db/shop");
        assert_eq!(
            serde_json::to_string(&url).unwrap(),
            r#""mysql://app:***@db/shop""#
        );
        assert_eq!(
            format!("{url:?}"),
            r#"DatabaseUrl("mysql://app:***@db/shop")"#
        );
    }
}
