//! The service's replicas, and how much of what the server can grant is each one's.

use std::collections::HashSet;

use serde::Serialize;

use super::grant::{Grant, count};
use crate::backend::{Activity, ServerSession};

/// Who else uses the server, and what is left for this pool. The server has so many connections;
/// less those that it keeps for administrators and those of other applications, they are shared
/// among the replicas of this service.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fleet {
    /// Replicas of this service, this one included.
    pub replicas: u32,
    /// How they were counted: `what_if` (as asked), `setting` (`DB_POOL_REPLICAS`), `sessions` (those
    /// on the server at this instant) or `assumed`.
    pub counted_from: &'static str,
    /// The same in a sentence.
    pub counted: String,
    /// The server's `max_connections`.
    pub server_max_connections: u32,
    /// Of these, kept for administrators.
    pub reserved: u32,
    /// Sessions of other applications.
    pub other_connections: u32,
    /// Sessions that this process has beside this pool's and its monitoring lane: other pools. Each
    /// replica is taken to have as many.
    pub other_pools: u32,
    /// A limit on this user or this database, where there is one.
    pub user_limit: Option<u32>,
    /// What the server can grant to all replicas together.
    pub grantable: u32,
    /// Each one's part, less one for its monitoring lane and those of its other pools: the most that
    /// this pool can have.
    pub share: u32,
}

/// What is known of this pool's sessions.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Own<'a> {
    /// The server's ids; `None` where they are unknown.
    pub(crate) process_ids: Option<&'a [u64]>,
    /// How many connections are open.
    pub(crate) open: u32,
}

/// Whom the sessions are of.
struct Census {
    /// Of this pool.
    own: u32,
    /// Of this process, beside the pool's and its lane.
    other_pools: u32,
    /// Of other replicas.
    elsewhere: u32,
    /// Replicas that have a session; `None` where sessions do not tell.
    replicas: Option<u32>,
}

impl Fleet {
    /// `None` where the server has no limit.
    pub(crate) fn read(
        activity: &Activity,
        own: Own<'_>,
        setting: Option<u32>,
        what_if: Option<u32>,
    ) -> Option<Self> {
        let limits = activity.limits?;
        let has_replicas = setting.max(what_if) > Some(1);
        let census = Census::take(activity, own, has_replicas);
        let (counted_from, replicas, counted) = match (what_if, setting, census.replicas) {
            (Some(asked), _, _) => ("what_if", asked, format!("{asked} replicas, as asked")),
            (_, Some(set), _) => ("setting", set, format!("{set} replicas, as DB_POOL_REPLICAS says")),
            (_, _, Some(seen)) => (
                "sessions",
                seen,
                format!("the server's sessions are of {}", replicas_text(seen)),
            ),
            _ => (
                "assumed",
                1,
                "the server's sessions do not tell replicas apart (no application_name `service@instance`, or a pooler in between), so one is assumed: set DB_POOL_REPLICAS".to_owned(),
            ),
        };
        let replicas = replicas.max(1);
        let lane = u32::from(activity.lane_process_id.is_some());
        let service = census.own + census.other_pools + census.elsewhere + lane;
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
    /// `has_replicas`: there are some, whether sessions tell them apart or not.
    fn take(activity: &Activity, own: Own<'_>, has_replicas: bool) -> Self {
        let sessions = activity.sessions.as_deref().unwrap_or_default();
        let is_lane =
            |session: &ServerSession| Some(session.process_id) == activity.lane_process_id;
        let is_own = |session: &ServerSession| {
            let ids = own.process_ids.unwrap_or_default();
            ids.contains(&session.process_id) && !is_lane(session)
        };
        let found = count(sessions.iter().filter(|session| is_own(session)));
        // Ids that the server does not know are a pooler's between us and it, and so are names.
        let is_pooled = found == 0 && own.process_ids.is_some_and(|ids| !ids.is_empty());
        let in_use = activity.limits.map_or(u32::MAX, |limits| limits.in_use);
        let pools = match found {
            0 => own.open.min(in_use),
            found => found,
        };
        let alike = || {
            sessions
                .iter()
                .filter(|s| s.same_user && s.same_database && !is_lane(s))
        };
        let here = sessions
            .iter()
            .find(|session| is_lane(session))
            .and_then(|lane| lane.replica.as_deref())
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
        let replicas: HashSet<_> = alike()
            .filter_map(|s| s.replica.as_deref())
            .chain([here])
            .collect();
        let (mut local, mut elsewhere) = (0_u32, 0);
        for replica in alike().filter_map(|session| session.replica.as_deref()) {
            match replica == here {
                true => local += 1,
                false => elsewhere += 1,
            }
        }
        Self {
            own: pools,
            other_pools: local.saturating_sub(pools),
            elsewhere,
            replicas: Some(u32::try_from(replicas.len()).unwrap_or(u32::MAX)),
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

    const LANE: u64 = 1000;

    /// A session of ours by its replica, as Postgres names them.
    fn session(process_id: u64, replica: Option<&str>) -> ServerSession {
        ServerSession {
            process_id,
            state: SessionState::Idle,
            state_seconds: None,
            query_seconds: None,
            transaction_seconds: None,
            wait_event: None,
            application_name: None,
            replica: replica.map(str::to_owned),
            same_user: true,
            same_database: true,
            query: None,
        }
    }

    fn stranger(process_id: u64) -> ServerSession {
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
            lane_process_id: Some(LANE),
            restricted: None,
        }
    }

    /// Five of this pool, its lane, six of another replica, and ten of another application.
    fn two_replicas() -> Activity {
        let own = (1..=5).chain([LANE]).map(|id| session(id, Some("a")));
        let other = (11..=16).map(|id| session(id, Some("b")));
        activity(own.chain(other).chain((21..=30).map(stranger)).collect())
    }

    const OWN: Own<'static> = Own {
        process_ids: Some(&[1, 2, 3, 4, 5]),
        open: 5,
    };

    fn fleet(activity: &Activity, own: Own<'_>) -> Fleet {
        Fleet::read(activity, own, None, None).unwrap()
    }

    #[test]
    fn replicas_share_what_others_leave() {
        let fleet = fleet(&two_replicas(), OWN);
        assert_eq!((fleet.replicas, fleet.counted_from), (2, "sessions"));
        assert_eq!((fleet.other_connections, fleet.other_pools), (10, 0));
        // 87 for two, each with a lane.
        assert_eq!((fleet.grantable, fleet.share), (100 - 3 - 10, 42));
    }

    #[test]
    fn what_was_asked_comes_before_what_was_set_and_that_before_what_was_counted() {
        let read = |set, asked| Fleet::read(&two_replicas(), OWN, set, asked).unwrap();
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
        assert_eq!(none.share, 0, "not one each");
    }

    #[test]
    fn another_pool_of_this_process_takes_its_part_in_each_replica() {
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
    fn alone_it_has_what_everybody_else_leaves() {
        let mut activity = two_replicas();
        let sessions = activity.sessions.as_mut().unwrap();
        sessions.retain(|session| session.replica.as_deref() != Some("b"));
        activity.limits.as_mut().unwrap().in_use -= 6;
        let of = |own| fleet(&activity, own);
        assert_eq!((of(OWN).replicas, of(OWN).share), (1, 100 - 3 - 10 - 1));
        let granted = super::super::grant::grant(&activity, OWN.process_ids, OWN.open).unwrap();
        assert_eq!(of(OWN).share, granted.available);
        // Where the ids are unknown, as many are its own as are open.
        let unknown = Own {
            process_ids: None,
            ..OWN
        };
        assert_eq!(of(unknown).share, 100 - 3 - 10 - 1);
    }

    #[test]
    fn sessions_that_tell_nothing_are_one_replica_unless_it_is_said() {
        let nameless = |id| session(id, None);
        let sessions = (1..=5).chain([LANE]).chain(11..=16).map(nameless);
        let activity = activity(sessions.chain((21..=30).map(stranger)).collect());
        let one = fleet(&activity, OWN);
        assert_eq!((one.replicas, one.counted_from), (1, "assumed"));
        assert!(one.counted.contains("DB_POOL_REPLICAS"), "{}", one.counted);
        assert_eq!((one.other_connections, one.share), (16, 100 - 3 - 16 - 1));
        // Those that look like ours are then the other replicas'.
        let two = Fleet::read(&activity, OWN, Some(2), None).unwrap();
        assert_eq!((two.other_connections, two.share), (10, 42));
    }

    #[test]
    fn behind_a_pooler_names_do_not_count() {
        let unknown = Own {
            process_ids: Some(&[901, 902]),
            open: 2,
        };
        let fleet = fleet(&two_replicas(), unknown);
        assert_eq!((fleet.replicas, fleet.counted_from), (1, "assumed"));
        // 22 sessions, of which two and the lane are taken for its own.
        assert_eq!(
            (fleet.other_connections, fleet.share),
            (19, 100 - 3 - 19 - 1)
        );
    }

    #[test]
    fn a_limit_of_the_user_is_one_of_all_its_replicas() {
        let mut activity = two_replicas();
        activity.limits.as_mut().unwrap().user_limit = Some(30);
        assert_eq!(fleet(&activity, OWN).share, 30 / 2 - 1);
        // Another application with the same user.
        let mut same_user = stranger(61);
        same_user.same_user = true;
        activity.sessions.as_mut().unwrap().push(same_user);
        activity.limits.as_mut().unwrap().in_use += 1;
        assert_eq!(fleet(&activity, OWN).grantable, 29);
    }

    #[test]
    fn no_limits_no_fleet() {
        assert_eq!(
            Fleet::read(&Activity::default(), OWN, Some(3), Some(4)),
            None
        );
        let mut full = two_replicas();
        full.limits.as_mut().unwrap().max_connections = 5;
        assert_eq!(fleet(&full, OWN).share, 0);
    }
}
