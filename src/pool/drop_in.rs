//! The names of `diesel_async::pooled_connection::bb8`, so that an app migrates by changing a `use`
//! line and the code that builds its pool.
//!
//! ```text
//! - use diesel_async::pooled_connection::bb8::{Pool, PooledConnection, RunError};
//! + use poolscope::bb8::{Pool, PooledConnection, RunError};
//! ```
//!
//! | subject | diesel-async's bb8 | here |
//! |---|---|---|
//! | `Pool::builder()` | settings in its methods, then `build(manager).await` | [`Pool::builder(settings)`](Pool::builder), then `build()` |
//! | `max_size(5)` | five connections | [the same](crate::PoolBuilder::max_size) |
//! | `get`, `get_owned`, `dedicated_connection`, `state` | | the same |
//! | `RunError` | two variants | [`PoolError`](crate::PoolError): code that matches on variants changes |
//! | `PooledConnection<'a, C>` | borrows the pool | is owned, and converts to any lifetime |
//! | order of checkouts | newcomers may overtake | first come, first served |
//! | a dropped query | its connection is used again | the query is cancelled, and the connection closed |
//! | instrumentation of connections | the app's | the pool's, which forwards to diesel's default |
//!
//! The guide `docs/moving-over.md` has the rest: bb8's builder method by method, and what the log needs.

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
    type Connection = super::PooledConnection<C>;
}
