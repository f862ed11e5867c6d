//! Which statements use how much of the database's time: by text, without any value.

use std::collections::HashMap;
use std::fmt;
use std::ops::Sub;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::tracked::{Marker, Tracked};
use crate::hashed::ByHash;
use crate::occupant::{Known, Statement, StatementId};

/// Statements told apart; further ones are one, so that memory is bounded: with a text of 2 KiB at
/// most, a megabyte in the worst case.
const STATEMENTS: usize = 500;

/// Texts as they were sent of which it is known what they are without values. An app that writes
/// values into its statements sends ever new ones.
const SENT: usize = 2048;

/// New texts that are read in a second; others count as `_OTHER`. To read one costs some
/// microseconds, and an app that writes values into its statements should not pay that for each.
const READ: u32 = 100;

/// The summary of those beyond the bound.
pub(crate) const OTHER: &str = "_OTHER";

/// What one statement has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    /// Queries that have ended, however they did.
    pub(crate) count: u64,
    /// How long they took, as their callers saw it.
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

/// A statement, and what it has used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StatementUse {
    /// What it does, to which tables; empty if it begins with no word of SQL, [`OTHER`] for those
    /// beyond the bound.
    pub(crate) summary: String,
    /// Its text without any value; empty for [`OTHER`].
    pub(crate) text: String,
    pub(crate) total: Spent,
    /// Within the last five minutes.
    pub(crate) recent: Spent,
}

/// All statements of one pool. None is ever forgotten, so an id stays good.
pub(super) struct Statements {
    /// By id; the first are all those beyond the bound.
    all: Vec<Entry>,
    /// By text without values.
    ids: HashMap<Arc<str>, StatementId>,
    /// By the hash of what was sent. Emptied when it is full.
    sent: ByHash<StatementId>,
    marker: Marker,
    /// Texts that may still be read until the next second begins.
    budget: u32,
    next_second: Instant,
}

struct Entry {
    statement: Arc<Statement>,
    spent: Tracked<Spent>,
}

impl Statements {
    pub(super) fn new(now: Instant) -> Self {
        let other = Statement {
            summary: OTHER.into(),
            text: "".into(),
            operation: None,
        };
        Self {
            all: vec![Entry::new(other)],
            ids: HashMap::new(),
            sent: ByHash::default(),
            marker: Marker::new(now),
            budget: READ,
            next_second: now + Duration::from_secs(1),
        }
    }

    /// What was sent before; `None` if it has to be read to know what it is.
    pub(super) fn find(&mut self, hash: u64, now: Instant) -> Option<StatementId> {
        if let Some(id) = self.sent.get(&hash) {
            return Some(*id);
        }
        if now >= self.next_second {
            self.next_second = now + Duration::from_secs(1);
            self.budget = READ;
        }
        match self.budget.checked_sub(1) {
            Some(left) => {
                self.budget = left;
                None
            }
            None => Some(StatementId::OTHER),
        }
    }

    /// What was sent, now that it was read.
    pub(super) fn learn(&mut self, hash: u64, statement: Statement) -> StatementId {
        let id = match self.ids.get(&*statement.text) {
            Some(id) => *id,
            None if self.all.len() > STATEMENTS => StatementId::OTHER,
            None => {
                let id = StatementId::new(self.all.len());
                self.ids.insert(Arc::clone(&statement.text), id);
                self.all.push(Entry::new(statement));
                id
            }
        };
        if self.sent.len() >= SENT {
            self.sent.clear();
        }
        self.sent.insert(hash, id);
        id
    }

    /// What it is; `None` if it is one of too many.
    pub(super) fn known(&self, id: StatementId) -> Option<Known> {
        let entry = self.all.get(id.index())?;
        (id != StatementId::OTHER).then(|| Known {
            id,
            statement: Arc::clone(&entry.statement),
        })
    }

    /// A query has ended.
    pub(super) fn ended(&mut self, id: StatementId, took: Duration, now: Instant) {
        self.advance(now);
        if let Some(entry) = self.all.get_mut(id.index()) {
            let total = &mut entry.spent.total;
            total.count += 1;
            total.time = total.time.saturating_add(took);
        }
    }

    /// All of which there is anything to tell, in no order.
    pub(super) fn read(&mut self, now: Instant) -> Vec<StatementUse> {
        self.advance(now);
        let used = self.all.iter().filter(|entry| entry.spent.total.count > 0);
        used.map(|Entry { statement, spent }| StatementUse {
            summary: (*statement.summary).to_owned(),
            text: (*statement.text).to_owned(),
            total: spent.total,
            recent: spent.recent(),
        })
        .collect()
    }

    fn advance(&mut self, now: Instant) {
        let all = self.all.iter_mut().map(|entry| &mut entry.spent);
        self.marker.advance(now, all);
    }
}

impl Entry {
    fn new(statement: Statement) -> Self {
        Self {
            statement: Arc::new(statement),
            spent: Tracked::default(),
        }
    }
}

impl fmt::Debug for Statements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statements")
            .field("known", &self.all.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn told(text: &str) -> Statement {
        Statement {
            text: text.into(),
            summary: text.split(' ').next().unwrap_or_default().into(),
            operation: None,
        }
    }

    /// What was sent is named by its hash.
    fn send(all: &mut Statements, hash: u64, text: &str, now: Instant) -> StatementId {
        all.find(hash, now)
            .unwrap_or_else(|| all.learn(hash, told(text)))
    }

    #[test]
    fn a_statement_is_one_whatever_values_were_written_into_it() {
        let now = Instant::now();
        let mut all = Statements::new(now);
        let one = send(&mut all, 1, "SELECT ?", now);
        assert_eq!(all.find(1, now), Some(one), "it is not read again");
        assert_eq!(send(&mut all, 2, "SELECT ?", now), one);
        let other = send(&mut all, 3, "UPDATE t", now);
        for id in [one, one, other] {
            all.ended(id, 4 * MS, now);
        }
        all.ended(StatementId::new(77), MS, now);
        let used: Vec<_> = all
            .read(now)
            .into_iter()
            .map(|it| (it.summary, it.total))
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
        assert!(later.iter().all(|it| it.recent == Spent::default()));
        assert_eq!(later[0].total.count, 2);
    }

    #[test]
    fn statements_and_what_was_sent_are_bounded_in_number() {
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
            .find(|it| it.summary == OTHER)
            .map(|it| it.total.count);
        assert_eq!(other, Some(10_000 - STATEMENTS as u64));
    }

    #[test]
    fn no_more_texts_are_read_in_a_second_than_is_cheap() {
        let now = Instant::now();
        let mut all = Statements::new(now);
        let known = send(&mut all, 0, "SELECT ?", now);
        let mut read = 0;
        for hash in 1..=1000 {
            if all.find(hash, now).is_none() {
                assert_eq!(all.learn(hash, told("SELECT ?")), known);
                read += 1;
            }
        }
        assert_eq!(read, READ - 1);
        assert_eq!(all.find(1000, now), Some(StatementId::OTHER));
        assert_eq!(all.find(1, now), Some(known), "what was read stays known");
        assert_eq!(
            all.find(1000, now + Duration::from_secs(1)),
            None,
            "and is read later"
        );
    }
}
