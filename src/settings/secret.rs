//! A text that is never printed.

use std::fmt;
use std::sync::Arc;

use subtle::ConstantTimeEq;

/// A secret text, returned only by [`expose`](Self::expose). Cheap to clone.
///
/// ```
/// use poolscope::settings::Secret;
///
/// let token = Secret::from("mW9xJ4cQ7tRb2VzK");
/// assert_eq!(format!("{token:?}"), "***");
/// assert_eq!(token.expose(), "mW9xJ4cQ7tRb2VzK");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

/// The replacement for a secret in messages.
pub(super) const HIDDEN: &str = "***";

impl Secret {
    /// Returns the secret.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns whether `candidate` equals the secret. The time this takes reveals only the length.
    pub(crate) fn is(&self, candidate: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(candidate).into()
    }

    /// Replaces the secret in a text. A secret of fewer than four characters is not replaced, because
    /// it would also match parts of ordinary words; it is too short to be accepted as a token.
    pub(crate) fn redact(&self, text: &str) -> String {
        match self.0.chars().count() {
            0..4 => text.to_owned(),
            _ => text.replace(&*self.0, HIDDEN),
        }
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(Arc::from(text))
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Arc::from(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_compared_exactly() {
        let secret = Secret::from("mW9xJ4cQ7tRb2VzK".to_owned());
        assert!(secret.is(b"mW9xJ4cQ7tRb2VzK"));
        for other in [
            &b""[..],
            b"mW9xJ4cQ7tRb2Vz",
            b"mW9xJ4cQ7tRb2VzK ",
            b"mw9xj4cq7trb2vzk",
            b"\xFF\xFE",
        ] {
            assert!(!secret.is(other), "{other:?}");
        }
    }

    #[test]
    fn a_secret_is_removed_from_a_text() {
        let text = "no, mW9xJ4cQ7tRb2VzK is none";
        assert_eq!(
            Secret::from("mW9xJ4cQ7tRb2VzK").redact(text),
            "no, *** is none"
        );
        assert_eq!(Secret::from("no").redact(text), text);
        assert_eq!(Secret::from("").redact(text), text);
    }
}
