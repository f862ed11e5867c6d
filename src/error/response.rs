//! Converts a failed checkout into an axum response: 503 for the client, the cause in the log.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use axum_core::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use tokio::time::Instant;

use crate::error::PoolError;
use crate::log_limiter::LogLimiter;

/// Limits the log events of each kind of error, so that many shed checkouts do not hide the first
/// timeout.
struct ErrorLog(Mutex<BTreeMap<&'static str, LogLimiter>>);

/// Log limits of the whole process, because an error does not identify its pool.
static ERROR_LOG: ErrorLog = ErrorLog(Mutex::new(BTreeMap::new()));

impl ErrorLog {
    /// Logs the error, at most once per second for each kind. CoDel occurs at loads of thousands
    /// of checkouts per second, where one log line each would cost more than serving them.
    fn log(&self, error: &PoolError, now: Instant) {
        let kind = error.error_type();
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let suppressed = kinds.entry(kind).or_default().try_log(now);
        drop(kinds);
        if let Some(suppressed) = suppressed {
            tracing::warn!(
                target: "poolscope",
                status = 503,
                error.type = kind,
                others_within_a_second = suppressed,
                "{error}",
            );
        }
    }
}

impl IntoResponse for PoolError {
    fn into_response(self) -> Response {
        // The client learns when to try again, and nothing about the pool.
        ERROR_LOG.log(&self, Instant::now());
        let body = serde_json::json!({
            "type": "about:blank",
            "title": "Service Unavailable",
            "status": 503,
            "detail": "no database connection is available for this request at the moment",
        });
        (
            http::StatusCode::SERVICE_UNAVAILABLE,
            [
                (RETRY_AFTER, self.retry_after().as_secs().to_string()),
                (CONTENT_TYPE, "application/problem+json".to_owned()),
                (CACHE_CONTROL, "no-store".to_owned()),
            ],
            body.to_string(),
        )
            .into_response()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tracing::field::{Field, Visit};
    use tracing::{Event, Subscriber};
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    use super::*;
    use crate::error::Rejection;

    /// The kind of each log line, and the number of events it stands for besides itself.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<(String, u64)>>>);

    impl<S: Subscriber> Layer<S> for Lines {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut line = Line::default();
            event.record(&mut line);
            self.0.lock().unwrap().push((line.kind, line.others));
        }
    }

    #[derive(Default)]
    struct Line {
        kind: String,
        others: u64,
    }

    impl Visit for Line {
        fn record_u64(&mut self, field: &Field, value: u64) {
            if field.name() == "others_within_a_second" {
                self.others = value;
            }
        }
        fn record_str(&mut self, field: &Field, value: &str) {
            if field.name() == "error.type" {
                value.clone_into(&mut self.kind);
            }
        }
        fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
    }

    #[test]
    fn each_kind_is_logged_once_per_second() {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::registry().with(lines.clone());
        let log = ErrorLog(Mutex::default());
        let start = Instant::now();
        let shed = PoolError::Rejected(Rejection::TooManyPending { limit: 3 });
        let shed_by_time = PoolError::Rejected(Rejection::Shed {
            queued: Duration::from_millis(7),
        });
        tracing::subscriber::with_default(subscriber, || {
            for n in 0..3000 {
                let error = if n % 2 == 0 { &shed } else { &shed_by_time };
                log.log(error, start + Duration::from_micros(100) * n);
            }
            log.log(&PoolError::timed_out(Duration::from_secs(4)), start);
            log.log(&PoolError::Closed, start);
            log.log(&PoolError::Suspended, start);
            log.log(&PoolError::Other("odd".into()), start);
            log.log(&PoolError::Rejected(Rejection::Overloaded), start);
            log.log(&shed, start + Duration::from_secs(1));
        });
        let lines = lines.0.lock().unwrap().clone();
        let expected = [
            ("shed", 0),
            ("timeout", 0),
            ("closed", 0),
            ("suspended", 0),
            ("_OTHER", 0),
            ("rejected", 0),
            ("shed", 2999),
        ];
        assert_eq!(
            lines,
            expected.map(|(kind, others)| (kind.to_owned(), others))
        );
    }
}
