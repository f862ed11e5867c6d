//! The service's replicas, and each replica's share of the connections that the server can grant.

use std::collections::HashSet;

use serde::Serialize;

use super::grant::{Grant, Own, count};
use super::source::SettingNames;
use crate::backend::{Activity, ServerSession};

/// The server's other users, and this pool's share of its connections. The server's
/// `max_connections`, less the reserved slots and the sessions of other applications, are shared
/// equally by the replicas of this service.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fleet {
    /// Number of replicas of this service, including this one.
    pub replicas: u32,
    /// The source of `replicas`: `what_if` (as requested), `setting` (`DB_POOL_REPLICAS`), `sessions`
    /// (counted from the server's current sessions) or `assumed`.
    pub counted_from: &'static str,
    /// The source of `replicas` as text.
    pub counted: String,
    /// The server's `max_connections`.
    pub server_max_connections: u32,
    /// The slots of `server_max_connections` that are reserved for administrators.
    pub reserved: u32,
    /// Number of sessions of other applications.
    pub other_connections: u32,
    /// Number of sessions of other pools in this process: those that belong neither to this pool nor
    /// to its monitoring connection. Each replica is assumed to have the same number.
    pub other_pools: u32,
    /// The connection limit of this user or this database; `null` if there is none.
    pub user_limit: Option<u32>,
    /// The most connections that the server can grant to all replicas together.
    pub grantable: u32,
    /// The most connections that this pool can have: `grantable` divided by `replicas`, less one for
    /// the monitoring connection and less `other_pools`.
    pub share: u32,
}

/// The number of sessions, by owner.
struct Census {
    /// Sessions of this pool.
    own: u32,
    /// Other sessions of this process, except the monitoring connection.
    other_pools: u32,
    /// Sessions of other replicas.
    elsewhere: u32,
    /// Number of replicas that have a session; `None` if sessions do not identify replicas.
    replicas: Option<u32>,
}

impl Fleet {
    /// Computes the share of this pool. Returns `None` if the server has no limit. `what_if` takes
    /// precedence over `setting`, and `setting` over the counted sessions.
    pub(crate) fn read(
        activity: &Activity,
        own: Own<'_>,
        setting: Option<u32>,
        what_if: Option<u32>,
        names: &SettingNames,
    ) -> Option<Self> {
        let limits = activity.limits?;
        let has_replicas = setting.max(what_if) > Some(1);
        let census = Census::take(activity, own, has_replicas);
        let (counted_from, replicas, counted) = match (what_if, setting, census.replicas) {
            (Some(asked), _, _) => ("what_if", asked, format!("{asked} replicas, as requested")),
            (_, Some(set), _) => (
                "setting",
                set,
                format!("{set} replicas, as set by DB_POOL_REPLICAS"),
            ),
            (_, _, Some(seen)) => (
                "sessions",
                seen,
                format!("{} counted from the server's sessions", replicas_text(seen)),
            ),
            _ => (
                "assumed",
                1,
                format!(
                    "the server's sessions do not identify replicas (no application_name `service@instance`, or a pooler in between), so one is assumed: {}",
                    names.say_replicas,
                ),
            ),
        };
        let replicas = replicas.max(1);
        let monitor = u32::from(activity.monitor_process_id.is_some());
        let service = census.own + census.other_pools + census.elsewhere + monitor;
        let grant = Grant::of(activity, service)?;
        let share = (grant.available / replicas)
            .saturating_sub(1)
            .saturating_sub(census.other_pools);
        Some(Self {
            replicas,
            counted_from,
            counted,
            server_max_connections: limits.max_connections,
            reserved: limits.reserved,
            other_connections: grant.others,
            other_pools: census.other_pools,
            user_limit: limits.user_limit,
            grantable: grant.available,
            share,
        })
    }
}

impl Census {
    /// Counts the sessions. `has_replicas`: other replicas exist, even if sessions do not identify them.
    fn take(activity: &Activity, own: Own<'_>, has_replicas: bool) -> Self {
        let sessions = activity.sessions.as_deref().unwrap_or_default();
        let is_monitor =
            |session: &ServerSession| Some(session.process_id) == activity.monitor_process_id;
        let has_ids = own.process_ids.is_some_and(|ids| !ids.is_empty());
        // The server knows none of our ids: they are those of a pooler in between, and so are the names.
        let is_pooled = has_ids && own.known(activity) == 0;
        let pools = own.count(activity);
        let alike = || {
            sessions
                .iter()
                .filter(|s| s.same_user && s.same_database && !is_monitor(s))
        };
        let here = sessions
            .iter()
            .find(|session| is_monitor(session))
            .and_then(|monitor| monitor.replica.as_deref())
            .filter(|_| !is_pooled);
        let Some(here) = here else {
            let like_ours = count(alike()).saturating_sub(pools);
            return Self {
                own: pools,
                other_pools: 0,
                elsewhere: if has_replicas { like_ours } else { 0 },
                replicas: None,
            };
        };
        let of = || alike().filter_map(|session| session.replica.as_deref());
        let replicas: HashSet<_> = of().chain([here]).collect();
        let local = count(of().filter(|replica| *replica == here));
        Self {
            own: pools,
            other_pools: local.saturating_sub(pools),
            elsewhere: count(of()) - local,
            replicas: Some(count(replicas.iter())),
        }
    }
}

pub(crate) fn replicas_text(replicas: u32) -> String {
    match replicas {
        1 => "1 replica".to_owned(),
        replicas => format!("{replicas} replicas"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Limits, SessionState};

    const MONITOR: u64 = 1000;

    /// Returns a session of this service on a replica, as Postgres names it.
    fn session(process_id: u64, replica: Option<&str>) -> ServerSession {
        ServerSession {
            process_id,
            state: SessionState::Idle,
            state_seconds: None,
            query_seconds: None,
            transaction_seconds: None,
            wait_event: None,
            application_name: None,
            user: None,
            replica: replica.map(str::to_owned),
            same_user: true,
            same_database: true,
            query: None,
            blocked_by: None,
        }
    }

    fn other_client(process_id: u64) -> ServerSession {
        ServerSession {
            same_user: false,
            same_database: false,
            ..session(process_id, None)
        }
    }

    fn activity(sessions: Vec<ServerSession>) -> Activity {
        Activity {
            limits: Some(Limits {
                max_connections: 100,
                reserved: 3,
                in_use: sessions.len() as u32,
                user_limit: None,
            }),
            sessions: Some(sessions),
            monitor_process_id: Some(MONITOR),
            restricted: None,
        }
    }

    /// Returns five sessions of this pool, its monitoring connection, six sessions of another replica
    /// and ten of another application.
    fn two_replicas() -> Activity {
        let own = (1..=5).chain([MONITOR]).map(|id| session(id, Some("a")));
        let other = (11..=16).map(|id| session(id, Some("b")));
        activity(
            own.chain(other)
                .chain((21..=30).map(other_client))
                .collect(),
        )
    }

    const NAMES: &SettingNames = &SettingNames::VARIABLES;

    const OWN: Own<'static> = Own {
        process_ids: Some(&[1, 2, 3, 4, 5]),
        open: 5,
    };

    fn fleet(activity: &Activity, own: Own<'_>) -> Fleet {
        Fleet::read(activity, own, None, None, NAMES).unwrap()
    }

    #[test]
    fn replicas_share_what_others_leave() {
        let fleet = fleet(&two_replicas(), OWN);
        assert_eq!((fleet.replicas, fleet.counted_from), (2, "sessions"));
        assert_eq!((fleet.other_connections, fleet.other_pools), (10, 0));
        // 87 for two replicas, each with a monitoring connection.
        assert_eq!((fleet.grantable, fleet.share), (100 - 3 - 10, 42));
    }

    #[test]
    fn what_if_precedes_the_setting_and_the_setting_precedes_the_count() {
        let read = |set, asked| Fleet::read(&two_replicas(), OWN, set, asked, NAMES).unwrap();
        let set = read(Some(3), None);
        assert_eq!(
            (set.replicas, set.counted_from, set.share),
            (3, "setting", 28)
        );
        let asked = read(Some(3), Some(4));
        assert_eq!(
            (asked.replicas, asked.counted_from, asked.share),
            (4, "what_if", 20)
        );
        let none = read(None, Some(200));
        assert_eq!(none.share, 0, "fewer connections than replicas");
    }

    #[test]
    fn another_pool_of_this_process_reduces_each_share() {
        let mut activity = two_replicas();
        let sessions = activity.sessions.as_mut().unwrap();
        sessions.extend((41..=44).map(|id| session(id, Some("a"))));
        sessions.extend((51..=54).map(|id| session(id, Some("b"))));
        activity.limits.as_mut().unwrap().in_use += 8;
        let fleet = fleet(&activity, OWN);
        assert_eq!((fleet.other_connections, fleet.other_pools), (10, 4));
        assert_eq!(fleet.share, 42 - 1 + 1 - 4);
    }

    #[test]
    fn a_single_replica_gets_all_that_others_leave() {
        let mut activity = two_replicas();
        let sessions = activity.sessions.as_mut().unwrap();
        sessions.retain(|session| session.replica.as_deref() != Some("b"));
        activity.limits.as_mut().unwrap().in_use -= 6;
        let of = |own| fleet(&activity, own);
        assert_eq!((of(OWN).replicas, of(OWN).share), (1, 100 - 3 - 10 - 1));
        let granted = Grant::of(&activity, OWN.count(&activity)).unwrap();
        assert_eq!(of(OWN).share, granted.available);
        // With unknown ids, the number of open connections counts as the pool's own sessions.
        let unknown = Own {
            process_ids: None,
            ..OWN
        };
        assert_eq!(of(unknown).share, 100 - 3 - 10 - 1);
    }

    #[test]
    fn unnamed_sessions_are_one_replica_unless_set() {
        let nameless = |id| session(id, None);
        let sessions = (1..=5).chain([MONITOR]).chain(11..=16).map(nameless);
        let activity = activity(sessions.chain((21..=30).map(other_client)).collect());
        let one = fleet(&activity, OWN);
        assert_eq!((one.replicas, one.counted_from), (1, "assumed"));
        assert!(one.counted.contains("DB_POOL_REPLICAS"), "{}", one.counted);
        assert_eq!((one.other_connections, one.share), (16, 100 - 3 - 16 - 1));
        // Sessions of the same user and database then belong to the other replicas.
        let two = Fleet::read(&activity, OWN, Some(2), None, NAMES).unwrap();
        assert_eq!((two.other_connections, two.share), (10, 42));
    }

    #[test]
    fn names_are_ignored_behind_a_pooler() {
        let unknown = Own {
            process_ids: Some(&[901, 902]),
            open: 2,
        };
        let fleet = fleet(&two_replicas(), unknown);
        assert_eq!((fleet.replicas, fleet.counted_from), (1, "assumed"));
        // 22 sessions: two and the monitoring connection count as the pool's own.
        assert_eq!(
            (fleet.other_connections, fleet.share),
            (19, 100 - 3 - 19 - 1)
        );
    }

    #[test]
    fn the_limit_of_a_user_is_shared_by_its_replicas() {
        let mut activity = two_replicas();
        activity.limits.as_mut().unwrap().user_limit = Some(30);
        assert_eq!(fleet(&activity, OWN).share, 30 / 2 - 1);
        // Another application with the same user.
        let mut same_user = other_client(61);
        same_user.same_user = true;
        activity.sessions.as_mut().unwrap().push(same_user);
        activity.limits.as_mut().unwrap().in_use += 1;
        assert_eq!(fleet(&activity, OWN).grantable, 29);
    }

    #[test]
    fn a_server_without_limits_has_no_fleet() {
        assert_eq!(
            Fleet::read(&Activity::default(), OWN, Some(3), Some(4), NAMES),
            None
        );
        let mut full = two_replicas();
        full.limits.as_mut().unwrap().max_connections = 5;
        assert_eq!(fleet(&full, OWN).share, 0);
    }
}
