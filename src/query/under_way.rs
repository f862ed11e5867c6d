//! The queries under way on one connection, and which of them an event is about.
//!
//! diesel's events carry no ids, and of a query whose future was dropped there is no further one.
//! In a pipeline (several queries at once, which only Postgres' `&conn` allows) the server answers
//! in order, so that the one that finishes is the oldest, but for those that nobody waits for.

use std::collections::VecDeque;

use super::running::Running;

/// More than this are no pipeline but queries given up one after the other.
const MOST: usize = 64;

/// In the order in which they were started.
#[derive(Debug)]
pub(super) struct UnderWay {
    running: VecDeque<Running>,
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
            running: VecDeque::new(),
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
            self.running.pop_front();
        }
        if let Some(before) = self.running.back_mut() {
            before.sent_after = before.sent_after.or(running.sent_before);
        }
        self.running.push_back(running);
    }

    /// The only one, if there is just one.
    pub(super) fn only(&mut self) -> Option<&mut Running> {
        match self.running.len() {
            1 => self.running.front_mut(),
            _ => None,
        }
    }

    /// The one that has finished: the last started with this text, for one given up is often tried
    /// again; `text` is looked at only when there are several.
    pub(super) fn finish(&mut self, text: &str) -> Option<Finished> {
        let last = self.running.len().checked_sub(1)?;
        let with = |wanted: Option<&str>| {
            let mut running = self.running.iter();
            running.rposition(|one| one.text.as_deref() == wanted)
        };
        let at = match last {
            0 => 0,
            // The first of several may not have been printed.
            _ => with(Some(text)).or_else(|| with(None)).unwrap_or(last),
        };
        let mut running = self.running.remove(at)?;
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
    use crate::query::QueryOptions;
    use crate::settings::{DatabaseKind, Settings};
    use std::sync::Arc;
    use tokio::time::Instant;

    fn query(text: Option<&str>, sent_before: u64, answered_before: u64) -> Running {
        let settings = Settings::new("postgres://localhost/app");
        Running {
            since: Instant::now(),
            options: Arc::new(QueryOptions::new(DatabaseKind::Postgres, &settings, vec![])),
            observer: None,
            span: None,
            text: text.map(str::to_owned),
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
        all.push(query(Some("b"), 7, 7));
        all.push(query(Some("c"), 7, 7));
        let first = all.finish("a").unwrap();
        assert_eq!((first.behind, first.running.shared), (2, true));
        let second = all.finish("b").unwrap();
        assert_eq!(
            (second.behind, second.running.text.as_deref()),
            (1, Some("b"))
        );
        let last = all.finish("").unwrap();
        assert_eq!((last.behind, last.running.shared), (0, true));
        assert!(all.finish("").is_none());
    }

    #[test]
    fn one_given_up_is_told_from_its_retry_and_forgotten() {
        let mut all = UnderWay::new(true);
        all.push(query(Some("a"), 7, 7));
        // The server is still at it.
        all.push(query(Some("a"), 8, 7));
        let retry = all.finish("a").unwrap();
        assert_eq!((retry.running.sent_before, retry.behind), (Some(8), 0));
        assert!(retry.running.shared, "it may as well be a pipeline");
        assert_eq!(all.len(), 1);
        all.push(query(Some("b"), 10, 9));
        let next = all.finish("b").unwrap();
        assert_eq!((next.running.shared, all.len()), (false, 0));
    }

    #[test]
    fn the_list_is_bounded_and_without_pipelines_has_one() {
        let mut all = UnderWay::new(true);
        for n in 0..1000 {
            all.push(query(Some("a"), n, 0));
        }
        assert_eq!(all.len(), MOST);
        let mut one = UnderWay::new(false);
        one.push(query(None, 0, 0));
        one.push(query(Some("b"), 0, 0));
        assert_eq!(one.len(), 1);
    }
}
