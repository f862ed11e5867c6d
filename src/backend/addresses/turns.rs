//! Divides the time of a connection attempt among the addresses, and collects their errors.

use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::Lookup;
use crate::backend::connect_error::{ConnectError, ConnectErrorKind};

/// The turns of one connection attempt.
#[derive(Debug)]
pub(in crate::backend) struct Turns {
    deadline: Instant,
    /// The longest turn, if the URL sets one.
    longest: Option<Duration>,
    failures: Vec<ConnectError>,
}

impl Turns {
    /// Begins an attempt that may take so long. Each turn may take `longest`, if that is set.
    pub(in crate::backend) fn new(limit: Duration, longest: Option<Duration>) -> Self {
        Self {
            deadline: Instant::now() + limit,
            longest,
            failures: Vec::new(),
        }
    }

    /// Runs one turn of `left` turns that are still to come, this one included: for its share of the
    /// time that is left, so that each of the others gets one too.
    ///
    /// # Errors
    ///
    /// Returns the error of the turn, or says that the time is over.
    pub(in crate::backend) async fn take<T>(
        &self,
        left: usize,
        turn: impl Future<Output = Result<T, ConnectError>>,
    ) -> Result<T, ConnectError> {
        let share = self.share(left);
        let share = self.longest.map_or(share, |longest| longest.min(share));
        let answer = timeout(share, turn).await;
        answer.unwrap_or_else(|_| Err(late("no connection", share)))
    }

    /// Looks up a host, for the same share of the time. As in libpq, the URL's limit does not cover
    /// the lookup.
    pub(in crate::backend) async fn look_up(
        &self,
        left: usize,
        lookup: &Lookup,
    ) -> Result<Vec<IpAddr>, ConnectError> {
        let share = self.share(left);
        let answer = timeout(share, lookup.addresses()).await;
        answer.unwrap_or_else(|_| {
            let doing = format!("looking up {}: no answer", lookup.host());
            Err(late(&doing, share))
        })
    }

    fn share(&self, left: usize) -> Duration {
        let time = self.deadline.saturating_duration_since(Instant::now());
        time / u32::try_from(left.max(1)).unwrap_or(u32::MAX)
    }

    /// Notes that an address has failed. Returns whether the next address should be tried.
    ///
    /// As in libpq, one server's refusal to let this user into this database ends the attempt: the
    /// other servers would refuse too, and count one more failed login.
    pub(in crate::backend) fn failed(&mut self, error: ConnectError) -> bool {
        let goes_on = !is_final(error.kind());
        self.failures.push(error);
        goes_on
    }

    /// Returns the error of the whole attempt, which names the failure of each address.
    ///
    /// Its kind is that of the refusal that ended the attempt. Otherwise it is that of a server
    /// which is there, and if none is, that of the last address.
    pub(in crate::backend) fn error(self) -> ConnectError {
        let messages: Vec<_> = self.failures.iter().map(ConnectError::message).collect();
        let message = messages.join("; ");
        let last = self.failures.last();
        let decides = match last {
            Some(last) if is_final(last.kind()) => Some(last),
            last => {
                let mut failures = self.failures.iter();
                failures.find(|error| !error.is_absence()).or(last)
            }
        };
        match decides {
            Some(error) => {
                ConnectError::new(error.kind(), message, error.code().map(str::to_owned))
            }
            None => ConnectError::new(ConnectErrorKind::Other, "no address was tried", None),
        }
    }
}

fn is_final(kind: ConnectErrorKind) -> bool {
    matches!(
        kind,
        ConnectErrorKind::Authentication
            | ConnectErrorKind::Database
            | ConnectErrorKind::Configuration
    )
}

fn late(what: &str, time: Duration) -> ConnectError {
    let message = format!("{what} within {:?}", shown(time));
    ConnectError::new(ConnectErrorKind::TimedOut, message, None)
}

/// Rounds a time up to tenths of a second, from about a second on: a turn ends a little before its limit.
fn shown(time: Duration) -> Duration {
    match time.as_millis() as u64 {
        millis @ 901.. => Duration::from_millis(millis.div_ceil(100) * 100),
        millis => Duration::from_millis(millis),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    async fn hang(turns: &Turns, left: usize) -> Duration {
        let start = Instant::now();
        let hangs = pending::<Result<(), ConnectError>>();
        let error = turns.take(left, hangs).await.unwrap_err();
        let took = start.elapsed();
        let expected = format!("no connection within {took:?}");
        assert_eq!(
            (error.kind(), error.message()),
            (ConnectErrorKind::TimedOut, &*expected)
        );
        took
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_is_divided_and_what_is_left_over_goes_to_the_next() {
        let turns = Turns::new(Duration::from_secs(12), None);
        assert_eq!(hang(&turns, 3).await, Duration::from_secs(4));
        let quick = turns.take(2, async { Ok(()) }).await;
        assert!(quick.is_ok());
        assert_eq!(hang(&turns, 1).await, Duration::from_secs(8));
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_is_never_longer_than_the_url_says_nor_than_its_share() {
        for (longest, took) in [(2, 2), (60, 6)] {
            let longest = Some(Duration::from_secs(longest));
            let turns = Turns::new(Duration::from_secs(12), longest);
            assert_eq!(hang(&turns, 2).await, Duration::from_secs(took));
        }
    }

    #[test]
    fn a_time_is_shown_as_the_timeout_that_it_comes_from() {
        for (micros, is) in [
            (9_949_900, 10_000),
            (2_474_900, 2_500),
            (949_900, 1000),
            (400_000, 400),
        ] {
            let (time, is) = (Duration::from_micros(micros), Duration::from_millis(is));
            assert_eq!(shown(time), is);
        }
    }

    #[test]
    fn the_error_names_each_address_and_its_kind_is_the_most_telling() {
        use ConnectErrorKind::{
            Authentication, Other, Starting, TimedOut, TooManyConnections, Unreachable,
        };
        for (kinds, kind) in [
            (&[TimedOut, Unreachable][..], Unreachable),
            (&[Unreachable, TimedOut], TimedOut),
            (&[TooManyConnections, Starting], TooManyConnections),
            (&[Other, Authentication], Authentication),
            (&[], Other),
        ] {
            let mut turns = Turns::new(Duration::ZERO, None);
            for kind in kinds {
                let code = Some(format!("code of {kind}"));
                let goes_on = turns.failed(ConnectError::new(*kind, kind.as_str(), code));
                assert_eq!(goes_on, *kind != Authentication);
            }
            let error = turns.error();
            assert_eq!(error.kind(), kind);
            if let [first, second] = kinds {
                assert_eq!(error.message(), format!("{first}; {second}"));
                assert_eq!(error.code(), Some(&*format!("code of {kind}")));
            }
        }
    }
}
