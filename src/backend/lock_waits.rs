//! Who waits for whose lock: from each waiting session to those that hold the lock.

use std::collections::{HashMap, HashSet};

use super::ServerSession;

/// The id in place of a prepared transaction's, which holds locks and has no session.
pub(crate) const PREPARED: u64 = 0;

/// The sessions asked about, each with those directly ahead of it: they hold the lock, or wait for it too.
#[derive(Debug, Default)]
pub(super) struct LockWaits(HashMap<u64, Vec<u64>>);

impl LockWaits {
    /// Adds the sessions directly ahead of this one; none if it does not wait.
    pub(super) fn add(&mut self, session: u64, ahead: impl IntoIterator<Item = u64>) {
        self.0.entry(session).or_default().extend(ahead);
    }

    /// Returns the sessions ahead of others that may wait themselves and were not asked about.
    pub(super) fn unasked(&self) -> HashSet<u64> {
        let ahead = self.0.values().flatten().copied();
        ahead
            .filter(|id| *id != PREPARED && !self.0.contains_key(id))
            .collect()
    }

    /// Sets [`blocked_by`](ServerSession::blocked_by) of the sessions asked about.
    pub(super) fn complete(&self, sessions: &mut [ServerSession]) {
        let mut holders = self.holders();
        for session in sessions {
            if let Some(holders) = holders.remove(&session.process_id) {
                session.blocked_by = Some(holders);
            }
        }
    }

    /// Returns the lock's holders by waiting session: where the waits end. In a deadlock nobody is at
    /// the end, so it returns those directly ahead. A session whose waits lead to a session that was
    /// not asked about, and nowhere else, is absent.
    fn holders(&self) -> HashMap<u64, Vec<u64>> {
        let mut behind: HashMap<u64, Vec<u64>> = HashMap::new();
        for (waiter, ahead) in &self.0 {
            for id in ahead {
                behind.entry(*id).or_default().push(*waiter);
            }
        }
        let mut holders: HashMap<u64, Vec<u64>> = HashMap::new();
        let waits = |id: &u64| self.0.get(id).is_some_and(|ahead| !ahead.is_empty());
        let unasked = self.unasked();
        for holder in behind
            .keys()
            .filter(|id| !waits(id) && !unasked.contains(id))
        {
            for waiter in all_behind([*holder], &behind) {
                holders.entry(waiter).or_default().push(*holder);
            }
        }
        let unknown = all_behind(unasked, &behind);
        for (session, ahead) in &self.0 {
            if !unknown.contains(session) {
                holders.entry(*session).or_insert_with(|| ahead.clone());
            }
        }
        for ids in holders.values_mut() {
            ids.sort_unstable();
            ids.dedup();
        }
        holders
    }
}

/// Returns the sessions that wait for these, also through others.
fn all_behind(
    these: impl IntoIterator<Item = u64>,
    behind: &HashMap<u64, Vec<u64>>,
) -> HashSet<u64> {
    let (mut found, mut left) = (HashSet::new(), Vec::from_iter(these));
    while let Some(id) = left.pop() {
        let waiters = behind.get(&id).into_iter().flatten();
        left.extend(waiters.filter(|waiter| found.insert(**waiter)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asserts who holds the locks that each session waits for, given the sessions directly ahead of each.
    #[track_caller]
    fn holders(waits: &[(u64, &[u64])], expected: &[(u64, &[u64])]) {
        let mut all = LockWaits::default();
        for (session, ahead) in waits {
            all.add(*session, ahead.iter().copied());
        }
        let mut found = Vec::from_iter(all.holders());
        found.sort_unstable();
        let expected: Vec<_> = expected.iter().map(|(id, to)| (*id, to.to_vec())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_holder_is_at_the_end_of_the_chain() {
        // As in a hot row: each waits for all ahead of it.
        holders(
            &[(1, &[]), (2, &[1]), (3, &[2]), (4, &[2, 3])],
            &[(1, &[]), (2, &[1]), (3, &[1]), (4, &[1])],
        );
    }

    #[test]
    fn a_lock_may_have_several_holders() {
        holders(
            &[(1, &[]), (2, &[]), (3, &[2, 1, 1]), (4, &[3])],
            &[(1, &[]), (2, &[]), (3, &[1, 2]), (4, &[1, 2])],
        );
        holders(
            &[(3, &[PREPARED]), (4, &[3])],
            &[(3, &[PREPARED]), (4, &[PREPARED])],
        );
    }

    #[test]
    fn in_a_deadlock_the_next_one_is_named() {
        holders(
            &[(1, &[2]), (2, &[1]), (3, &[2])],
            &[(1, &[2]), (2, &[1]), (3, &[2])],
        );
        // Unless one of them also waits for a session that is not part of it.
        holders(
            &[(1, &[2]), (2, &[1, 9]), (9, &[])],
            &[(1, &[9]), (2, &[9]), (9, &[])],
        );
    }

    #[test]
    fn the_holder_is_unknown_if_the_chain_leads_to_a_session_not_asked_about() {
        holders(&[(1, &[7]), (2, &[1]), (3, &[])], &[(3, &[])]);
        // A known end is one of the holders.
        holders(
            &[(1, &[7, 3]), (2, &[1]), (3, &[])],
            &[(1, &[3]), (2, &[3]), (3, &[])],
        );
    }
}
