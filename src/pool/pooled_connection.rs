//! [`PooledConnection`], the connection that a checkout returns.

use crate::admit::Admitted;
use crate::backend::Backend;
use crate::connection::Lease;
use crate::observe::Observed;

/// A connection from a [`Pool`](super::Pool). Derefs to the diesel connection and is returned when dropped.
pub type PooledConnection<C> = Observed<Admitted<Lease<C>>>;

impl<C: Backend> PooledConnection<C> {
    /// Takes the connection out of the pool for good, and ends its hold.
    ///
    /// The pool no longer counts, limits, observes or closes it, and opens another one when it needs
    /// one. Use it for a connection that would hold the pool's place for as long as the app runs, as
    /// with `LISTEN`. [`Pool::dedicated_connection`](super::Pool::dedicated_connection) opens such a connection without taking one.
    ///
    /// This is an associated function, so that it hides no method of the connection.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] mod doc {
    /// # use poolscope::{Pool, PooledConnection, Settings};
    /// # use poolscope::backend::AsyncSqliteConnection;
    /// # #[tokio::main] pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?; let url = format!("sqlite://{}/app.db", folder.path().display());
    /// # let pool = Pool::<AsyncSqliteConnection>::builder(Settings::new(url)).build()?;
    /// let conn = pool.get().await?;
    /// let mine: AsyncSqliteConnection = PooledConnection::take(conn);
    /// assert_eq!(pool.status().total_connections, 0);
    /// # drop(mine); Ok(()) }
    /// # } #[cfg(feature = "sqlite")] fn main() { doc::main().unwrap() } #[cfg(not(feature = "sqlite"))] fn main() {}
    /// ```
    #[must_use = "dropping the connection closes it"]
    pub fn take(mut this: Self) -> C {
        this.get_mut().get_mut().detach()
    }
}
