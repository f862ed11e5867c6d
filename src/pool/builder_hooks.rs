//! The methods of [`PoolBuilder`] that take functions of the app.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;

use diesel::QueryResult;
use futures_util::future::BoxFuture;

use super::builder::PoolBuilder;
use crate::backend::{Backend, Credentials, CredentialsProvider};

/// The functions that the pool calls when it opens, hands out and takes back connections.
impl<C: Backend> PoolBuilder<C> {
    /// Sets a function that returns the credentials of each login, instead of those in the database
    /// URL: for passwords that are rotated, and for tokens that live for minutes.
    ///
    /// It is called before each connection is opened (for the pool, for the monitoring connection and,
    /// on MySQL and MariaDB, for canceling a query), so it should keep what is still valid and return
    /// it. Its time is part of the connect timeout. If the server rejects the credentials, it is called
    /// again, and newer ones are tried at once.
    ///
    /// Its error becomes a [`ConnectError`](crate::backend::ConnectError) of the kind `authentication`.
    /// The text of its error is not shown, because it may contain a secret, unless it is a
    /// `ConnectError`, too. SQLite and pools with a [`manager`](Self::manager) do not support it.
    ///
    /// ```no_run
    /// # #[cfg(feature = "postgres")] mod doc {
    /// use std::sync::Arc;
    /// use diesel_async::AsyncPgConnection;
    /// use poolscope::backend::Credentials;
    /// use poolscope::settings::{Secret, Settings, SettingsError};
    /// use poolscope::Pool;
    /// use tokio::sync::watch;
    ///
    /// # pub fn build() -> Result<(), SettingsError> {
    /// // Another task receives each new password.
    /// let (_renewed, password) = watch::channel(Secret::from("the-first"));
    /// let pool = Pool::<AsyncPgConnection>::builder(Settings::new("postgres://app@db/shop"))
    ///     .credentials(move || {
    ///         let password = password.clone();
    ///         async move {
    ///             let current = password.borrow().clone();
    ///             Ok::<_, std::io::Error>(Credentials::new(current))
    ///         }
    ///     })
    ///     .build()?;
    /// # drop(pool); Ok(()) }
    /// # } fn main() {}
    /// ```
    pub fn credentials<F, R, E>(mut self, provider: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<Credentials, E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        self.credentials = Some(CredentialsProvider::new(provider));
        self
    }

    /// Sets a callback that sets up each new connection: session variables, functions, `SET ROLE`. It
    /// runs again after a reset of the session.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] mod doc {
    /// use diesel_async::SimpleAsyncConnection;
    /// use poolscope::{Pool, Settings};
    /// use poolscope::backend::AsyncSqliteConnection;
    ///
    /// # #[tokio::main] pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?; let url = format!("sqlite://{}/app.db", folder.path().display());
    /// let pool = Pool::<AsyncSqliteConnection>::builder(Settings::new(url))
    ///     .on_connect(|conn| Box::pin(conn.batch_execute("PRAGMA foreign_keys = ON")))
    ///     .build()?;
    /// # drop(pool.get().await?);
    /// # Ok(()) }
    /// # } #[cfg(feature = "sqlite")] fn main() { doc::main().unwrap() } #[cfg(not(feature = "sqlite"))] fn main() {}
    /// ```
    pub fn on_connect<F>(mut self, set_up: F) -> Self
    where
        F: for<'a> Fn(&'a mut C) -> BoxFuture<'a, QueryResult<()>> + Send + Sync + 'static,
    {
        self.hooks.on_connect = Some(Arc::new(set_up));
        self
    }

    /// Sets a callback that prepares each connection for its next holder, in the task of the checkout:
    /// a tenant, a role.
    ///
    /// It has `pre_ping_timeout`. If it fails, the connection is closed and the checkout fails, unless
    /// the connection was lost: then the next one is tried. With it, [`Pool::try_get`](super::Pool::try_get) never succeeds,
    /// because it does not wait.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] mod doc {
    /// use diesel_async::SimpleAsyncConnection;
    /// use poolscope::{Pool, Settings};
    /// use poolscope::backend::AsyncSqliteConnection;
    ///
    /// # #[tokio::main] pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?; let url = format!("sqlite://{}/app.db", folder.path().display());
    /// let pool = Pool::<AsyncSqliteConnection>::builder(Settings::new(url))
    ///     .on_checkout(|conn| Box::pin(conn.batch_execute("PRAGMA query_only = ON")))
    ///     .on_return(|conn| Box::pin(conn.batch_execute("PRAGMA query_only = OFF")))
    ///     .reset_on_return(poolscope::settings::ResetOnReturn::Never)
    ///     .build()?;
    /// # drop(pool.get().await?);
    /// # Ok(()) }
    /// # } #[cfg(feature = "sqlite")] fn main() { doc::main().unwrap() } #[cfg(not(feature = "sqlite"))] fn main() {}
    /// ```
    pub fn on_checkout<F>(mut self, prepare: F) -> Self
    where
        F: for<'a> Fn(&'a mut C) -> BoxFuture<'a, QueryResult<()>> + Send + Sync + 'static,
    {
        self.hooks.on_checkout = Some(Arc::new(prepare));
        self
    }

    /// Sets a callback that cleans each returned connection before it is idle, in a background task.
    ///
    /// It runs before the reset of the session, and not for a connection that is closed anyway. Both
    /// together have `pre_ping_timeout`. If it fails, the connection is closed. Until it is done, the
    /// connection counts as in use. See [`on_checkout`](Self::on_checkout) for an example.
    pub fn on_return<F>(mut self, clean: F) -> Self
    where
        F: for<'a> Fn(&'a mut C) -> BoxFuture<'a, QueryResult<()>> + Send + Sync + 'static,
    {
        self.hooks.on_return = Some(Arc::new(clean));
        self
    }
}
