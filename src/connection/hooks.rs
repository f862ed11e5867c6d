//! The app's functions that run when a connection is opened, handed out and returned.

use std::sync::Arc;

use diesel::QueryResult;
use futures_util::future::BoxFuture;

/// A function of the app that prepares or cleans a connection.
pub(crate) type Hook<C> =
    Arc<dyn for<'a> Fn(&'a mut C) -> BoxFuture<'a, QueryResult<()>> + Send + Sync>;

/// The app's functions; none by default.
pub(crate) struct Hooks<C> {
    /// Sets up each new connection.
    pub(crate) on_connect: Option<Hook<C>>,
    /// Prepares a connection for its next holder, in the task of the checkout.
    pub(crate) on_checkout: Option<Hook<C>>,
    /// Cleans a returned connection, in a background task.
    pub(crate) on_return: Option<Hook<C>>,
}

impl<C> Default for Hooks<C> {
    fn default() -> Self {
        Self {
            on_connect: None,
            on_checkout: None,
            on_return: None,
        }
    }
}
