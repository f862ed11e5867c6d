//! The databases: one [`Backend`] each says how to connect, to probe, and to read the server's view.

// What the databases have in common is not used whole by each of them alone.
#[cfg_attr(not(all(feature = "postgres", feature = "mysql")), allow(dead_code))]
mod activity;
#[cfg_attr(not(all(feature = "postgres", feature = "mysql")), allow(dead_code))]
mod connect_error;
#[cfg_attr(not(all(feature = "postgres", feature = "mysql")), allow(dead_code))]
mod dial;
mod lane;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use diesel::QueryResult;
use diesel_async::pooled_connection::PoolableConnection;
use futures_util::future::BoxFuture;

#[cfg(any(test, feature = "postgres", feature = "mysql"))]
pub(crate) use self::activity::Limits;
pub(crate) use self::activity::{Activity, ServerSession, SessionState};
#[cfg(feature = "otlp")]
pub(crate) use self::connect_error::io_message;
pub use self::connect_error::{ConnectError, ConnectErrorKind};
pub use self::dial::{Dial, DialOptions, Dialed, Outcome, Session};
pub(crate) use self::dial::{from_diesel, from_query};
pub(crate) use self::lane::{Lane, LaneError, LaneSession, OpenLane};
#[cfg(feature = "sqlite")]
pub use self::sqlite::AsyncSqliteConnection;
use crate::settings::{DatabaseKind, DatabaseUrl};

/// A diesel-async connection that poolscope can pool and watch: `AsyncPgConnection` (feature
/// `postgres`), `AsyncMysqlConnection` (feature `mysql`) and
/// `SyncConnectionWrapper<SqliteConnection>` (feature `sqlite`).
///
/// Sealed: what a backend must tell grows with each release.
pub trait Backend: PoolableConnection + sealed::Sealed + 'static {
    /// Which database this is.
    #[doc(hidden)]
    const KIND: DatabaseKind;

    /// How connections to this URL are opened. The error says what is wrong with the URL.
    #[doc(hidden)]
    fn dialer(url: &DatabaseUrl, options: DialOptions) -> Result<Box<dyn Dial<Self>>, String>;

    /// One round trip to the server.
    #[doc(hidden)]
    fn probe(&mut self) -> BoxFuture<'_, QueryResult<()>>;

    /// The server's view of its sessions and limits.
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
