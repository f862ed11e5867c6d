//! The names of `diesel_async::pooled_connection::bb8`, so that an app migrates by changing a `use`
//! line and the code that builds its pool.
//!
//! ```text
//! - use diesel_async::pooled_connection::bb8::{Pool, PooledConnection, RunError};
//! + use poolscope::bb8::{Pool, PooledConnection, RunError};
//! ```
//!
//! Signatures keep working. Matching on the variants of `RunError` does not: `RunError` is
//! [`PoolError`](crate::PoolError), which has more variants.

use crate::backend::Backend;

pub use super::handle::Pool;

/// [`PooledConnection`](crate::PooledConnection) with the lifetime parameter of bb8's type. The
/// connection is always owned, so the lifetime is unused.
pub type PooledConnection<'a, C> = <C as Borrowed<'a>>::Connection;

/// The error of a checkout, under bb8's name.
pub type RunError = crate::error::PoolError;

/// Carries the unused lifetime of [`PooledConnection`].
pub trait Borrowed<'a>: Backend {
    /// The connection, for any lifetime.
    type Connection;
}

impl<C: Backend> Borrowed<'_> for C {
    type Connection = super::handle::PooledConnection<C>;
}
