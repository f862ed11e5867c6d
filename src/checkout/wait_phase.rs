//! The wait phases of a checkout, reported by the layer that makes it wait and read by [`Observe`].
//!
//! A future that returns `Pending` stores the phase in a thread-local, and [`Observe`] reads it as
//! soon as the poll returns. So a wait is split into its phases across any layers in between, also
//! if it fails or is dropped, and a checkout that does not wait has no cost.
//!
//! [`Observe`]: crate::service::Observe

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use serde::Serialize;

/// A wait phase of a checkout.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Waiting in the queue, because all connections that may be open are in use.
    Queued,
    /// Waiting for a connection that is being opened or is about to be returned.
    Connecting,
    /// Waiting for the answer to the pre-ping.
    Pinging,
}

impl Phase {
    pub(crate) const ALL: [Self; 3] = [Self::Queued, Self::Connecting, Self::Pinging];

    /// Returns the name of the phase in reports and telemetry.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Connecting => "connecting",
            Self::Pinging => "pinging",
        }
    }
}

thread_local! {
    static REASON: Cell<Option<Phase>> = const { Cell::new(None) };
}

/// Stores the phase of a poll that is about to return `Pending`.
pub(crate) fn waits_in(phase: Phase) {
    REASON.set(Some(phase));
}

/// Takes the phase stored by the last poll; `None` if none is stored.
pub(crate) fn reason() -> Option<Phase> {
    REASON.take()
}

pin_project! {
    /// A future that stores its phase when it returns `Pending`.
    pub(crate) struct During<F> {
        phase: Phase,
        #[pin]
        inner: F,
    }
}

/// Wraps a future so that it stores `phase` when it returns `Pending`.
pub(crate) fn during<F: Future>(phase: Phase, inner: F) -> During<F> {
    During { phase, inner }
}

impl<F: Future> Future for During<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let answer = this.inner.poll(cx);
        if answer.is_pending() {
            waits_in(*this.phase);
        }
        answer
    }
}

/// The time a checkout has waited in each phase; zero if it did not wait in it.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Phases {
    /// The time in the queue.
    pub queued: Duration,
    /// The time waiting for a connection to be opened or returned.
    pub connecting: Duration,
    /// The time waiting for the answer to the pre-ping.
    pub pinging: Duration,
}

impl Phases {
    /// Returns the time in `phase`.
    pub(crate) fn of(&self, phase: Phase) -> Duration {
        match phase {
            Phase::Queued => self.queued,
            Phase::Connecting => self.connecting,
            Phase::Pinging => self.pinging,
        }
    }

    /// Returns the phases in which the checkout waited.
    pub(crate) fn spent(&self) -> impl Iterator<Item = (Phase, Duration)> + use<> {
        let times = Phase::ALL.map(|phase| (phase, self.of(phase)));
        times.into_iter().filter(|(_, time)| !time.is_zero())
    }

    /// Adds `time` to `phase`.
    pub(crate) fn add(&mut self, phase: Phase, time: Duration) {
        *match phase {
            Phase::Queued => &mut self.queued,
            Phase::Connecting => &mut self.connecting,
            Phase::Pinging => &mut self.pinging,
        } += time;
    }
}

impl std::fmt::Display for Phases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut between = "";
        for (phase, time) in self.spent() {
            write!(f, "{between}{} {time:.1?}", phase.as_str())?;
            between = ", ";
        }
        Ok(())
    }
}
