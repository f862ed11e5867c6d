//! Whether a connection can be handed out as it is, and the probe if not.

use std::sync::Arc;

use tokio::time::{Instant, timeout};

use super::Lease;
use crate::backend::Backend;
use crate::connection::own_pool::OwnShared;
use crate::connection::policy::{ConnectionPolicy, PolicySettings};
use crate::record::pool_events::CloseReason;

/// The action needed before a connection is handed out.
pub(super) enum Need {
    Nothing,
    /// Wait until the server has answered an outstanding command, such as closing a statement.
    Quiet,
    Ping,
    Replace(CloseReason),
}

/// The result of a probe. A connection that is not fit is closed.
pub(in crate::connection) enum Probed<C: Backend> {
    Fit(Lease<C>),
    Unfit,
    /// The server did not answer in time.
    Hung,
}

impl<C: Backend> Lease<C> {
    /// Returns the action needed before this connection is handed out.
    pub(super) fn need(&mut self, policy: &ConnectionPolicy) -> Need {
        let PolicySettings {
            pre_ping,
            pre_ping_bypass,
            ..
        } = policy.settings;
        let entry = self.entry();
        let now = Instant::now();
        let seen = entry.readings();
        if entry.is_gone(&seen) {
            Need::Replace(entry.gone(policy))
        } else if entry.is_too_old(now) {
            Need::Replace(CloseReason::Recycle)
        } else if entry.generation != policy.generation() {
            match entry.is_replaced(policy) || entry.became_read_only() {
                true => Need::Replace(CloseReason::Invalidated),
                false => Need::Ping,
            }
        } else if pre_ping
            && entry
                .last_used
                .checked_add(pre_ping_bypass)
                .is_some_and(|from| now >= from)
        {
            Need::Ping
        } else if seen.is_busy() {
            Need::Quiet
        } else {
            entry.last_used = now;
            Need::Nothing
        }
    }

    /// Probes a connection within the pre-ping timeout, and retires it if the probe fails or hangs.
    /// The probe is a ping or, if `ping` is false, the answer to an outstanding command, which arrives
    /// sooner and proves as much.
    pub(in crate::connection) async fn probed(
        mut lease: Self,
        own: Arc<OwnShared<C>>,
        ping: bool,
    ) -> Probed<C> {
        let policy = &own.policy;
        let generation = policy.generation();
        let entry = lease.entry();
        entry.untouched = false;
        entry.probing = true;
        let limit = policy.settings.pre_ping_timeout;
        // `None` means no answer in time.
        let answered = if ping {
            let ping = own.opener.dial().ping(entry.connection_mut());
            timeout(limit, ping).await.ok().map(|pong| pong.is_ok())
        } else {
            let answered = timeout(limit, entry.answered()).await.ok();
            answered.map(|_| !entry.is_gone(&entry.readings()))
        };
        entry.probing = false;
        let seen = entry.readings();
        // The answer to a ping shows whether a suspect can still write.
        if answered == Some(true)
            && (entry.is_invalidated(&seen, policy)
                || entry.generation != generation && entry.became_read_only())
        {
            lease.retire(CloseReason::Invalidated);
            return Probed::Unfit;
        }
        // The outstanding command may have left a transaction open.
        if answered == Some(true) && entry.may_be_reused(&seen) {
            entry.generation = generation;
            entry.last_used = Instant::now();
            return Probed::Fit(lease);
        }
        policy.suspect_all();
        match ping {
            true => lease.retire(CloseReason::PingFailed),
            false => lease.cancel(CloseReason::PingFailed, Box::new(())),
        }
        match answered {
            None => Probed::Hung,
            Some(_) => Probed::Unfit,
        }
    }
}
