//! The error of a failed checkout: its kind, its duration and its cause.

mod already_held;
mod most_blamed;
#[cfg(feature = "axum")]
mod response;

use std::fmt;
use std::panic::Location;
use std::time::Duration;

use crate::backend::ConnectError;

pub use self::already_held::{AlreadyHeld, HeldBy};
pub use self::most_blamed::MostBlamed;
pub use crate::checkout::wait_phase::{Phase, Phases};

/// A boxed error, as the tower ecosystem uses it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The error of a failed checkout.
///
/// With the feature `axum` it implements `IntoResponse`: `503` with `Retry-After` and an
/// `application/problem+json` body that shows no internals.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// No connection was available within the pool's timeout.
    #[error("{0}")]
    TimedOut(Box<TimedOut>),
    /// A new connection was needed and could not be opened. The text includes the cause, so that
    /// one log line is enough.
    #[error("could not connect to the database: {0}")]
    ConnectFailed(ConnectError),
    /// The pool is closed or draining.
    #[error("the pool is closed: it hands out no more connections")]
    Closed,
    /// The tokio runtime in which the pool was built has ended, and the pool with it. This happens to a pool
    /// in a `static` that several `#[tokio::test]`s use: each has a runtime of its own.
    #[error(
        "the pool has ended with the tokio runtime that it was built in: build a pool in each runtime that uses one"
    )]
    RuntimeEnded,
    /// The checkout was rejected before the pool's timeout.
    #[error("checkout rejected: {0}")]
    Rejected(Rejection),
    /// The pool is suspended and does not let checkouts wait ([`fail_when_suspended`](crate::Settings::fail_when_suspended)).
    #[error(
        "the pool is suspended, and the setting fail_when_suspended makes checkouts fail instead of waiting"
    )]
    Suspended,
    /// A layer from outside this crate failed.
    #[error("checkout failed")]
    Other(#[source] BoxError),
}

impl PoolError {
    /// Creates a timeout error that has only the time waited. [`Observe`](crate::service::Observe) adds the
    /// rest.
    #[must_use]
    pub fn timed_out(waited: Duration) -> Self {
        Self::TimedOut(Box::new(TimedOut {
            waited,
            phases: None,
            scene: None,
        }))
    }

    /// Returns the value of `error.type` on spans, one word of a small fixed set.
    #[must_use]
    pub fn error_type(&self) -> &'static str {
        match self {
            Self::TimedOut(_) => "timeout",
            Self::ConnectFailed(error) => error.kind().as_str(),
            Self::Closed | Self::RuntimeEnded => "closed",
            Self::Rejected(Rejection::Shed { .. } | Rejection::TooManyPending { .. }) => "shed",
            Self::Rejected(_) => "rejected",
            Self::Suspended => "suspended",
            Self::Other(_) => "_OTHER",
        }
    }

    /// Returns whether this error is a timeout.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::TimedOut(_))
    }

    /// Returns the time after which to try again; the `Retry-After` of the HTTP response.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        match self {
            Self::TimedOut(_) | Self::Rejected(_) | Self::Other(_) => Duration::from_secs(1),
            Self::ConnectFailed(_) => Duration::from_secs(2),
            Self::Closed | Self::RuntimeEnded | Self::Suspended => Duration::from_secs(5),
        }
    }

    /// Converts a layer's error, including those of tower's `load_shed` and `timeout` layers.
    pub(crate) fn from_layer(error: BoxError) -> Self {
        match error.downcast::<Self>() {
            Ok(error) => *error,
            Err(error) if error.is::<tower::load_shed::error::Overloaded>() => {
                Self::Rejected(Rejection::Overloaded)
            }
            Err(error) if error.is::<tower::timeout::error::Elapsed>() => {
                Self::timed_out(Duration::ZERO)
            }
            Err(error) => Self::Other(error),
        }
    }
}

/// The reason for rejecting a checkout before its timeout.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// The caller asked not to wait, and no connection was idle.
    WouldWait,
    /// A layer above the pool sheds load.
    Overloaded,
    /// The number of waiting checkouts has reached `DB_POOL_MAX_PENDING`.
    TooManyPending {
        /// The maximum number of waiting checkouts.
        limit: u32,
    },
    /// Queue times have exceeded `DB_POOL_QUEUE_TARGET` for a while, and this checkout had queued
    /// so long that serving it would have delayed the others past the target.
    Shed {
        /// The time the checkout had queued.
        queued: Duration,
    },
    /// The pool is full, the request already holds a connection, and
    /// [`nested_checkouts`](crate::Settings::nested_checkouts) is `deny`.
    Nested(AlreadyHeld),
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WouldWait => {
                f.write_str("no connection is idle, and the caller asked not to wait")
            }
            Self::Overloaded => f.write_str("the service is overloaded"),
            Self::TooManyPending { limit } => write!(
                f,
                "the queue is full: {limit} waiting, the limit set by DB_POOL_MAX_PENDING"
            ),
            Self::Shed { queued } => write!(
                f,
                "the pool is overloaded and sheds load: this checkout queued for {queued:.1?}, and queue times have exceeded DB_POOL_QUEUE_TARGET for a while"
            ),
            Self::Nested(held) => write!(
                f,
                "{held}, and the pool is full: it would wait for itself (nested_checkouts is deny)"
            ),
        }
    }
}

/// A checkout that timed out, with a snapshot of the pool at that time.
#[derive(Debug)]
pub struct TimedOut {
    pub(crate) waited: Duration,
    pub(crate) phases: Option<Phases>,
    pub(crate) scene: Option<PoolSnapshot>,
}

impl TimedOut {
    /// Returns the time the caller waited.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Returns the time spent in each wait phase, as reported by the layers below; `None` for an
    /// existing pool.
    #[must_use]
    pub fn phases(&self) -> Option<Phases> {
        self.phases
    }

    /// Returns the snapshot of the pool at the timeout; `None` if the checkout did not go through
    /// [`Observe`](crate::service::Observe).
    #[must_use]
    pub fn scene(&self) -> Option<&PoolSnapshot> {
        self.scene.as_ref()
    }
}

/// A snapshot of the pool at the time a checkout timed out.
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct PoolSnapshot {
    /// The pool's name.
    pub pool: String,
    /// The pool's size.
    pub pool_size: u32,
    /// The pool's maximum overflow.
    pub max_overflow: u32,
    /// The number of connections checked out.
    pub checked_out: u32,
    /// The number of waiting checkouts, without the one that timed out.
    pub pending: u32,
    /// The holder that has held a connection longest.
    pub longest_holder: Option<LongestHolder>,
    /// The call site whose holds this checkout has waited for most; `None` if it has not queued behind
    /// any.
    pub most_blamed: Option<MostBlamed>,
    /// The connection that the request itself held when its checkout timed out, unless
    /// [`nested_checkouts`](crate::Settings::nested_checkouts) is `off`.
    pub already_held: Option<AlreadyHeld>,
    /// The last connect error, if no attempt has succeeded since, and the time since then.
    pub last_connect_error: Option<(ConnectError, Duration)>,
}

/// The holder that had held a connection longest when a checkout timed out.
#[non_exhaustive]
#[derive(Debug, Clone, Copy)]
pub struct LongestHolder {
    /// The source line of its checkout.
    pub caller: &'static Location<'static>,
    /// The label of its checkout, if it has one.
    pub label: Option<&'static str>,
    /// The time it has held the connection.
    pub held: Duration,
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "timed out after {:.1?} waiting for a connection",
            self.waited
        )?;
        if let Some(phases) = &self.phases {
            write!(f, " ({phases})")?;
        }
        let Some(scene) = &self.scene else {
            return Ok(());
        };
        write!(
            f,
            " from pool \"{}\": {} of {} checked out (size {} + overflow {}), {} pending",
            scene.pool,
            scene.checked_out,
            scene.pool_size.saturating_add(scene.max_overflow),
            scene.pool_size,
            scene.max_overflow,
            scene.pending,
        )?;
        if let Some(holder) = &scene.longest_holder {
            write!(
                f,
                "; held longest: {}:{}",
                holder.caller.file(),
                holder.caller.line()
            )?;
            if let Some(label) = holder.label {
                write!(f, " ({label})")?;
            }
            write!(f, " for {:.1?}", holder.held)?;
        }
        if let Some(most) = &scene.most_blamed {
            write!(f, "; {most}")?;
        }
        if let Some(held) = &scene.already_held {
            write!(f, "; {held}")?;
        }
        if let Some((error, ago)) = &scene.last_connect_error {
            write!(f, "; last connect error {ago:.1?} ago: {error}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_describes_the_pool_in_one_line() {
        let mut error = TimedOut {
            waited: Duration::from_secs(30),
            phases: None,
            scene: None,
        };
        assert_eq!(
            error.to_string(),
            "timed out after 30.0s waiting for a connection"
        );
        error.scene = Some(PoolSnapshot {
            pool: "orders".into(),
            pool_size: 3,
            max_overflow: 5,
            checked_out: 8,
            pending: 22,
            longest_holder: Some(LongestHolder {
                caller: Location::caller(),
                label: Some("report"),
                held: Duration::from_millis(31_500),
            }),
            most_blamed: Some(MostBlamed {
                call_site: "/report at src/report.rs:33".to_owned(),
                share: 0.612,
                idle_share: Some(0.48),
            }),
            already_held: Some(AlreadyHeld {
                by: HeldBy::Request,
                caller: Location::caller(),
                label: Some("first"),
                held: Duration::from_secs(30),
            }),
            last_connect_error: None,
        });
        let text = error.to_string();
        assert!(
            text.contains("8 of 8 checked out (size 3 + overflow 5), 22 pending"),
            "{text}"
        );
        assert!(text.contains("error.rs:"), "{text}");
        let parts = [
            "(report) for 31.5s",
            "; 61 % of the waiting was behind /report at src/report.rs:33, 48 % of it while its connection was idle; ",
        ];
        parts
            .iter()
            .for_each(|part| assert!(text.contains(part), "{text}"));
        let (_, own) = text.split_once("; this request").unwrap();
        assert!(
            own.starts_with(" already holds a connection, taken at src/error.rs:"),
            "{text}"
        );
        assert!(own.ends_with(" (first) 30.0s ago"), "{text}");
    }

    #[test]
    fn each_error_has_a_type_a_retry_time_and_a_text() {
        let error = ConnectError::new(crate::backend::ConnectErrorKind::Tls, "no TLS here", None);
        let scene = PoolSnapshot {
            pool: "orders".into(),
            pool_size: 1,
            max_overflow: 0,
            checked_out: 0,
            pending: 0,
            longest_holder: None,
            most_blamed: None,
            already_held: None,
            last_connect_error: Some((error.clone(), Duration::from_secs(3))),
        };
        let timeout = TimedOut {
            waited: Duration::from_secs(1),
            phases: None,
            scene: Some(scene),
        };
        assert!(
            timeout
                .to_string()
                .ends_with("last connect error 3.0s ago: no TLS here")
        );
        assert_eq!(timeout.waited(), Duration::from_secs(1));
        assert!(timeout.scene().is_some());
        for (error, kind, seconds) in [
            (PoolError::TimedOut(Box::new(timeout)), "timeout", 1),
            (PoolError::ConnectFailed(error), "tls", 2),
            (PoolError::Closed, "closed", 5),
            (PoolError::RuntimeEnded, "closed", 5),
            (PoolError::Rejected(Rejection::Overloaded), "rejected", 1),
            (PoolError::Suspended, "suspended", 5),
            (
                PoolError::Rejected(Rejection::TooManyPending { limit: 3 }),
                "shed",
                1,
            ),
            (
                PoolError::Rejected(Rejection::Shed {
                    queued: Duration::from_millis(7),
                }),
                "shed",
                1,
            ),
            (PoolError::Other("odd".into()), "_OTHER", 1),
        ] {
            assert_eq!(
                (error.error_type(), error.retry_after().as_secs()),
                (kind, seconds)
            );
            assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn errors_of_tower_layers_keep_their_meaning() {
        let shed = PoolError::from_layer(Box::new(tower::load_shed::error::Overloaded::new()));
        assert!(matches!(shed, PoolError::Rejected(Rejection::Overloaded)));
        let late = PoolError::from_layer(Box::new(tower::timeout::error::Elapsed::new()));
        assert!(late.is_timeout());
        let own = PoolError::from_layer(Box::new(PoolError::Closed));
        assert!(matches!(own, PoolError::Closed));
        let other = PoolError::from_layer("sink is full".into());
        assert_eq!(other.error_type(), "_OTHER");
        assert_eq!(
            std::error::Error::source(&other).unwrap().to_string(),
            "sink is full"
        );
    }
}
