//! Records the time that each statement uses, by its text without values.

use std::collections::HashMap;
use std::ops::Sub;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;
use tokio::time::Instant;

use crate::checkout::query_context::{IdentifiedStatement, Statement, StatementId};
use crate::recent::{Marker, Recent, Sum};

/// Maximum number of statements recorded separately. Further ones share one entry, so that memory is
/// bounded: a text has at most 2 KiB, so all have at most one megabyte.
const STATEMENTS: usize = 500;

/// Maximum number of texts as sent whose statement is remembered. An app that writes values into its
/// statements keeps sending new texts.
const SENT: usize = 2048;

/// Maximum number of new texts parsed per second; further ones count as `_OTHER`. Parsing a text costs
/// some microseconds, and an app that writes values into its statements should not pay that for each.
const READ: u32 = 100;

/// Summary of the entry that statements beyond the bound share. Its text is empty.
pub(crate) const OTHER: &str = "_OTHER";

/// Executions of one statement, and their time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    /// Number of completed queries, including failed ones.
    pub(crate) count: u64,
    /// Their total duration, as the callers saw it.
    pub(crate) time: Duration,
}

impl Sub for Spent {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            count: self.count - before.count,
            time: self.time.saturating_sub(before.time),
        }
    }
}

/// All statements of one pool. None is ever removed, so ids stay valid.
#[derive(Debug)]
pub(crate) struct Statements {
    /// Statements by id. The first entry is shared by those beyond the bound.
    all: Vec<(Arc<Statement>, Recent<Spent>)>,
    /// Ids by text without values.
    ids: HashMap<Arc<str>, StatementId>,
    /// Ids by the hash of the text as sent. Cleared when it is full.
    sent: HashMap<u64, StatementId, FixedState>,
    marker: Marker,
    /// Number of texts that may still be parsed in the current second.
    budget: u32,
    next_second: Instant,
}

impl Statements {
    pub(crate) fn new(now: Instant) -> Self {
        let other = Statement {
            summary: OTHER.into(),
            text: "".into(),
        };
        Self {
            all: vec![(Arc::new(other), Recent::default())],
            ids: HashMap::new(),
            sent: HashMap::default(),
            marker: Marker::new(now),
            budget: READ,
            next_second: now + Duration::from_secs(1),
        }
    }

    /// Returns the id of the text with this hash. `None` if the text must be parsed first.
    pub(crate) fn find(&mut self, hash: u64, now: Instant) -> Option<StatementId> {
        if let Some(id) = self.sent.get(&hash) {
            return Some(*id);
        }
        if now >= self.next_second {
            self.next_second = now + Duration::from_secs(1);
            self.budget = READ;
        }
        if self.budget == 0 {
            return Some(StatementId::OTHER);
        }
        self.budget -= 1;
        None
    }

    /// Adds a parsed text and returns its id.
    pub(crate) fn learn(&mut self, hash: u64, statement: Statement) -> StatementId {
        let id = match self.ids.get(&*statement.text) {
            Some(id) => *id,
            None if self.all.len() > STATEMENTS => StatementId::OTHER,
            None => {
                let id = StatementId::new(self.all.len());
                self.ids.insert(Arc::clone(&statement.text), id);
                self.all.push((Arc::new(statement), Recent::default()));
                id
            }
        };
        if self.sent.len() >= SENT {
            self.sent.clear();
        }
        self.sent.insert(hash, id);
        id
    }

    /// Returns the statement with this id; `None` if it is beyond the bound.
    pub(crate) fn known(&self, id: StatementId) -> Option<IdentifiedStatement> {
        let (statement, _) = self.all.get(id.index())?;
        (id != StatementId::OTHER).then(|| IdentifiedStatement {
            id,
            statement: Arc::clone(statement),
        })
    }

    /// Records a completed query.
    pub(crate) fn ended(&mut self, id: StatementId, took: Duration, now: Instant) {
        self.advance(now);
        if let Some((_, Recent { total, .. })) = self.all.get_mut(id.index()) {
            total.count += 1;
            total.time = total.time.saturating_add(took);
        }
    }

    /// Returns all statements with a completed query, in no particular order.
    pub(crate) fn read(&mut self, now: Instant) -> Vec<(Arc<Statement>, Sum<Spent>)> {
        self.advance(now);
        let used = self.all.iter().filter(|(_, spent)| spent.total.count > 0);
        used.map(|(statement, spent)| (Arc::clone(statement), spent.read()))
            .collect()
    }

    fn advance(&mut self, now: Instant) {
        let all = self.all.iter_mut().map(|(_, spent)| spent);
        self.marker.advance(now, all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn parsed(text: &str) -> Statement {
        Statement {
            text: text.into(),
            summary: text.split(' ').next().unwrap_or_default().into(),
        }
    }

    /// Sends a text with this hash.
    fn send(all: &mut Statements, hash: u64, text: &str, now: Instant) -> StatementId {
        all.find(hash, now)
            .unwrap_or_else(|| all.learn(hash, parsed(text)))
    }

    #[test]
    fn texts_that_differ_in_values_are_one_statement() {
        let now = Instant::now();
        let mut all = Statements::new(now);
        let one = send(&mut all, 1, "SELECT ?", now);
        assert_eq!(all.find(1, now), Some(one), "it is not parsed again");
        assert_eq!(send(&mut all, 2, "SELECT ?", now), one);
        let other = send(&mut all, 3, "UPDATE t", now);
        for id in [one, one, other] {
            all.ended(id, 4 * MS, now);
        }
        all.ended(StatementId::new(77), MS, now);
        let used: Vec<_> = all
            .read(now)
            .into_iter()
            .map(|(statement, spent)| (statement.summary.to_string(), spent.total))
            .collect();
        let spent = |count: u32| Spent {
            count: count.into(),
            time: 4 * MS * count,
        };
        assert_eq!(
            used,
            [
                ("SELECT".to_owned(), spent(2)),
                ("UPDATE".to_owned(), spent(1))
            ]
        );
        let later = all.read(now + Duration::from_secs(3600));
        assert!(
            later
                .iter()
                .all(|(_, spent)| spent.recent == Spent::default())
        );
        assert_eq!(later[0].1.total.count, 2);
    }

    #[test]
    fn the_numbers_of_statements_and_texts_are_bounded() {
        let mut now = Instant::now();
        let mut all = Statements::new(now);
        for hash in 0..10_000 {
            now += Duration::from_millis(20);
            let id = send(&mut all, hash, &format!("S{hash}"), now);
            all.ended(id, MS, now);
        }
        assert_eq!((all.all.len(), all.ids.len()), (STATEMENTS + 1, STATEMENTS));
        assert!(all.sent.len() <= SENT);
        let read = all.read(now);
        let other = read
            .iter()
            .find(|(statement, _)| &*statement.summary == OTHER)
            .map(|(_, spent)| spent.total.count);
        assert_eq!(other, Some(10_000 - STATEMENTS as u64));
    }

    #[test]
    fn the_number_of_texts_parsed_per_second_is_bounded() {
        let now = Instant::now();
        let mut all = Statements::new(now);
        let known = send(&mut all, 0, "SELECT ?", now);
        let mut read = 0;
        for hash in 1..=1000 {
            if all.find(hash, now).is_none() {
                assert_eq!(all.learn(hash, parsed("SELECT ?")), known);
                read += 1;
            }
        }
        assert_eq!(read, READ - 1);
        assert_eq!(all.find(1000, now), Some(StatementId::OTHER));
        assert_eq!(all.find(1, now), Some(known), "a parsed text stays known");
        assert_eq!(
            all.find(1000, now + Duration::from_secs(1)),
            None,
            "the text is parsed later"
        );
    }
}
