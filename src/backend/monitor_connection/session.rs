//! The session of the monitoring connection: opened, asked, kept and closed.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, Either, select};
use tokio::time::{Instant, sleep_until, timeout};

use super::{Known, MonitorConnection, MonitorSession};
use crate::backend::{ConnectError, ConnectErrorKind};

/// The time limit of one request, unless the network is slow. To open the connection may take as long as
/// for any other connection of the pool.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);
/// The time limit of one request at most, however slow the network is.
const LONGEST: Duration = Duration::from_secs(10);
/// The connection is closed after this time without use.
const IDLE: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Idle {
    session: Option<OpenSession>,
    last_used: Option<Instant>,
    closer: bool,
}

struct OpenSession {
    session: Box<dyn MonitorSession>,
    /// The time limit of one request. The time that it took to connect shows how slow the network is.
    limit: Duration,
}

impl MonitorConnection {
    pub(super) async fn question<T>(
        self: &Arc<Self>,
        question: for<'a> fn(&'a mut dyn MonitorSession) -> BoxFuture<'a, Result<T, ConnectError>>,
    ) -> Result<T, ConnectError> {
        let mut idle = self.connection.lock().await;
        // The session is taken out while in use, so that a request cut off by the timeout drops its
        // connection.
        if let Some(open) = idle.session.take() {
            match self.asked(&mut idle, open, question).await? {
                // The connection is lost. The server may be up again, so open a new one.
                Err(error) if error.is_absence() => {}
                answer => return answer,
            }
        }
        if *self.closed.borrow() {
            return Err(ConnectError::pool_closed());
        }
        let open = self.opened().await?;
        self.asked(&mut idle, open, question).await?
    }

    /// Sends a request over an open connection, and keeps the connection unless it is lost.
    ///
    /// # Errors
    /// Returns an error if the server does not answer in time.
    async fn asked<T>(
        self: &Arc<Self>,
        idle: &mut Idle,
        mut open: OpenSession,
        question: for<'a> fn(&'a mut dyn MonitorSession) -> BoxFuture<'a, Result<T, ConnectError>>,
    ) -> Result<Result<T, ConnectError>, ConnectError> {
        let limit = open.limit;
        let answer = match timeout(limit, question(&mut *open.session)).await {
            Ok(answer) => answer,
            Err(_) => {
                let late = format!("the database did not answer within {limit:.1?}");
                return Err(ConnectError::new(ConnectErrorKind::TimedOut, late, None));
            }
        };
        if !answer.as_ref().is_err_and(ConnectError::is_absence) {
            *self.known() = Known {
                answered: Some(Instant::now()),
                failed: None,
            };
            self.keep(idle, open);
        }
        Ok(answer)
    }

    /// Opens the connection.
    async fn opened(&self) -> Result<OpenSession, ConnectError> {
        let open = async || {
            let began = Instant::now();
            let session = (self.open)().await?;
            let limit = (began.elapsed() * 2).clamp(TIMEOUT, LONGEST);
            Ok(OpenSession { session, limit })
        };
        let mut first = pin!(open());
        if let Ok(opened) = timeout(TIMEOUT, first.as_mut()).await {
            return opened;
        }
        loop {
            // The first attempt may use its whole time limit, because the network may only be slow. A
            // younger one gets through where it waits for a lost packet.
            match select(first.as_mut(), pin!(timeout(TIMEOUT, open()))).await {
                Either::Left((opened, _)) | Either::Right((Ok(opened), _)) => return opened,
                Either::Right((Err(_), _)) => {}
            }
        }
    }

    fn keep(self: &Arc<Self>, idle: &mut Idle, session: OpenSession) {
        idle.session = Some(session);
        idle.last_used = Some(Instant::now());
        if !std::mem::replace(&mut idle.closer, true) {
            let monitor = Arc::downgrade(self);
            tokio::spawn(async move {
                let mut until = Instant::now() + IDLE;
                loop {
                    sleep_until(until).await;
                    let Some(monitor) = monitor.upgrade() else {
                        return;
                    };
                    let mut idle = monitor.connection.lock().await;
                    match idle.last_used {
                        Some(used) if used.elapsed() < IDLE => until = used + IDLE,
                        _ => {
                            *idle = Idle::default();
                            return;
                        }
                    }
                }
            });
        }
    }
}
