//! What happens between two holders: the app's `on_return`, the reset of the session, and the app's
//! `on_checkout`.
//!
//! A returned connection is cleaned at once and not at its next checkout, because a lock or a temporary
//! table would stay for as long as the connection is idle. It is cleaned in a task, because dropping a
//! guard cannot wait. The task keeps the connection out of bb8 and holds the permit, so that no other
//! connection is opened meanwhile.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use diesel::result::Error;
use futures_util::FutureExt;
use tokio::time::timeout;

use super::entry::Entry;
use super::lease::Lease;
use super::own_pool::OwnShared;
use crate::backend::{Backend, ConnectError, ConnectErrorKind, from_query, is_connection_failure};
use crate::error::{PoolError, Rejection};
use crate::query::error_type;
use crate::record::pool_events::CloseReason;
use crate::settings::ResetOnReturn;

/// Why a connection is closed instead of cleaned: a sentence, and the kind of the error.
struct Unclean {
    why: &'static str,
    error_type: &'static str,
}

impl Unclean {
    fn failed(why: &'static str, error: &Error) -> Self {
        let error_type = error_type(error);
        Self { why, error_type }
    }

    fn impossible(why: &'static str) -> Self {
        Self {
            why,
            error_type: "",
        }
    }
}

/// Why a connection cannot be handed out.
pub(super) enum Unprepared {
    /// The connection was closed; another may do.
    Lost,
    /// The checkout fails.
    Failed(PoolError),
}

impl<C: Backend> Entry<C> {
    /// Returns whether the connection must be cleaned before it is idle. One that will be closed is not
    /// cleaned.
    pub(super) fn needs_cleaning(&mut self) -> bool {
        (self.needs_reset() || self.own.opener.hooks().on_return.is_some()) && self.is_sound()
    }

    fn needs_reset(&self) -> bool {
        match self.own.policy.settings.reset_on_return {
            ResetOnReturn::Never => false,
            ResetOnReturn::WhenDirty => self.state.queries.is_session_changed(),
            ResetOnReturn::Always => true,
        }
    }

    /// Runs the app's `on_return`, and resets the session if it was changed.
    async fn clean(&mut self, own: &OwnShared<C>) -> Result<(), Unclean> {
        let opener = &own.opener;
        if self.readings().is_busy() {
            self.answered().await;
        }
        if let Some(on_return) = &opener.hooks().on_return {
            on_return(self.connection_mut())
                .await
                .map_err(|error| Unclean::failed("on_return failed", &error))?;
        }
        if !self.needs_reset() {
            return Ok(());
        }
        if self.state.queries.is_session_changed_for_good() {
            let why = "its session was changed in a way that no reset undoes";
            return Err(Unclean::impossible(why));
        }
        let Some(reset) = opener.dial().reset(self.connection_mut()) else {
            let why = "its session was changed, and it has no reset: make changes in on_connect";
            return Err(Unclean::impossible(why));
        };
        reset
            .await
            .map_err(|error| Unclean::failed("the reset of its session failed", &error))?;
        if let Some(on_connect) = &opener.hooks().on_connect {
            on_connect(self.connection_mut())
                .await
                .map_err(|error| Unclean::failed("on_connect failed after a reset", &error))?;
        }
        self.state.queries.session_is_reset();
        Ok(())
    }
}

impl<C: Backend> Lease<C> {
    /// Cleans a returned connection, puts it back or closes it, and drops the permit.
    pub(super) async fn cleaned(mut self, own: Arc<OwnShared<C>>, permit: Box<dyn Send>) {
        let limit = own.policy.settings.pre_ping_timeout;
        let entry = self.entry();
        let cleaning = AssertUnwindSafe(entry.clean(&own)).catch_unwind();
        let result = match timeout(limit, cleaning).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Unclean::impossible("on_return or on_connect panicked")),
            Err(_) => Err(Unclean::impossible(
                "on_return and the reset of its session took too long",
            )),
        };
        entry.probing = false;
        match result {
            Ok(()) => drop(self),
            // Broken: the connection fails for another reason.
            Err(_) if entry.is_gone(&entry.readings()) => drop(self),
            Err(Unclean { why, error_type }) => {
                own.policy
                    .notify(|observer| observer.closed_because(why, error_type));
                return self.cancel(CloseReason::Dirty, permit);
            }
        }
        drop(permit);
    }

    /// Runs the app's `on_checkout`. If the checkout is cancelled meanwhile, the connection is returned as
    /// if its holder had been.
    pub(super) async fn prepared(
        mut self,
        own: &Arc<OwnShared<C>>,
        waits: bool,
    ) -> Result<Self, Unprepared> {
        if let Some(on_checkout) = &own.opener.hooks().on_checkout {
            if !waits {
                return Err(Unprepared::Failed(PoolError::Rejected(
                    Rejection::WouldWait,
                )));
            }
            let entry = self.entry();
            entry.lent = true;
            let limit = own.policy.settings.pre_ping_timeout;
            let result = timeout(limit, on_checkout(entry.connection_mut())).await;
            let (why, error, lost) = match result {
                Ok(Ok(())) => return Ok(self),
                Ok(Err(error)) => {
                    let lost = entry.is_gone(&entry.readings()) || is_connection_failure(&error);
                    (error_type(&error), from_query(&error), lost)
                }
                Err(_) => {
                    let text = format!("on_checkout took longer than {limit:?}");
                    let error = ConnectError::new(ConnectErrorKind::TimedOut, text, None);
                    ("timed_out", error, false)
                }
            };
            if lost {
                own.policy.suspect(entry.generation);
            }
            own.policy
                .notify(|observer| observer.closed_because("on_checkout failed", why));
            self.cancel(CloseReason::Dirty, Box::new(()));
            return Err(match lost {
                true => Unprepared::Lost,
                false => Unprepared::Failed(PoolError::ConnectFailed(own.opener.redacted(error))),
            });
        }
        self.entry().lent = true;
        Ok(self)
    }
}
