//! The number of connections that the server can grant to this pool.

use crate::backend::Activity;

/// The server's connection limits from this pool's point of view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) max_connections: u32,
    /// The most connections this pool could have if all other sessions stay. The pool's own sessions
    /// are not deducted; the monitoring connection is.
    pub(crate) available: u32,
    /// Number of sessions that do not belong to this pool.
    pub(crate) others: u32,
    pub(crate) reserved: u32,
}

/// This pool's sessions.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Own<'a> {
    /// The server's session ids; `None` if unknown.
    pub(crate) process_ids: Option<&'a [u64]>,
    /// Number of open connections.
    pub(crate) open: u32,
}

impl Own<'_> {
    /// Returns how many of the ids the server knows.
    pub(super) fn known(&self, activity: &Activity) -> u32 {
        let ids = self.process_ids.unwrap_or_default();
        let sessions = activity.sessions.iter().flatten();
        count(sessions.filter(|session| ids.contains(&session.process_id)))
    }

    /// Returns the number of this pool's sessions. Without known ids, or with ids that a pooler hides
    /// from the server, the open connections count.
    pub(crate) fn count(&self, activity: &Activity) -> u32 {
        let in_use = activity.limits.map_or(u32::MAX, |limits| limits.in_use);
        match self.known(activity) {
            0 => self.open.min(in_use),
            known => known,
        }
    }
}

impl Grant {
    /// Returns the limits for the owner of `ours` sessions; `None` if the server has no limit.
    pub(crate) fn of(activity: &Activity, ours: u32) -> Option<Self> {
        let limits = activity.limits?;
        let others = limits.in_use.saturating_sub(ours);
        let mut available = limits
            .max_connections
            .saturating_sub(limits.reserved)
            .saturating_sub(others);
        if let Some(limit) = limits.user_limit {
            let sessions = activity.sessions.as_deref().unwrap_or_default();
            let same_user = count(sessions.iter().filter(|session| session.same_user));
            available = available.min(limit.saturating_sub(same_user.saturating_sub(ours)));
        }
        Some(Self {
            max_connections: limits.max_connections,
            available,
            others,
            reserved: limits.reserved,
        })
    }
}

pub(crate) fn count(sessions: impl Iterator) -> u32 {
    u32::try_from(sessions.count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Limits, ServerSession, SessionState};

    fn activity(sessions: u64, user_limit: Option<u32>) -> Activity {
        let session = |process_id| ServerSession {
            process_id,
            state: SessionState::Idle,
            state_seconds: None,
            query_seconds: None,
            transaction_seconds: None,
            wait_event: None,
            application_name: None,
            user: None,
            replica: None,
            same_user: true,
            same_database: true,
            query: None,
            blocked_by: None,
        };
        Activity {
            sessions: Some((1..=sessions).map(session).collect()),
            limits: Some(Limits {
                max_connections: 100,
                reserved: 3,
                in_use: sessions as u32,
                user_limit,
            }),
            ..Activity::default()
        }
    }

    #[test]
    fn own_sessions_are_not_deducted() {
        let grant = |process_ids: Option<&[u64]>, limit| {
            let (own, activity) = (
                Own {
                    process_ids,
                    open: 15,
                },
                activity(20, limit),
            );
            Grant::of(&activity, own.count(&activity)).unwrap()
        };
        assert_eq!(grant(Some(&[1, 2, 3, 99]), None).available, 100 - 3 - 17);
        assert_eq!(grant(None, None).available, 100 - 3 - 5);
        // Behind a pooler, the server knows none of the pool's ids.
        assert_eq!(grant(Some(&[998, 999]), None).available, 100 - 3 - 5);
        assert_eq!(grant(Some(&[1, 2]), Some(30)).available, 30 - 18);
    }

    #[test]
    fn a_server_without_limits_has_no_grant() {
        assert_eq!(Grant::of(&Activity::default(), 3), None);
    }
}
