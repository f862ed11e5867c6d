//! Schedules the learning from the record on threads that do not serve requests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::task::spawn_blocking;

use super::learned::{Forecast, Learned, Measured};
use super::model::{Model, Recorded, Trace, queued_p95};
use super::score::{Accuracy, Compared, Score};
use super::{Asking, Found, Optimization, advise};
use crate::record::clock::{MINUTE, SECOND, seconds};
use crate::record::history;
use crate::record::recorder::Recorder;
use crate::report::Configuration;

/// The learned models and the prediction score of one pool.
#[derive(Debug, Default)]
pub(crate) struct Advisor {
    /// The lock limits the computation to one answer at a time.
    latest: Arc<tokio::sync::Mutex<Latest>>,
    score: Mutex<Score>,
    /// Whether a separate thread is comparing a minute.
    is_scoring: AtomicBool,
}

/// The latest models. They are reused for one second.
#[derive(Default)]
struct Latest {
    learned: Option<(u64, Learned)>,
    /// The model of the busiest window, and the end of that window.
    busiest: Option<(u64, Arc<Model>)>,
}

impl Recorder {
    /// Computes the advice from the record up to now. Independent of the number of callers, models are
    /// learned at most once per second, and one answer is computed at a time, on a blocking thread.
    pub(super) async fn advise(
        self: &Arc<Self>,
        configuration: Configuration,
        asking: Asking,
        mut found: Found,
    ) -> Optimization {
        let mut latest = Arc::clone(&self.advisor.latest).lock_owned().await;
        let recorder = Arc::clone(self);
        let work = spawn_blocking(move || {
            let learned = latest.learned(&recorder);
            found.accuracy = recorder.advisor.accuracy();
            advise(configuration, &asking, &learned, found)
        });
        match work.await {
            Ok(advice) => advice,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Returns the accuracy of the compared predictions. Starts comparing the last minute on a separate
    /// thread if this has not been done yet.
    pub(crate) fn accuracy(&self) -> Option<Accuracy> {
        let advisor = &self.advisor;
        let ended = self.clock.now() / MINUTE;
        if advisor.score().ended() < ended && !advisor.is_scoring.swap(true, Ordering::AcqRel) {
            let (recorded, ..) = self.history([0; 3]);
            let scoring = Arc::clone(advisor);
            let thread = thread::Builder::new().name("poolscope-advice".to_owned());
            let started = thread.spawn(move || {
                scoring.update(&Trace::of(&recorded.recent), ended);
                scoring.is_scoring.store(false, Ordering::Release);
            });
            if started.is_err() {
                advisor.is_scoring.store(false, Ordering::Release);
            }
        }
        advisor.accuracy()
    }
}

impl Advisor {
    fn score(&self) -> std::sync::MutexGuard<'_, Score> {
        self.score.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accuracy(&self) -> Option<Accuracy> {
        self.score().accuracy()
    }

    /// Compares the last minute. The lock is not held during the comparison.
    fn update(&self, trace: &Trace, ended: u64) {
        if self.score().ended() < ended {
            let compared = Compared::of(trace, ended);
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
        let last_minute = trace.between(seconds(now) - 60.0, seconds(now));
        let learned = Learned {
            measured: Measured {
                minute,
                five_minutes,
                hour,
                minute_p95: queued_p95(&last_minute.checkouts),
                now: seconds(now),
            },
            busiest: self.busiest(recorded, &trace),
            recent: Model::learn(&trace).map(|model| Arc::new(model) as Arc<dyn Forecast>),
        };
        self.learned = Some((now, learned.clone()));
        learned
    }

    /// Returns the model of the busiest window, if that is busier than the recent one.
    fn busiest(
        &mut self,
        recorded: history::Recorded,
        recent: &Trace,
    ) -> Option<Arc<dyn Forecast>> {
        let (segments, ended) = recorded.busiest?;
        if self.busiest.as_ref().is_none_or(|known| known.0 != ended) {
            let model = Model::learn(&Trace::of(&segments)).ok();
            self.busiest = model.map(|model| (ended, Arc::new(model)));
        }
        let model = &self.busiest.as_ref()?.1;
        let is_busier = model.recorded.demand() > Recorded::of(recent).demand();
        is_busier.then(|| Arc::clone(model) as Arc<dyn Forecast>)
    }
}

impl std::fmt::Debug for Latest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Latest").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
