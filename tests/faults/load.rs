//! Many tasks that use a pool, and the outcomes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use poolscope::report::Totals;
use poolscope::{Pool, PoolError};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::databases::Tested;
use crate::support::waiting::{PATIENCE, until};

/// A refused task retries after this time, as a client would.
const PAUSE: Duration = Duration::from_millis(20);

/// Tasks that repeatedly check out, send a query, and check its result.
pub struct Load<C: Tested> {
    asker: Arc<Asker<C>>,
    tasks: Vec<JoinHandle<()>>,
}

struct Asker<C: Tested> {
    pool: Pool<C>,
    /// How long a task with a connection waits for its result.
    patience: Duration,
    enough: AtomicBool,
    question: AtomicI32,
    outcomes: Mutex<Outcomes>,
    before: Totals,
}

/// The outcomes of the attempts. A result of another query fails the test at once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcomes {
    pub served: u64,
    /// Got a connection, and the query failed.
    pub failed: u64,
    /// Got a connection, and stopped waiting for the result.
    pub given_up: u64,
    /// Got no connection, by `PoolError::error_type`.
    pub refused: BTreeMap<&'static str, u64>,
    pub slowest_refusal: Duration,
}

impl Outcomes {
    pub fn refusals(&self) -> u64 {
        self.refused.values().sum()
    }

    fn add(&mut self, other: &Self) {
        self.served += other.served;
        self.failed += other.failed;
        self.given_up += other.given_up;
        for (kind, count) in &other.refused {
            *self.refused.entry(kind).or_default() += count;
        }
        self.slowest_refusal = self.slowest_refusal.max(other.slowest_refusal);
    }
}

impl<C: Tested> Load<C> {
    /// Starts this number of tasks.
    pub fn start(pool: &Pool<C>, tasks: usize) -> Self {
        Self::impatient(pool, tasks, PATIENCE)
    }

    /// As `start`, with a time limit for each query.
    pub fn impatient(pool: &Pool<C>, tasks: usize, patience: Duration) -> Self {
        let asker = Arc::new(Asker {
            pool: pool.clone(),
            patience,
            enough: AtomicBool::new(false),
            question: AtomicI32::new(0),
            outcomes: Mutex::default(),
            before: pool.status().totals,
        });
        let tasks = (0..tasks)
            .map(|_| {
                let asker = Arc::clone(&asker);
                tokio::spawn(async move {
                    while !asker.enough.load(Ordering::Relaxed) {
                        if asker.ask().await.is_err() {
                            sleep(PAUSE).await;
                        }
                    }
                })
            })
            .collect();
        Self { asker, tasks }
    }

    /// Makes one more attempt, counted with the others.
    pub async fn ask(&self) -> Result<(), PoolError> {
        self.asker.ask().await
    }

    pub fn outcomes(&self) -> Outcomes {
        self.asker.outcomes.lock().unwrap().clone()
    }

    /// Counts the outcomes from now on.
    pub fn since_now(&self) -> Since<'_, C> {
        Since {
            load: self,
            from: self.outcomes(),
        }
    }

    /// Waits until `count` more attempts have been served, and returns how long the first took.
    ///
    /// # Panics
    /// After [`PATIENCE`].
    pub async fn is_served(&self, count: u64) -> Duration {
        let now = Instant::now();
        let since = self.since_now();
        since
            .until("the first is served", |seen| seen.served > 0)
            .await;
        let first = now.elapsed();
        since
            .until("they are served", |seen| seen.served >= count)
            .await;
        first
    }

    /// Ends the tasks.
    pub async fn stop(self) -> Outcomes {
        self.asker.enough.store(true, Ordering::Relaxed);
        for task in self.tasks {
            let ended = timeout(2 * PATIENCE, task).await;
            ended.expect("each attempt has an end").expect("no panic");
        }
        let outcomes = self.asker.outcomes.lock().unwrap();
        outcomes.clone()
    }

    /// Ends the tasks, and checks that the pool, which has no other users, has counted the same
    /// outcomes.
    pub async fn end(self) -> Outcomes {
        let asker = Arc::clone(&self.asker);
        let outcomes = self.stop().await;
        let (before, totals) = (asker.before, asker.pool.status().totals);
        let refused = |totals: Totals| totals.errors + totals.timeouts + totals.rejected;
        assert_eq!(
            (
                totals.checkouts - before.checkouts,
                refused(totals) - refused(before)
            ),
            (
                outcomes.served + outcomes.failed + outcomes.given_up,
                outcomes.refusals()
            ),
            "{outcomes:?} {totals:?}"
        );
        outcomes
    }
}

/// The outcomes since a point in time.
pub struct Since<'a, C: Tested> {
    load: &'a Load<C>,
    from: Outcomes,
}

impl<C: Tested> Since<'_, C> {
    pub fn outcomes(&self) -> Outcomes {
        let now = self.load.outcomes();
        let mut refused = now.refused;
        for (kind, count) in &self.from.refused {
            *refused.entry(kind).or_default() -= count;
        }
        refused.retain(|_, count| *count > 0);
        Outcomes {
            served: now.served - self.from.served,
            failed: now.failed - self.from.failed,
            given_up: now.given_up - self.from.given_up,
            refused,
            // Of all attempts, because there is no value per period.
            slowest_refusal: now.slowest_refusal,
        }
    }

    /// # Panics
    /// After [`PATIENCE`].
    pub async fn until(&self, what: &str, is_so: impl Fn(&Outcomes) -> bool) -> Outcomes {
        until(what, async || self.outcomes(), is_so).await
    }
}

impl<C: Tested> Asker<C> {
    async fn ask(&self) -> Result<(), PoolError> {
        let mut seen = Outcomes::default();
        let asked = Instant::now();
        let result = match self.pool.get().await {
            Ok(mut conn) => {
                let question = self.question.fetch_add(1, Ordering::Relaxed);
                match timeout(self.patience, conn.select(question)).await {
                    Ok(Ok(answer)) => {
                        assert_eq!(answer, question, "the result of another query");
                        seen.served = 1;
                    }
                    Ok(Err(_)) => seen.failed = 1,
                    Err(_) => seen.given_up = 1,
                }
                Ok(())
            }
            Err(error) => {
                seen.refused.insert(error.error_type(), 1);
                seen.slowest_refusal = asked.elapsed();
                Err(error)
            }
        };
        self.outcomes.lock().unwrap().add(&seen);
        result
    }
}
