//! The names of `diesel_async::pooled_connection::bb8`, so that an app moves over by changing a
//! `use` line and the place where its pool is built.
//!
//! ```text
//! - use diesel_async::pooled_connection::bb8::{Pool, PooledConnection, RunError};
//! + use poolscope::bb8::{Pool, PooledConnection, RunError};
//! ```
//!
//! Signatures keep working. Matching on the variants of `RunError` does not: it is
//! [`PoolError`](crate::PoolError), which says more.

use crate::backend::Backend;

pub use super::handle::Pool;

/// [`PooledConnection`](crate::PooledConnection) with the lifetime that bb8's has. Ours is always
/// owned; the lifetime is accepted and unused.
pub type PooledConnection<'a, C> = <C as Borrowed<'a>>::Connection;

/// The error of a checkout: an alias for signatures.
pub type RunError = crate::error::PoolError;

/// Carries the unused lifetime of [`PooledConnection`].
pub trait Borrowed<'a>: Backend {
    /// The connection, whatever the lifetime.
    type Connection;
}

impl<C: Backend> Borrowed<'_> for C {
    type Connection = super::handle::PooledConnection<C>;
}
