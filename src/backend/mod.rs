//! The database backends. Each [`Backend`] connects, probes a connection, and reads the server's
//! sessions and limits.

// A build with a single backend does not use everything that the backends share.
#[cfg_attr(not(all(feature = "postgres", feature = "mysql")), allow(dead_code))]
mod activity;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod addresses;
#[cfg_attr(not(all(feature = "postgres", feature = "mysql")), allow(dead_code))]
mod connect_error;
mod connection_failure;
mod credentials;
#[cfg_attr(not(all(feature = "postgres", feature = "mysql")), allow(dead_code))]
mod dial;
#[cfg_attr(not(feature = "postgres"), allow(dead_code))]
mod invalidation;
#[cfg_attr(not(any(feature = "postgres", feature = "mysql")), allow(dead_code))]
mod lock_waits;
mod monitor_connection;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
mod read_only;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(all(test, any(feature = "postgres", feature = "mysql")))]
#[path = "../../tests/support/mod.rs"]
#[allow(
    missing_debug_implementations,
    unreachable_pub,
    reason = "shared with the integration tests"
)]
mod support;

use diesel::QueryResult;
use diesel_async::pooled_connection::PoolableConnection;
use futures_util::future::BoxFuture;

#[cfg(any(test, feature = "postgres", feature = "mysql"))]
pub(crate) use self::activity::Limits;
pub(crate) use self::activity::{Activity, ServerSession, SessionState};
#[cfg(feature = "otlp")]
pub(crate) use self::connect_error::io_message;
pub use self::connect_error::{ConnectError, ConnectErrorKind};
pub use self::connection_failure::is_connection_failure;
pub use self::credentials::{Credentials, CredentialsProvider};
pub use self::dial::{Dial, DialOptions, Dialed, Outcome, Readings, Session};
pub(crate) use self::dial::{from_diesel, from_query};
pub(crate) use self::invalidation::Affects;
#[cfg(feature = "postgres")]
pub(crate) use self::invalidation::KNOWN_TEXT;
pub use self::invalidation::{Errors, InvalidatingError};
pub(crate) use self::lock_waits::PREPARED;
#[cfg(test)]
pub(crate) use self::monitor_connection::Known;
pub(crate) use self::monitor_connection::{
    MonitorConnection, MonitorError, MonitorSession, OpenMonitorConnection,
};
#[cfg(feature = "postgres")]
pub(crate) use self::read_only::asks_read_only;
pub(crate) use self::read_only::statement_asks_read_only;
#[cfg(feature = "sqlite")]
pub use self::sqlite::AsyncSqliteConnection;
use crate::settings::{DatabaseKind, DatabaseUrl};

/// A diesel-async connection that poolscope can pool and observe.
///
/// It is implemented for `AsyncPgConnection` (feature `postgres`), `AsyncMysqlConnection` (feature
/// `mysql`) and `SyncConnectionWrapper<SqliteConnection>` (feature `sqlite`).
///
/// This trait is sealed, because its required methods change from release to release.
pub trait Backend: PoolableConnection + sealed::Sealed + 'static {
    /// The kind of database.
    #[doc(hidden)]
    const KIND: DatabaseKind;

    /// Returns the connector for a URL.
    ///
    /// # Errors
    ///
    /// Returns a message that says what is wrong with the URL.
    #[doc(hidden)]
    fn dialer(url: &DatabaseUrl, options: DialOptions) -> Result<Box<dyn Dial<Self>>, String>;

    /// Makes one round trip to the server.
    #[doc(hidden)]
    fn probe(&mut self) -> BoxFuture<'_, QueryResult<()>>;

    /// Reads the sessions and the limits of the server.
    #[doc(hidden)]
    fn activity(&mut self) -> BoxFuture<'_, QueryResult<Activity>>;
}

mod sealed {
    pub trait Sealed {}
    #[cfg(feature = "mysql")]
    impl Sealed for diesel_async::AsyncMysqlConnection {}
    #[cfg(feature = "postgres")]
    impl Sealed for diesel_async::AsyncPgConnection {}
    #[cfg(feature = "sqlite")]
    impl Sealed for super::AsyncSqliteConnection {}
}
