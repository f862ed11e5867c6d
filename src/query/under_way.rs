//! The queries under way on one connection, and which of them an event is about.
//!
//! diesel's events carry no ids, and of a query whose future was dropped there is no further one.
//! In a pipeline (several queries at once, which only Postgres' `&conn` allows) the server answers
//! in order, so that the one that finishes is the oldest, but for those that nobody waits for.

use super::running::Running;

/// More than this are no pipeline but queries given up one after the other.
const MOST: usize = 64;

/// In the order in which they were started.
#[derive(Debug)]
pub(super) struct UnderWay {
    running: Vec<Running>,
    /// Whether several may be under way at once.
    pipelines: bool,
}

/// A query that has finished.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) running: Running,
    /// Those started after it, and so sent after it.
    pub(super) behind: u64,
}

impl UnderWay {
    pub(super) fn new(pipelines: bool) -> Self {
        Self {
            running: Vec::new(),
            pipelines,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    /// Another one starts. Where only one can be under way, those before have been given up; each
    /// that is dropped here ends as cancelled.
    pub(super) fn push(&mut self, running: Running) {
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

    /// The only one, if there is just one.
    pub(super) fn only(&mut self) -> Option<&mut Running> {
        match &mut *self.running {
            [only] => Some(only),
            _ => None,
        }
    }

    /// The one that has finished: the last started with this text, for one given up is often tried
    /// again. The hash is asked for only when there are several.
    pub(super) fn finish(&mut self, hash: impl FnOnce() -> u64) -> Option<Finished> {
        let last = self.running.len().checked_sub(1)?;
        if last == 0 {
            let running = self.running.pop()?;
            return Some(Finished { running, behind: 0 });
        }
        let with = |wanted: Option<u64>| self.running.iter().rposition(|one| one.hash == wanted);
        // The first of several may not have been printed.
        let at = with(Some(hash())).or_else(|| with(None)).unwrap_or(last);
        let mut running = self.running.remove(at);
        let behind = self.running.len() - at;
        // What was sent and answered before this one began, and has not finished by now, nobody
        // waits for.
        let given_up = |other: &&Running| {
            other.sent_after > other.sent_before && other.sent_after <= running.answered_before
        };
        let given_up = self.running.iter().take(at).take_while(given_up).count();
        self.running.drain(..given_up);
        running.shared |= !self.running.is_empty();
        self.running
            .iter_mut()
            .for_each(|other| other.shared = true);
        Some(Finished {
            running,
            behind: behind as u64,
        })
    }

    /// Takes all out, in the order in which they were started.
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
            shared: false,
            ended: false,
        }
    }

    #[test]
    fn in_a_pipeline_each_is_found_and_none_is_alone() {
        let mut all = UnderWay::new(true);
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
    fn one_given_up_is_told_from_its_retry_and_forgotten() {
        let mut all = UnderWay::new(true);
        all.push(query(Some(A), 7, 7));
        // The server is still at it.
        all.push(query(Some(A), 8, 7));
        let retry = all.finish(|| A).unwrap();
        assert_eq!((retry.running.sent_before, retry.behind), (Some(8), 0));
        assert!(retry.running.shared, "it may as well be a pipeline");
        assert_eq!(all.len(), 1);
        all.push(query(Some(B), 10, 9));
        let next = all.finish(|| B).unwrap();
        assert_eq!((next.running.shared, all.len()), (false, 0));
    }

    #[test]
    fn the_list_is_bounded_and_without_pipelines_has_one() {
        let mut all = UnderWay::new(true);
        for n in 0..1000 {
            all.push(query(Some(A), n, 0));
        }
        assert_eq!(all.len(), MOST);
        let mut one = UnderWay::new(false);
        one.push(query(None, 0, 0));
        one.push(query(Some(B), 0, 0));
        assert_eq!(one.len(), 1);
    }
}
