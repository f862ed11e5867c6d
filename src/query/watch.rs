//! The instrumentation that the pool sets on each connection it opens.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use diesel::connection::{Instrumentation, InstrumentationEvent, get_default_instrumentation};
use diesel::result::{DatabaseErrorKind, Error};
use tokio::time::Instant;

use super::statement::{TransactionEffect, transaction_effect, without_binds};

/// What is known of the queries on one connection, readable from outside it.
#[derive(Debug, Default)]
pub(crate) struct QueryState {
    in_flight: AtomicU32,
    in_transaction: AtomicBool,
    failed: AtomicBool,
    /// Whether statements are looked at.
    sees_transactions: bool,
}

impl QueryState {
    /// Queries started and not finished: at check-in, those whose futures were dropped.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether a statement seen here has opened a transaction that none seen here has ended;
    /// `None` when statements are not looked at.
    pub(crate) fn in_transaction(&self) -> Option<bool> {
        self.sees_transactions
            .then(|| self.in_transaction.load(Ordering::Relaxed))
    }

    /// Whether a query failed because the connection did.
    pub(crate) fn connection_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

/// Counts queries, logs them when asked, and sees a transaction that raw SQL opened.
///
/// It forwards every event to diesel's default instrumentation, which it takes the place of.
pub(crate) struct QueryWatch {
    state: Arc<QueryState>,
    next: Option<Box<dyn Instrumentation>>,
    echo: bool,
    text: String,
    started: VecDeque<Instant>,
}

impl QueryWatch {
    pub(crate) fn new(see_transactions: bool, echo: bool) -> Self {
        Self {
            state: Arc::new(QueryState {
                sees_transactions: see_transactions,
                ..QueryState::default()
            }),
            next: get_default_instrumentation(),
            echo,
            text: String::new(),
            started: VecDeque::new(),
        }
    }

    pub(crate) fn state(&self) -> Arc<QueryState> {
        Arc::clone(&self.state)
    }

    fn print(&mut self, query: &dyn std::fmt::Display) -> &str {
        self.text.clear();
        // A query that can't be printed is one that can't be sent: diesel reports it itself.
        let _ = write!(self.text, "{query}");
        without_binds(&self.text)
    }
}

impl Instrumentation for QueryWatch {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        match &event {
            InstrumentationEvent::StartQuery { query, .. } => {
                self.state.in_flight.fetch_add(1, Ordering::Relaxed);
                // Printing a statement costs; without a reason it is not done.
                if self.state.sees_transactions {
                    match transaction_effect(self.print(query)) {
                        TransactionEffect::Begins => {
                            self.state.in_transaction.store(true, Ordering::Relaxed)
                        }
                        TransactionEffect::Ends => {
                            self.state.in_transaction.store(false, Ordering::Relaxed)
                        }
                        TransactionEffect::None => {}
                    }
                }
                if self.echo {
                    self.started.push_back(Instant::now());
                }
            }
            InstrumentationEvent::FinishQuery { query, error, .. } => {
                let _ =
                    self.state
                        .in_flight
                        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
                if error.is_some_and(is_connection_failure) {
                    self.state.failed.store(true, Ordering::Relaxed);
                }
                if self.echo {
                    let took = self
                        .started
                        .pop_front()
                        .map_or(Duration::ZERO, |at| at.elapsed());
                    let failed = error.is_some();
                    let statement = self.print(query);
                    tracing::info!(target: "poolscope::echo", took_ms = took.as_secs_f64() * 1e3, failed, "{statement}");
                }
            }
            _ => {}
        }
        if let Some(next) = &mut self.next {
            next.on_connection_event(event);
        }
    }
}

/// How the texts of errors begin that end a connection.
const CONNECTION_FAILURES: [&str; 10] = [
    // mysql_async: the socket failed; the connection was closed; its state is not to be trusted.
    "Input/output error",
    "Driver error",
    // MySQL and MariaDB: 1927, 1053, 4031.
    "Connection was killed",
    "Server shutdown in progress",
    "The client was disconnected",
    // tokio-postgres, and Postgres: 57P01, 57P02.
    "connection closed",
    "terminating connection",
    "server closed the connection",
    "Connection to the server is closed",
    // 57P03.
    "the database system is",
];

/// Whether a query's error means that its connection is gone or its server is not ready: what a
/// later try, on another connection, may not meet. An app answers it with 503, not 500.
///
/// diesel hands on neither Postgres' SQLSTATE nor MySQL's code of these, so it is told by the kind
/// of the error, and by how its text begins where the kind is unknown; a server that speaks another
/// language than English (`lc_messages`) is not understood.
///
/// ```
/// use diesel::result::{DatabaseErrorKind, Error};
///
/// let lost = Error::DatabaseError(DatabaseErrorKind::ClosedConnection, Box::new(String::new()));
/// assert!(poolscope::is_connection_failure(&lost));
/// assert!(!poolscope::is_connection_failure(&Error::NotFound));
/// ```
#[must_use]
pub fn is_connection_failure(error: &Error) -> bool {
    match error {
        Error::DatabaseError(
            DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand,
            _,
        )
        | Error::BrokenTransactionManager => true,
        Error::RollbackErrorOnCommit {
            rollback_error,
            commit_error,
        } => is_connection_failure(rollback_error) || is_connection_failure(commit_error),
        // diesel-async hands mysql_async's errors, and those of Postgres' that end a session, on
        // without their codes.
        Error::DatabaseError(DatabaseErrorKind::Unknown, info) => CONNECTION_FAILURES
            .iter()
            .any(|start| info.message().starts_with(start)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use diesel::connection::StrQueryHelper;

    #[test]
    fn counts_what_has_not_finished_and_sees_raw_transactions() {
        let mut watch = QueryWatch::new(true, false);
        let state = watch.state();
        let begin = StrQueryHelper::new("BEGIN");
        watch.on_connection_event(InstrumentationEvent::start_query(&begin));
        assert_eq!((state.in_flight(), state.in_transaction()), (1, Some(true)));
        watch.on_connection_event(InstrumentationEvent::finish_query(&begin, None));
        let commit = StrQueryHelper::new("COMMIT");
        watch.on_connection_event(InstrumentationEvent::start_query(&commit));
        watch.on_connection_event(InstrumentationEvent::finish_query(&commit, None));
        watch.on_connection_event(InstrumentationEvent::finish_query(&commit, None));
        assert_eq!(
            (state.in_flight(), state.in_transaction()),
            (0, Some(false))
        );
    }

    #[test]
    fn a_broken_socket_is_told_from_a_failed_statement() {
        let of = |kind, text: &str| {
            is_connection_failure(&Error::DatabaseError(kind, Box::new(text.to_owned())))
        };
        assert!(of(DatabaseErrorKind::UnableToSendCommand, ""));
        assert!(of(
            DatabaseErrorKind::Unknown,
            "Input/output error: Broken pipe"
        ));
        assert!(!of(DatabaseErrorKind::UniqueViolation, "duplicate key"));
        assert!(!of(DatabaseErrorKind::Unknown, "syntax error"));
    }
}
