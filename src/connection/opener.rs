//! Opens one connection: asks for credentials, connects and runs the app's set-up within a time limit.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{sleep, timeout};

use super::hooks::Hooks;
use crate::backend::{
    Backend, ConnectError, ConnectErrorKind, Credentials, CredentialsProvider, Dial, Dialed,
    from_query,
};
use crate::query::SetUpInstrumentation;
use crate::settings::DatabaseUrl;

/// Returns how long a backend may take if a connection attempt may take `limit`: a little less, so
/// that its error comes first. It names each address and why it failed.
pub(crate) fn limit_of_backend(limit: Duration) -> Duration {
    limit - (limit / 100).min(Duration::from_millis(50))
}

/// How often, and how far apart, the provider is asked for other credentials than those that the server
/// has just rejected, because they are just being rotated.
const ASKED_AGAIN: u32 = 5;
const APART: Duration = Duration::from_millis(100);

/// Set while an attempt asks for credentials, with the reason for which the server rejected others.
#[derive(Default)]
struct ProviderCall(Mutex<Option<Option<ConnectError>>>);

impl ProviderCall {
    fn set(&self, now: Option<Option<ConnectError>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    fn into_inner(self) -> Option<Option<ConnectError>> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the pool's connections and dedicated connections.
pub(crate) struct Opener<C> {
    dial: Arc<dyn Dial<C>>,
    credentials: Option<CredentialsProvider>,
    hooks: Hooks<C>,
    limit: Duration,
    /// Contains the secrets that are redacted from the driver's error messages.
    url: DatabaseUrl,
}

impl<C: Backend> Opener<C> {
    pub(crate) fn new(
        dial: Arc<dyn Dial<C>>,
        credentials: Option<CredentialsProvider>,
        hooks: Hooks<C>,
        limit: Duration,
        url: DatabaseUrl,
    ) -> Self {
        Self {
            dial,
            credentials,
            hooks,
            limit,
            url,
        }
    }

    pub(super) fn dial(&self) -> &Arc<dyn Dial<C>> {
        &self.dial
    }

    pub(super) fn hooks(&self) -> &Hooks<C> {
        &self.hooks
    }

    /// Removes the secrets of the database URL from an error.
    pub(super) fn redacted(&self, error: ConnectError) -> ConnectError {
        error.redacted(&self.url)
    }

    /// Opens one connection. A panic in the app's set-up becomes an error; otherwise bb8 would never
    /// count the connection attempt as finished.
    ///
    /// If `twice`, a login that the server rejects is repeated once with newer credentials, if the
    /// provider has any.
    pub(super) async fn open(&self, twice: bool) -> Result<Dialed<C>, ConnectError> {
        self.open_and_watch(twice, true).await
    }

    /// Opens one connection that the pool does not watch.
    pub(super) async fn open_dedicated(&self, twice: bool) -> Result<C, ConnectError> {
        let dialed = self.open_and_watch(twice, false).await?;
        Ok(dialed.connection)
    }

    async fn open_and_watch(&self, twice: bool, watch: bool) -> Result<Dialed<C>, ConnectError> {
        let error = |kind, message: String| Err(ConnectError::new(kind, message, None));
        let call = ProviderCall::default();
        let opening = AssertUnwindSafe(self.log_in(&call, twice, watch)).catch_unwind();
        let limited = timeout(self.limit, opening).await;
        let opened = match (limited, call.into_inner()) {
            (Ok(Ok(opened)), _) => opened,
            (_, Some(Some(rejected))) => Err(rejected),
            (Ok(Err(_)), Some(None)) => error(
                ConnectErrorKind::Authentication,
                "the credentials provider panicked".to_owned(),
            ),
            (Ok(Err(_)), None) => error(
                ConnectErrorKind::Other,
                "setting up the connection panicked".to_owned(),
            ),
            (Err(_), Some(None)) => error(
                ConnectErrorKind::Authentication,
                format!(
                    "the credentials provider did not answer within {:?}",
                    self.limit
                ),
            ),
            (Err(_), None) => Err(ConnectError::no_connection_within(self.limit)),
        };
        opened.map_err(|error| self.redacted(error))
    }

    /// Opens one connection with the provider's credentials, if there is a provider.
    async fn log_in(
        &self,
        call: &ProviderCall,
        twice: bool,
        watch: bool,
    ) -> Result<Dialed<C>, ConnectError> {
        let Some(provider) = &self.credentials else {
            return self.set_up(None, watch).await;
        };
        call.set(Some(None));
        let used = provider.ask().await?;
        call.set(None);
        let rejected = match self.set_up(Some(&used), watch).await {
            Err(error) if twice && error.kind() == ConnectErrorKind::Authentication => error,
            result => return result,
        };
        call.set(Some(Some(rejected.clone())));
        for _ in 0..ASKED_AGAIN {
            match provider.ask().await {
                Ok(newer) if newer != used => {
                    call.set(None);
                    return self.set_up(Some(&newer), watch).await;
                }
                _ => sleep(APART).await,
            }
        }
        Err(rejected)
    }

    async fn set_up(
        &self,
        credentials: Option<&Credentials>,
        watch: bool,
    ) -> Result<Dialed<C>, ConnectError> {
        let opened = async {
            let mut dialed = self.dial.dial(credentials).await?;
            if let Some(set_up) = &self.hooks.on_connect {
                let (instrumentation, asked) = SetUpInstrumentation::new();
                if watch {
                    dialed.connection.set_instrumentation(instrumentation);
                }
                set_up(&mut dialed.connection)
                    .await
                    .map_err(|error| from_query(&error))?;
                dialed.asked_read_only |= asked.load(Relaxed);
            }
            Ok(dialed)
        };
        opened
            .await
            .map_err(|error: ConnectError| match credentials {
                Some(credentials) => error.without(credentials.password()),
                None => error,
            })
    }
}

impl<C> fmt::Debug for Opener<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}
