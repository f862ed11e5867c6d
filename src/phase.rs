//! What a checkout waits for: told by whichever layer makes it wait, read by the one that observes.
//!
//! A future that returns `Pending` leaves word of the reason on its thread, and [`Observe`] reads it
//! as soon as the poll returns. So a wait can be split into its phases whatever layers lie in
//! between, also when it fails or is dropped, and a checkout that does not wait pays nothing.
//!
//! [`Observe`]: crate::Observe

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use serde::Serialize;

/// What a checkout waits for.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// For its turn: all connections that may be open are in use.
    Queued,
    /// For a connection: one is being opened, or is about to come back.
    Connecting,
    /// For the answer to the pre-ping.
    Pinging,
}

impl Phase {
    pub(crate) const ALL: [Self; 3] = [Self::Queued, Self::Connecting, Self::Pinging];

    /// The phase in reports and telemetry.
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

/// Leaves word why a poll is about to return `Pending`.
pub(crate) fn waits_in(phase: Phase) {
    REASON.set(Some(phase));
}

/// The word left, which is then gone.
pub(crate) fn reason() -> Option<Phase> {
    REASON.take()
}

pin_project! {
    /// A future that leaves word of its phase when it has to wait.
    pub(crate) struct During<F> {
        phase: Phase,
        #[pin]
        inner: F,
    }
}

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

/// How long a checkout has waited for what; zero where it did not wait.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Phases {
    /// For its turn.
    pub queued: Duration,
    /// For a connection to be opened.
    pub connecting: Duration,
    /// For the answer to the pre-ping.
    pub pinging: Duration,
}

impl Phases {
    pub(crate) fn of(&self, phase: Phase) -> Duration {
        match phase {
            Phase::Queued => self.queued,
            Phase::Connecting => self.connecting,
            Phase::Pinging => self.pinging,
        }
    }

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
        for phase in Phase::ALL {
            let time = self.of(phase);
            if !time.is_zero() {
                write!(f, "{between}{} {time:.1?}", phase.as_str())?;
                between = ", ";
            }
        }
        Ok(())
    }
}
