//! A pool that is not ours: used as it is, and never told what to do.

use std::fmt;
use std::ops::{Deref, DerefMut};

use diesel_async::pooled_connection::{AsyncDieselConnectionManager, PoolError as DieselPoolError};
use futures_util::future::BoxFuture;

use super::service::Managed;
use crate::backend::{Backend, ConnectError, from_diesel};
use crate::checkout::{Checkout, Held};
use crate::error::PoolError;
use crate::inventory::Counts;

/// The guard of an existing pool. What it can't tell of its connection is unknown, never guessed.
pub struct ExistingLease<C: Backend>(
    bb8::PooledConnection<'static, AsyncDieselConnectionManager<C>>,
)
where
    AsyncDieselConnectionManager<C>: bb8::ManageConnection<Connection = C, Error = DieselPoolError>;

impl<C: Backend> Managed for AsyncDieselConnectionManager<C>
where
    Self: bb8::ManageConnection<Connection = C, Error = DieselPoolError>,
{
    type Diesel = C;
    type Lease = ExistingLease<C>;
    type Care = ();

    fn lease(
        pool: &bb8::Pool<Self>,
        (): &(),
        _: Checkout,
    ) -> BoxFuture<'static, Result<ExistingLease<C>, PoolError>> {
        let pool = pool.clone();
        Box::pin(async move {
            match pool.get_owned().await {
                Ok(connection) => Ok(ExistingLease(connection)),
                Err(bb8::RunError::User(error)) => {
                    Err(PoolError::ConnectFailed(from_diesel(error)))
                }
                Err(bb8::RunError::TimedOut) => {
                    Err(PoolError::timed_out(pool.config().connection_timeout))
                }
            }
        })
    }

    /// bb8 may be pinging: cut off, it would put the connection back with the ping still under way.
    fn abandon(lease: BoxFuture<'static, Result<ExistingLease<C>, PoolError>>) {
        tokio::spawn(async move { drop(lease.await) });
    }

    fn counts(pool: &bb8::Pool<Self>, (): &()) -> Counts {
        let state = pool.state();
        Counts::new(
            state.connections,
            state.idle_connections,
            pool.config().max_size,
            0,
        )
    }

    fn overflow(_: &bb8::Pool<Self>, (): &()) -> u32 {
        0
    }

    fn dedicated(pool: &bb8::Pool<Self>, (): &()) -> BoxFuture<'static, Result<C, ConnectError>> {
        let pool = pool.clone();
        Box::pin(async move { pool.dedicated_connection().await.map_err(from_diesel) })
    }
}

impl<C: Backend> Deref for ExistingLease<C>
where
    AsyncDieselConnectionManager<C>: bb8::ManageConnection<Connection = C, Error = DieselPoolError>,
{
    type Target = C;

    fn deref(&self) -> &C {
        &self.0
    }
}

impl<C: Backend> DerefMut for ExistingLease<C>
where
    AsyncDieselConnectionManager<C>: bb8::ManageConnection<Connection = C, Error = DieselPoolError>,
{
    fn deref_mut(&mut self) -> &mut C {
        &mut self.0
    }
}

impl<C: Backend> Held for ExistingLease<C> where
    AsyncDieselConnectionManager<C>: bb8::ManageConnection<Connection = C, Error = DieselPoolError>
{
}

impl<C: Backend> fmt::Debug for ExistingLease<C>
where
    AsyncDieselConnectionManager<C>: bb8::ManageConnection<Connection = C, Error = DieselPoolError>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExistingLease").finish_non_exhaustive()
    }
}
