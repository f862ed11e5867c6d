//! The connection that a waiting checkout's own request already holds.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

/// A connection of the same pool that a waiting checkout's own request already holds.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlreadyHeld {
    /// How it is known that both checkouts belong together.
    pub by: HeldBy,
    /// The source line that took the connection.
    pub caller: &'static Location<'static>,
    /// The label of its checkout, if it has one.
    pub label: Option<&'static str>,
    /// The time for which it has been held.
    pub held: Duration,
}

/// What a waiting checkout and a holder have in common, the strongest evidence first.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HeldBy {
    /// The request of a [`RequestLayer`](crate::RequestLayer).
    Request,
    /// The tokio task.
    Task,
    /// The trace.
    Trace,
}

impl HeldBy {
    /// Returns the word for it in texts: `request`, `task` or `trace`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Task => "task",
            Self::Trace => "trace",
        }
    }
}

/// As in `this request already holds a connection, taken at src/a.rs:10 (report) 3.0s ago`.
impl fmt::Display for AlreadyHeld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "this {} already holds a connection, taken at {}:{}",
            self.by.as_str(),
            self.caller.file(),
            self.caller.line()
        )?;
        if let Some(label) = self.label {
            write!(f, " ({label})")?;
        }
        write!(f, " {:.1?} ago", self.held)
    }
}
