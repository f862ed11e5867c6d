//! Who is shown what.

use std::fmt;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::request::Parts;

use crate::report::RouteSettings;

/// The app's own check of a request.
type Check = Arc<dyn Fn(&Parts) -> bool + Send + Sync>;

/// What a monitor asks of a request, and what it shows.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) settings: RouteSettings,
    pub(super) check: Option<Check>,
}

/// Why a request is shown nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    /// It does not carry the token.
    Unauthorized,
    /// The app's own check said no.
    Forbidden,
}

impl Access {
    pub(super) fn new(settings: RouteSettings) -> Self {
        Self {
            settings,
            check: None,
        }
    }

    /// Whether the request may see reports. Where both a token and a check are asked for it has to
    /// pass both, so that neither opens what the other one closes.
    pub(super) fn admit(&self, request: &Parts) -> Result<(), Denied> {
        if let Some(token) = &self.settings.token
            && !bearer(request).is_some_and(|candidate| token.is(candidate))
        {
            return Err(Denied::Unauthorized);
        }
        match &self.check {
            Some(check) if !check(request) => Err(Denied::Forbidden),
            _ => Ok(()),
        }
    }

    /// Whether those whom it admits are known to be the app's own people.
    pub(super) fn is_restricted(&self) -> bool {
        self.settings.token.is_some() || self.check.is_some()
    }
}

/// The token that the request carries, if it carries one and nothing else.
fn bearer(request: &Parts) -> Option<&[u8]> {
    let mut lines = request.headers.get_all(AUTHORIZATION).iter();
    let line = lines.next().filter(|_| lines.next().is_none())?;
    let (scheme, token) = line.as_bytes().split_at_checked("Bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then(|| token.trim_ascii())
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("settings", &self.settings)
            .field("check", &self.check.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};

    use super::*;

    const TOKEN: &str = "mW9xJ4cQ7tRb2VzK";

    fn locked() -> Access {
        Access::new(RouteSettings {
            token: Some(TOKEN.into()),
            ..RouteSettings::default()
        })
    }

    fn request(authorizations: &[&[u8]]) -> Parts {
        let (mut parts, ()) = Request::new(()).into_parts();
        for authorization in authorizations {
            let value = HeaderValue::from_bytes(authorization).unwrap();
            parts.headers.append(AUTHORIZATION, value);
        }
        parts
    }

    #[test]
    fn the_token_opens_and_nothing_else_does() {
        for line in [
            "Bearer mW9xJ4cQ7tRb2VzK",
            "bearer  mW9xJ4cQ7tRb2VzK",
            "BEARER mW9xJ4cQ7tRb2VzK ",
        ] {
            let request = request(&[line.as_bytes()]);
            assert_eq!(locked().admit(&request), Ok(()), "{line}");
        }
        for line in [
            &b""[..],
            b"Bearer",
            b"Bearer ",
            b"Bearer mW9xJ4cQ7tRb2Vz",
            b"Bearer mW9xJ4cQ7tRb2VzKK",
            b"Bearer mw9xj4cq7trb2vzk",
            b"mW9xJ4cQ7tRb2VzK",
            b"BearermW9xJ4cQ7tRb2VzK",
            b"Basic mW9xJ4cQ7tRb2VzK",
            b"Bearer \xFF\xFE",
        ] {
            let denied = locked().admit(&request(&[line]));
            assert_eq!(denied, Err(Denied::Unauthorized), "{line:?}");
        }
        let right = &b"Bearer mW9xJ4cQ7tRb2VzK"[..];
        for lines in [&[][..], &[right, right], &[right, b"Basic x"]] {
            let denied = locked().admit(&request(lines));
            assert_eq!(denied, Err(Denied::Unauthorized), "{lines:?}");
        }
    }

    #[test]
    fn with_a_token_and_a_check_both_are_asked_for() {
        let mut access = locked();
        access.check = Some(Arc::new(|parts| parts.headers.contains_key("x-admin")));
        let mut both = request(&[b"Bearer mW9xJ4cQ7tRb2VzK"]);
        assert_eq!(access.admit(&both), Err(Denied::Forbidden));
        both.headers
            .insert("x-admin", HeaderValue::from_static("1"));
        assert_eq!(access.admit(&both), Ok(()));
        both.headers.remove(AUTHORIZATION);
        assert_eq!(access.admit(&both), Err(Denied::Unauthorized));
    }

    #[test]
    fn it_does_not_show_its_token() {
        let shown = format!("{:?}", locked());
        assert!(!shown.contains(TOKEN), "{shown}");
    }
}
