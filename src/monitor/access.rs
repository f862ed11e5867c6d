//! Access control: decides which requests may see reports.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::request::Parts;

use super::response::ErrorResponse;
use crate::settings::Settings;

/// A check of a request by the app.
type Check = Arc<dyn Fn(&Parts) -> bool + Send + Sync>;

/// What a monitor requires of a request, and what it shows.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) settings: Arc<Settings>,
    pub(super) check: Option<Check>,
    /// Whether browsers get the page.
    pub(super) page: bool,
}

impl Access {
    /// Checks whether the request may see reports. If both a token and a check are set, the request
    /// must pass both, so that neither opens what the other closes.
    pub(super) fn admit(&self, request: &Parts) -> Result<(), ErrorResponse> {
        if let Some(token) = &self.settings.monitor_token
            && !bearer(request).is_some_and(|candidate| token.is(candidate))
        {
            return Err(ErrorResponse::Unauthorized);
        }
        self.admit_without_token(request)
    }

    /// Checks whether the request may see what needs no token.
    pub(super) fn admit_without_token(&self, request: &Parts) -> Result<(), ErrorResponse> {
        match &self.check {
            Some(check) if !check(request) => Err(ErrorResponse::Forbidden),
            _ => Ok(()),
        }
    }
}

/// Returns the request's bearer token. `None` unless the request has exactly one `Authorization`
/// header, with the scheme `Bearer`.
fn bearer(request: &Parts) -> Option<&[u8]> {
    let mut lines = request.headers.get_all(AUTHORIZATION).iter();
    let line = lines.next().filter(|_| lines.next().is_none())?;
    let (scheme, token) = line.as_bytes().split_at_checked("Bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};

    use super::*;

    const TOKEN: &str = "mW9xJ4cQ7tRb2VzK";

    fn locked() -> Access {
        let mut settings = Settings::new("");
        settings.monitor_token = Some(TOKEN.into());
        Access {
            settings: Arc::new(settings),
            check: None,
            page: true,
        }
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
    fn only_the_token_is_admitted() {
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
            assert_eq!(denied, Err(ErrorResponse::Unauthorized), "{line:?}");
        }
        let right = &b"Bearer mW9xJ4cQ7tRb2VzK"[..];
        for lines in [&[][..], &[right, right], &[right, b"Basic x"]] {
            let denied = locked().admit(&request(lines));
            assert_eq!(denied, Err(ErrorResponse::Unauthorized), "{lines:?}");
        }
    }

    #[test]
    fn a_token_and_a_check_are_both_required() {
        let mut access = locked();
        access.check = Some(Arc::new(|parts| parts.headers.contains_key("x-admin")));
        let mut both = request(&[b"Bearer mW9xJ4cQ7tRb2VzK"]);
        assert_eq!(access.admit(&both), Err(ErrorResponse::Forbidden));
        both.headers
            .insert("x-admin", HeaderValue::from_static("1"));
        assert_eq!(access.admit(&both), Ok(()));
        both.headers.remove(AUTHORIZATION);
        assert_eq!(access.admit(&both), Err(ErrorResponse::Unauthorized));
    }
}
