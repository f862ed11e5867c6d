//! Credentials that change while the pool is in use.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{ConnectError, ConnectErrorKind};
use crate::settings::Secret;

/// What one login to the database uses: a password or a token, and the user if it is not that of the
/// URL.
///
/// ```
/// use poolscope::backend::Credentials;
///
/// let credentials = Credentials::new("mW9xJ4cQ7tRb2VzK").with_user("app_2");
/// assert_eq!(credentials.user(), Some("app_2"));
/// assert!(!format!("{credentials:?}").contains("mW9x"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    user: Option<String>,
    password: Secret,
}

impl Credentials {
    /// Creates credentials from a password or a token, for the user of the URL.
    #[must_use]
    pub fn new(password: impl Into<Secret>) -> Self {
        Self {
            user: None,
            password: password.into(),
        }
    }

    /// Sets the user.
    #[must_use]
    pub fn with_user(self, user: impl Into<String>) -> Self {
        Self {
            user: Some(user.into()),
            ..self
        }
    }

    /// Returns the user; `None` if it is that of the URL.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Returns the password or the token.
    #[must_use]
    pub fn password(&self) -> &Secret {
        &self.password
    }
}

type CredentialsFuture = BoxFuture<'static, Result<Credentials, ConnectError>>;

/// The app's function that returns the credentials of the next login.
#[doc(hidden)]
#[derive(Clone)]
pub struct CredentialsProvider(Arc<dyn Fn() -> CredentialsFuture + Send + Sync>);

impl CredentialsProvider {
    pub(crate) fn new<F, R, E>(provider: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<Credentials, E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        Self(Arc::new(move || {
            let asked = provider();
            Box::pin(async move { asked.await.map_err(|error| failed(error.into())) })
        }))
    }

    /// Asks the app for the credentials of the next login.
    pub(crate) async fn ask(&self) -> Result<Credentials, ConnectError> {
        (self.0)().await
    }
}

/// Describes the provider's error. Its text may contain a secret, except in a [`ConnectError`], which
/// must not contain any.
fn failed(error: Box<dyn Error + Send + Sync>) -> ConnectError {
    let mut message = "the credentials provider failed".to_owned();
    if let Some(error) = error.downcast_ref::<ConnectError>() {
        message = format!("{message}: {}", error.message());
    }
    ConnectError::new(ConnectErrorKind::Authentication, message, None)
}

impl fmt::Debug for CredentialsProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialsProvider")
            .finish_non_exhaustive()
    }
}
