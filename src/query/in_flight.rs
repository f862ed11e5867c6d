//! Tracks the queries in flight on a connection, and finds the query that an event belongs to.
//!
//! diesel's events carry no ids, and there is no event for a query whose future was dropped. In a
//! pipeline (several queries at once, which only Postgres' `&conn` allows) the server responds in
//! order, so the query that finishes is the oldest one, apart from abandoned queries.

use super::running::Running;

/// Maximum number of queries in flight. More than this are not a pipeline, but queries abandoned one
/// after the other.
const MOST: usize = 64;

/// The queries in flight on a connection, in the order of their start.
pub(super) struct InFlight {
    running: Vec<Running>,
    /// Whether several queries may be in flight at once.
    pipelines: bool,
    /// The number of queries that have finished.
    finished: u64,
}

/// A query that has finished.
pub(super) struct Finished {
    pub(super) running: Running,
    /// The number of queries in flight that were started, and so sent, after it.
    pub(super) behind: u64,
}

impl InFlight {
    pub(super) fn new(pipelines: bool) -> Self {
        Self {
            running: Vec::new(),
            pipelines,
            finished: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    /// Adds a query that starts. If only one can be in flight, the earlier ones were abandoned. Every
    /// query that is dropped here ends as cancelled.
    pub(super) fn push(&mut self, mut running: Running) {
        running.finished_before = self.finished;
        if !self.pipelines {
            self.running.clear();
        }
        if self.running.len() >= MOST {
            self.running.remove(0);
        }
        if let Some(before) = self.running.last_mut() {
            before.sent_after = before.sent_after.or(running.sent_before);
        }
        self.running.push(running);
    }

    /// Returns the query in flight if there is exactly one.
    pub(super) fn only(&mut self) -> Option<&mut Running> {
        match &mut *self.running {
            [only] => Some(only),
            _ => None,
        }
    }

    /// Removes the query that has finished: the one started last with this text, because an abandoned
    /// query is often retried. Calls `hash` only if there are several queries.
    pub(super) fn finish(&mut self, hash: impl FnOnce() -> u64) -> Option<Finished> {
        let last = self.running.len().checked_sub(1)?;
        if last == 0 {
            let running = self.running.pop()?;
            return Some(Finished { running, behind: 0 });
        }
        let with = |wanted: Option<u64>| self.running.iter().rposition(|one| one.hash == wanted);
        // The first of several queries may not have been printed.
        let at = with(Some(hash())).or_else(|| with(None)).unwrap_or(last);
        let mut running = self.running.remove(at);
        let behind = self.running.len() - at;
        // A query that was sent and answered before this one began, but has not finished by now, is probably
        // abandoned. It may also be a query of a pipeline whose task has not been polled since the answer came.
        // That task is polled before a query that starts from now on is answered.
        self.finished += 1;
        let mut abandoned = 0;
        for other in &mut self.running[..at] {
            let is_answered =
                other.sent_after > other.sent_before && other.sent_after <= running.answered_before;
            if !is_answered {
                break;
            }
            match other.overtaken {
                Some(finished) if finished <= running.finished_before => abandoned += 1,
                Some(_) => {}
                None => other.overtaken = Some(self.finished),
            }
        }
        // Those overtaken first are first in the list.
        self.running.drain(..abandoned);
        running.shared |= !self.running.is_empty();
        self.running
            .iter_mut()
            .for_each(|other| other.shared = true);
        Some(Finished {
            running,
            behind: behind as u64,
        })
    }

    /// Ends all queries as cancelled, because they were abandoned. Returns whether there were any.
    pub(super) fn abandon(&mut self) -> bool {
        let any = !self.running.is_empty();
        self.running.clear();
        any
    }

    /// Removes all queries, in the order of their start.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Running> {
        self.running.drain(..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    const A: u64 = 1;
    const B: u64 = 2;
    const C: u64 = 3;

    fn query(hash: Option<u64>, sent_before: u64, answered_before: u64) -> Running {
        Running {
            since: Instant::now(),
            observer: None,
            in_request: false,
            span: None,
            hash,
            statement: None,
            echo: None,
            sent_before: Some(sent_before),
            answered_before: Some(answered_before),
            sent_after: None,
            finished_before: 0,
            overtaken: None,
            shared: false,
            ended: false,
        }
    }

    #[test]
    fn pipelined_queries_are_found_and_marked_as_shared() {
        let mut all = InFlight::new(true);
        all.push(query(None, 7, 7));
        all.push(query(Some(B), 7, 7));
        all.push(query(Some(C), 7, 7));
        let first = all.finish(|| A).unwrap();
        assert_eq!((first.behind, first.running.shared), (2, true));
        let second = all.finish(|| B).unwrap();
        assert_eq!((second.behind, second.running.hash), (1, Some(B)));
        let last = all.finish(|| 0).unwrap();
        assert_eq!((last.behind, last.running.shared), (0, true));
        assert!(all.finish(|| 0).is_none());
    }

    #[test]
    fn an_abandoned_query_is_distinguished_from_its_retry_and_removed() {
        let mut all = InFlight::new(true);
        all.push(query(Some(A), 7, 7));
        // The server is still executing the first one.
        all.push(query(Some(A), 8, 7));
        let retry = all.finish(|| A).unwrap();
        assert_eq!((retry.running.sent_before, retry.behind), (Some(8), 0));
        assert!(retry.running.shared, "the two may be a pipeline");
        assert_eq!(all.len(), 1);
        all.push(query(Some(B), 10, 9));
        let next = all.finish(|| B).unwrap();
        assert!(
            next.running.shared,
            "the first one may not have been polled yet"
        );
        assert_eq!(all.len(), 1);
        all.push(query(Some(C), 11, 11));
        let last = all.finish(|| C).unwrap();
        assert_eq!((last.running.shared, all.len()), (false, 0));
    }

    #[test]
    fn a_query_that_is_answered_but_not_polled_yet_is_not_abandoned() {
        let mut all = InFlight::new(true);
        all.push(query(Some(A), 7, 7));
        // The first one was answered before the other two began, which are polled first.
        all.push(query(Some(B), 8, 8));
        all.push(query(Some(C), 9, 8));
        for hash in [B, C, A] {
            let finished = all.finish(|| hash).unwrap();
            assert_eq!(finished.running.hash, Some(hash));
        }
    }

    #[test]
    fn the_list_is_bounded_and_holds_one_query_without_pipelines() {
        let mut all = InFlight::new(true);
        for n in 0..1000 {
            all.push(query(Some(A), n, 0));
        }
        assert_eq!(all.len(), MOST);
        let mut one = InFlight::new(false);
        one.push(query(None, 0, 0));
        one.push(query(Some(B), 0, 0));
        assert_eq!(one.len(), 1);
    }
}
