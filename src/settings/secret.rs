//! A text that is never shown.

use std::fmt;
use std::sync::Arc;

use subtle::ConstantTimeEq;

/// A secret: [`expose`](Self::expose) shows it, and nothing else does. Cheap to clone.
///
/// ```
/// use poolscope::Secret;
///
/// let token = Secret::from("mW9xJ4cQ7tRb2VzK");
/// assert_eq!(format!("{token:?}"), "***");
/// assert_eq!(token.expose(), "mW9xJ4cQ7tRb2VzK");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

/// What stands where a secret would.
pub(super) const HIDDEN: &str = "***";

impl Secret {
    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is this one. How long that takes tells nothing but its length.
    pub(crate) fn is(&self, candidate: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(candidate).into()
    }

    /// Takes it out of a text. One of less than four characters would take ordinary words apart; it
    /// is refused as a token, for being too short.
    pub(super) fn redact(&self, text: &str) -> String {
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
    fn only_the_same_text_is_it() {
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
    fn it_is_taken_out_of_a_text() {
        let text = "no, mW9xJ4cQ7tRb2VzK is none";
        assert_eq!(
            Secret::from("mW9xJ4cQ7tRb2VzK").redact(text),
            "no, *** is none"
        );
        assert_eq!(Secret::from("no").redact(text), text);
        assert_eq!(Secret::from("").redact(text), text);
    }
}
