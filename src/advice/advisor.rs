//! Schedules the learning from the record on threads that do not serve requests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::spawn_blocking;

use super::Optimization;
use super::background;
use super::learned::{Forecast, Learned, Measured};
use super::model::{Model, Trace, queued_p95};
use super::recommendation::{Asking, Findings, advise};
use super::score::{Accuracy, Score, compare};
use crate::record::clock::{MINUTE, SECOND, seconds};
use crate::record::recorder::Recorder;
use crate::report::Configuration;

/// The learned models and the prediction score of one pool.
#[derive(Debug, Default)]
pub(crate) struct Advisor {
    /// The lock limits the computation to one thread at a time.
    latest: Arc<tokio::sync::Mutex<Latest>>,
    score: Mutex<Score>,
    /// Whether the comparison of the last minute waits for its turn.
    is_queued: AtomicBool,
}

/// The latest models.
#[derive(Debug, Default)]
struct Latest {
    /// Reused for one second. With the time at which they were learned.
    learned: Option<(u64, Learned)>,
    /// The model of the busiest window, and the end of that window.
    busiest: Option<(u64, Option<Arc<dyn Forecast>>)>,
}

impl Recorder {
    /// Computes the advice from the record up to now. Independent of the number of callers, models are
    /// learned at most once per second, and one answer is computed at a time, on a blocking thread.
    pub(super) async fn advise(
        self: &Arc<Self>,
        configuration: Configuration,
        asking: Asking,
        mut found: Findings,
    ) -> Optimization {
        let mut latest = Arc::clone(&self.advisor.latest).lock_owned().await;
        let recorder = Arc::clone(self);
        let work = spawn_blocking(move || {
            let learned = latest.learned(&recorder);
            found.accuracy = recorder.advisor.score().accuracy();
            advise(configuration, &asking, &learned, found)
        });
        match work.await {
            Ok(advice) => advice,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Returns the accuracy of the compared predictions. Has the last minute compared on a separate thread
    /// if this has not been done yet.
    pub(crate) fn accuracy(&self) -> Option<Accuracy> {
        let advisor = &self.advisor;
        let ended = self.clock.now() / MINUTE;
        if advisor.score().ended() < ended && !advisor.is_queued.swap(true, Ordering::Relaxed) {
            let (recorded, ..) = self.history([0; 3]);
            let scoring = Arc::clone(advisor);
            let queued = background::run(move || {
                // A report that is computed at this moment compares it, too.
                if let Ok(_alone) = scoring.latest.try_lock() {
                    scoring.update(&Trace::of(&recorded.recent), ended);
                }
                scoring.is_queued.store(false, Ordering::Relaxed);
            });
            if !queued {
                advisor.is_queued.store(false, Ordering::Relaxed);
            }
        }
        advisor.score().accuracy()
    }
}

impl Advisor {
    fn score(&self) -> MutexGuard<'_, Score> {
        self.score.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compares the last minute. The lock is not held during the comparison.
    fn update(&self, trace: &Trace, ended: u64) {
        if self.score().ended() < ended {
            let compared = compare(trace, ended, Model::learn, Model::at);
            self.score().add(ended, compared);
        }
    }
}

impl Latest {
    /// Returns the models, learned anew if the latest are older than one second.
    fn learned(&mut self, recorder: &Recorder) -> Learned {
        let now = recorder.clock.now();
        if let Some((at, learned)) = &self.learned
            && now.saturating_sub(*at) < SECOND
        {
            return learned.clone();
        }
        let (recorded, [minute, five_minutes, hour], now) = recorder.history([1, 5, 60]);
        let trace = Trace::of(&recorded.recent);
        recorder.advisor.update(&trace, now / MINUTE);
        let learn = |trace: &Trace| Model::learn(trace).map(|it| Arc::new(it) as Arc<dyn Forecast>);
        let busiest = recorded.busiest.and_then(|(segments, ended)| {
            if self.busiest.as_ref().is_none_or(|known| known.0 != ended) {
                self.busiest = Some((ended, learn(&Trace::of(&segments)).ok()));
            }
            self.busiest.as_ref()?.1.clone()
        });
        let last_minute = trace.between(seconds(now) - 60.0, seconds(now));
        let learned = Learned {
            measured: Measured {
                minute,
                five_minutes,
                hour,
                minute_p95: queued_p95(&last_minute.checkouts),
                now: seconds(now),
            },
            busiest,
            recent: learn(&trace),
        };
        self.learned = Some((now, learned.clone()));
        learned
    }
}

#[cfg(test)]
mod tests;
