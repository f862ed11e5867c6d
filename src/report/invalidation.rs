//! The last error that invalidated a connection, as `health` reports it.

use std::time::Duration;

use tokio::time::Instant;

use super::status::Status;
use super::warnings::Finding;
use crate::backend::{Affects, InvalidatingError};

/// How long an error is worth a warning.
const RECENT: Duration = Duration::from_secs(60);

/// An error that invalidated a connection, and its age.
#[derive(Debug, Clone, Copy)]
pub(super) struct Invalidation {
    error: &'static InvalidatingError,
    age: Duration,
}

impl Invalidation {
    pub(super) fn at((error, at): (&'static InvalidatingError, Instant)) -> Self {
        let age = Instant::now().saturating_duration_since(at);
        Self { error, age }
    }

    pub(super) fn sentence(&self) -> String {
        let InvalidatingError {
            code,
            name,
            meaning,
            ..
        } = self.error;
        format!(
            "{code} {name}: {meaning} ({:.1} s ago)",
            self.age.as_secs_f64()
        )
    }

    /// Returns the warning, if the error is recent.
    pub(super) fn finding(&self, status: &Status) -> Option<Finding> {
        let recommendation = match self.error.affects {
            Affects::ReadOnlySession => {
                "Each connection with this error is replaced. If new ones have it, too, the URL leads to a server that does not accept writes: complete the failover, or undo the read-only default."
            }
            Affects::Session => {
                "Each connection with this error is replaced. If it comes again, find what resets the sessions: DISCARD, DEALLOCATE, or a pooler that does not track prepared statements."
            }
            Affects::EarlierSessions | Affects::PerhapsEarlierSessions => {
                "All connections opened before are replaced. No action needed after a change of the schema."
            }
        };
        let warning = || {
            format!(
                "connections invalidated: {} since the start, the last by {}",
                status.totals.connections_closed.invalidated,
                self.sentence()
            )
        };
        (self.age < RECENT).then(|| Finding::new(warning(), recommendation))
    }
}
