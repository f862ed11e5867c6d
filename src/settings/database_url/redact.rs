//! Shows a URL without its secrets, and removes them from texts of other sources.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::DatabaseUrl;
use super::pieces::{Piece, Split};
use crate::settings::secret::HIDDEN;

/// The length in characters below which a password is also part of many ordinary words.
const WORD: usize = 4;

impl DatabaseUrl {
    /// Removes the URL's secrets from a text of another source, such as a driver's error.
    ///
    /// The whole URL becomes its redacted form. The password, as written in the URL or
    /// percent-decoded, becomes `***`. A password of fewer than four characters is replaced only
    /// where it is a word: the password `a` would otherwise turn errors into stars and reveal itself.
    ///
    /// ```
    /// use poolscope::settings::DatabaseUrl;
    ///
    /// let url = DatabaseUrl::from("postgres://app:hunter2@db/shop");
    /// assert_eq!(
    ///     url.redact("postgres://app:hunter2@db/shop: no, hunter2 is wrong"),
    ///     "postgres://app:***@db/shop: no, *** is wrong"
    /// );
    /// ```
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        if !self.0.is_empty() {
            text = text.replace(&self.0, &masked(&self.0));
        }
        for secret in spellings(&secrets(&self.0)) {
            text = if secret.chars().count() < WORD {
                replace_words(&text, &secret)
            } else {
                text.replace(&secret, HIDDEN)
            };
        }
        text
    }
}

/// Returns the URL without its secrets.
pub(super) fn masked(url: &str) -> String {
    let split = Split::of(url);
    let mut shown = split.prefix.to_owned();
    if split.unclear && !url.is_empty() {
        return shown + HIDDEN;
    }
    for piece in split.pieces {
        match piece {
            Piece::Shown(text) => shown.push_str(text),
            Piece::Secret(_) => shown.push_str(HIDDEN),
            Piece::Parameter(key, _) => shown.extend([key, "=", HIDDEN]),
        }
    }
    shown
}

/// Returns the secrets as written in the URL.
fn secrets(url: &str) -> Vec<&str> {
    let secret = |piece| match piece {
        Piece::Secret(secret) => Some(secret),
        Piece::Parameter(key, value) if is_secret(key) => Some(value),
        _ => None,
    };
    Split::of(url)
        .pieces
        .into_iter()
        .filter_map(secret)
        .collect()
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["pass", "pwd", "secret", "token"]
        .iter()
        .any(|word| key.contains(word))
        || ["key", "hexkey", "textkey"].contains(&key.as_str())
}

/// The characters that RFC 3986 encodes.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// The characters that URL libraries encode in a login.
const LOGIN: &AsciiSet = &RESERVED
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b'%');

/// Returns the spellings of the secrets in other texts, longest first, because one may contain
/// another.
fn spellings(secrets: &[&str]) -> Vec<String> {
    let spelled = |raw: &&str| {
        let decoded = percent_decode_str(raw).decode_utf8_lossy();
        [
            (*raw).to_owned(),
            utf8_percent_encode(raw, LOGIN).to_string(),
            utf8_percent_encode(&decoded, RESERVED).to_string(),
            debugged(&decoded),
            decoded.into_owned(),
        ]
    };
    let mut all: Vec<String> = secrets.iter().flat_map(spelled).collect();
    all.retain(|secret| !secret.is_empty());
    all.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    all.dedup();
    all
}

/// Returns the text as `{:?}` writes it within a longer text.
fn debugged(text: &str) -> String {
    let quoted = format!("{text:?}");
    quoted[1..quoted.len() - 1].to_owned()
}

/// Replaces `word` where no letter or digit is next to it.
fn replace_words(text: &str, word: &str) -> String {
    let mut replaced = String::with_capacity(text.len());
    let mut copied = 0;
    for (at, _) in text.match_indices(word) {
        let end = at + word.len();
        let before = text[..at].chars().next_back();
        let after = text[end..].chars().next();
        if !before.into_iter().chain(after).any(char::is_alphanumeric) {
            replaced.push_str(&text[copied..at]);
            replaced.push_str(HIDDEN);
            copied = end;
        }
    }
    replaced.push_str(&text[copied..]);
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_are_not_secret_are_shown() {
        for (url, expected) in [
            (
                "postgres://app:pw@db:5432/shop",
                "postgres://app:***@db:5432/shop",
            ),
            ("postgres://app@db/shop", "postgres://app@db/shop"),
            ("postgres://app:@db", "postgres://app:***@db"),
            (
                "postgres://db/shop?sslmode=require&x",
                "postgres://db/shop***",
            ),
            (
                "postgres://a:pw@h1:1,h2:2,[::1]:3/d",
                "postgres://a:***@h1:1,h2:2,[::1]:3/d",
            ),
            (
                "postgres://a:pw@db/d?user=b@c&k=v",
                "postgres://a:***@db/d?user=***&k=***",
            ),
            ("postgres:///d?host=/run", "postgres:///d?host=***"),
            ("mysql://app:p@s/s?w#d@db/shop", "mysql://app:***@db/shop"),
            ("mysql://app:pw/shop", "mysql://app:***/shop"),
            ("mysql://app:123456/shop", "mysql://app:***/shop"),
            ("mysql://db/x:pw@y", "mysql://***"),
            ("postgres://db/shop#pw", "postgres://db/shop***"),
            ("host=db password='a b' user=app port=1", "***"),
            (
                "sqlite://app.db?key=pw&mode=ro",
                "sqlite://app.db?key=***&mode=***",
            ),
            ("sqlite://:memory:", "sqlite://:memory:"),
            ("sqlite::memory:", "sqlite::memory:"),
            ("sqlite://app:pw@db/shop", "sqlite://***"),
            ("file:///var/app.db", "file:///var/app.db"),
            ("./app.db", "./app.db"),
            ("redis://app:pw@db", "redis://***"),
            ("app:pw@db/shop", "***"),
            ("", ""),
        ] {
            let shown = masked(url);
            assert_eq!(shown, expected);
            // Masking the result again, as in an error that quotes it, changes nothing.
            assert_eq!(DatabaseUrl::from(shown.as_str()).to_string(), shown);
        }
    }

    #[test]
    fn secrets_are_removed_in_every_spelling() {
        let url = DatabaseUrl::from(r#"postgres://app:s%40c"ret\%2Fä@db/shop"#);
        for spelling in [
            r#"s%40c"ret\%2Fä"#,
            r#"s@c"ret\/ä"#,
            r#"s@c\"ret\\/ä"#,
            "s%40c%22ret%5C%2F%C3%A4",
        ] {
            assert_eq!(url.redact(&format!("<{spelling}>")), "<***>");
        }
    }

    #[test]
    fn secrets_are_found_in_every_part_of_the_url() {
        for url in [
            "postgres://app:hunter2@db/shop",
            "postgres://db/shop?user=app&password=hunter2",
            "host=db password=hunter2",
            "mysql://app:hunter2",
            "sqlite://app.db?key=hunter2",
            "sqlite://app:hunter2@db",
            "redis://app:hunter2@db",
            "app:hunter2@db",
        ] {
            let url = DatabaseUrl::from(url);
            assert_eq!(url.redact("no hunter2 here"), "no *** here", "{url:?}");
        }
    }

    #[test]
    fn a_password_that_is_not_encoded_is_removed_completely() {
        for password in [
            "p@w", "p/w", "p?w", "p#w", "p:w", "12?a=b", "p?a=b&c", "@@", "?=",
        ] {
            let url = format!("mysql://app:{password}@db/shop");
            assert_eq!(secrets(&url), [password]);
        }
    }

    #[test]
    fn the_whole_url_becomes_its_redacted_form() {
        let url = DatabaseUrl::from("sqlite://app.db");
        let text = "unable to open sqlite://app.db";
        assert_eq!(url.redact(text), text);
        let url = DatabaseUrl::from("sqlite::memory:");
        assert_eq!(
            url.redact("out of memory: :memory:"),
            "out of memory: :memory:"
        );
        assert_eq!(DatabaseUrl::from("").redact("text"), "text");
    }

    #[test]
    fn a_short_password_is_replaced_only_as_a_word() {
        let url = DatabaseUrl::from("postgres://app:a@db/shop");
        assert_eq!(
            url.redact("a password was refused: \"a\", app:a@db a"),
            "*** password was refused: \"***\", app:***@db ***"
        );
    }
}
