//! The backend for SQLite: opens a file in WAL mode with a busy timeout.

use std::time::Duration;

use diesel::{ConnectionError, ConnectionResult, QueryResult, SqliteConnection};
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
use diesel_async::{AsyncConnection, SimpleAsyncConnection};
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep};

use super::dial::from_connection;
use super::{Activity, Backend, ConnectError, Credentials, Dial, DialOptions, Dialed};
use crate::settings::{DatabaseKind, DatabaseUrl};

/// A short name for diesel-async's connection to SQLite.
pub type AsyncSqliteConnection = SyncConnectionWrapper<SqliteConnection>;

const JOURNAL_MODES: [&str; 6] = ["delete", "truncate", "persist", "memory", "wal", "off"];

impl Backend for AsyncSqliteConnection {
    const KIND: DatabaseKind = DatabaseKind::Sqlite;

    fn dialer(url: &DatabaseUrl, options: DialOptions) -> Result<Box<dyn Dial<Self>>, String> {
        if options.credentials.is_some() {
            return Err("SQLite has no logins: remove `credentials`".to_owned());
        }
        Ok(Box::new(Target::parse(url.expose())?))
    }

    fn probe(&mut self) -> BoxFuture<'_, QueryResult<()>> {
        // Reads the file's header. `SELECT 1` would succeed even if the file was deleted.
        Box::pin(self.batch_execute("PRAGMA schema_version"))
    }

    fn activity(&mut self) -> BoxFuture<'_, QueryResult<Activity>> {
        Box::pin(async {
            Backend::probe(self).await?;
            Ok(Activity::default())
        })
    }
}

/// The location of the file, and how to open it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    /// The name that SQLite opens: a path, or a `file:` URI with SQLite's own parameters.
    file: String,
    /// The statements that run on each new connection.
    set_up: String,
    busy_timeout: Duration,
}

impl Target {
    /// Parses the URL. Removes the parameters `journal_mode` and `busy_timeout` (in milliseconds),
    /// which SQLite does not know.
    fn parse(url: &str) -> Result<Self, String> {
        let path = url
            .strip_prefix("sqlite://")
            .or_else(|| url.strip_prefix("sqlite:"))
            .unwrap_or(url);
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let (mut journal, mut busy, mut theirs) = (None, 5000_u32, Vec::new());
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("journal_mode", mode)) => {
                    let mode = mode.to_ascii_lowercase();
                    if !JOURNAL_MODES.contains(&mode.as_str()) {
                        return Err(format!(
                            "journal_mode=\"{mode}\": expected one of {}",
                            JOURNAL_MODES.join(", ")
                        ));
                    }
                    journal = Some(mode);
                }
                Some(("busy_timeout", ms)) => {
                    busy = ms.parse().map_err(|_| {
                        format!("busy_timeout=\"{ms}\": expected a whole number of milliseconds")
                    })?;
                }
                _ => theirs.push(parameter),
            }
        }
        // A read-only file keeps its journal mode; an in-memory database has none.
        let read_only = theirs
            .iter()
            .any(|p| matches!(*p, "mode=ro" | "immutable=1"));
        let in_memory =
            path.contains(":memory:") || path.is_empty() || theirs.contains(&"mode=memory");
        let journal = journal.or_else(|| (!read_only && !in_memory).then(|| "wal".to_owned()));

        let mut set_up = format!("PRAGMA busy_timeout = {busy};");
        if let Some(mode) = journal {
            set_up.push_str(&format!("PRAGMA journal_mode = {mode};"));
            if mode == "wal" {
                // Safe with WAL: a crash of the app loses nothing. A crash of the machine may lose
                // the last commits.
                set_up.push_str("PRAGMA synchronous = NORMAL;");
            }
        }
        let file = match path.starts_with("file:") {
            _ if theirs.is_empty() => path.to_owned(),
            true => format!("{path}?{}", theirs.join("&")),
            // A path with parameters becomes a URI, so characters that are URI syntax are escaped.
            false => {
                let escaped = percent_encoding::utf8_percent_encode(path, URI_PATH);
                format!("file:{escaped}?{}", theirs.join("&"))
            }
        };
        Ok(Self {
            file,
            set_up,
            busy_timeout: Duration::from_millis(busy.into()),
        })
    }
}

const URI_PATH: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS
    .add(b'%')
    .add(b'?')
    .add(b'#')
    .add(b' ');

impl Target {
    async fn open(&self) -> ConnectionResult<AsyncSqliteConnection> {
        let mut connection = AsyncSqliteConnection::establish(&self.file).await?;
        connection
            .batch_execute(&self.set_up)
            .await
            .map_err(ConnectionError::CouldntSetupConfiguration)?;
        Ok(connection)
    }
}

fn is_locked(error: &ConnectionError) -> bool {
    matches!(error, ConnectionError::CouldntSetupConfiguration(error) if error.to_string().contains("is locked"))
}

impl Dial<AsyncSqliteConnection> for Target {
    fn dial<'a>(
        &'a self,
        _: Option<&'a Credentials>,
    ) -> BoxFuture<'a, Result<Dialed<AsyncSqliteConnection>, ConnectError>> {
        Box::pin(async {
            let start = Instant::now();
            loop {
                match self.open().await {
                    Ok(connection) => {
                        return Ok(Dialed {
                            connection,
                            session: None,
                            asked_read_only: false,
                        });
                    }
                    // SQLite ignores the busy timeout while it switches a new file to WAL, so this
                    // loop retries for that time.
                    Err(error) if is_locked(&error) && start.elapsed() < self.busy_timeout => {
                        sleep(Duration::from_millis(5)).await;
                    }
                    Err(error) => {
                        let error = from_connection(&error);
                        // Only the path, because parameters may contain a key.
                        let path = self.file.split('?').next().unwrap_or_default();
                        let message = format!("{} ({path})", error.message());
                        return Err(ConnectError::new(error.kind(), message, None));
                    }
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> (String, String) {
        let target = Target::parse(url).unwrap();
        (target.file, target.set_up)
    }

    #[test]
    fn a_plain_file_is_opened_in_wal_mode() {
        let wal =
            "PRAGMA busy_timeout = 5000;PRAGMA journal_mode = wal;PRAGMA synchronous = NORMAL;";
        assert_eq!(
            parse("sqlite:///var/app.db"),
            ("/var/app.db".into(), wal.into())
        );
        assert_eq!(parse("sqlite:app.db"), ("app.db".into(), wal.into()));
        assert_eq!(parse("app.db"), ("app.db".into(), wal.into()));
    }

    #[test]
    fn url_parameters_override_the_defaults() {
        assert_eq!(
            parse("sqlite://a b.db?journal_mode=DELETE&busy_timeout=7&mode=rw"),
            (
                "file:a%20b.db?mode=rw".into(),
                "PRAGMA busy_timeout = 7;PRAGMA journal_mode = delete;".into()
            ),
        );
        assert_eq!(
            parse("file:a.db?mode=ro"),
            (
                "file:a.db?mode=ro".into(),
                "PRAGMA busy_timeout = 5000;".into()
            )
        );
        assert_eq!(parse(":memory:").1, "PRAGMA busy_timeout = 5000;");
    }

    #[test]
    fn bad_parameters_are_named() {
        assert!(
            Target::parse("a.db?journal_mode=fast")
                .unwrap_err()
                .contains("expected one of delete")
        );
        assert!(
            Target::parse("a.db?busy_timeout=5s")
                .unwrap_err()
                .contains("busy_timeout=\"5s\"")
        );
    }
}
