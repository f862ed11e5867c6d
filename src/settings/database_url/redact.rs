//! Removes a URL's secrets from texts of other sources.

use super::DatabaseUrl;
use super::form::{Form, split_scheme};
use super::masked::{HIDDEN, masked};
use super::parts::{Parts, is_port, port_at, split_before};

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

/// Returns the secrets as written in the URL.
fn secrets(url: &str) -> Vec<String> {
    let after_colon = split_scheme(url).map_or(url, |(_, after)| after);
    let rest = after_colon.strip_prefix("//").unwrap_or(after_colon);
    match Form::of(url) {
        Form::KeyValues(pairs) => pairs
            .into_iter()
            .filter(|(key, _)| is_secret(key))
            .map(|(_, value)| value)
            .collect(),
        Form::Sqlite { .. } => in_login_and_query(rest),
        Form::Server { .. } => [in_login_and_query(rest), in_place_of_port(rest)].concat(),
        // `postgres:password@host` lacks either the slashes or the scheme.
        Form::Unknown { .. } => [
            in_login_and_query(rest),
            in_place_of_port(rest),
            in_login_and_query(url),
        ]
        .concat(),
    }
}

fn in_login_and_query(rest: &str) -> Vec<String> {
    let parts = Parts::of(rest);
    let parameters = parts
        .query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .filter_map(|pair| pair.split_once('='))
        .filter(|(key, _)| is_secret(key))
        .map(|(_, value)| value);
    parts
        .password
        .into_iter()
        .chain(parameters)
        .map(str::to_owned)
        .collect()
}

fn in_place_of_port(rest: &str) -> Vec<String> {
    let (hosts, _) = split_before(Parts::of(rest).place, &['/', '?', '#']);
    hosts
        .split(',')
        .filter_map(|host| port_at(host).map(|at| &host[at..]))
        .filter(|port| !is_port(port))
        .map(str::to_owned)
        .collect()
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["pass", "pwd", "secret", "token"]
        .iter()
        .any(|word| key.contains(word))
        || ["key", "hexkey", "textkey"].contains(&key.as_str())
}

/// Returns the spellings of the secrets in other texts, longest first, because one may contain
/// another.
fn spellings(secrets: &[String]) -> Vec<String> {
    // RFC 3986 never encodes the first; URL libraries also leave the second unencoded in a login.
    const UNRESERVED: &str = "-._~";
    const LOGIN: &str = "-._~!$&'()*+,%";

    let mut all: Vec<String> = secrets
        .iter()
        .flat_map(|raw| {
            let decoded = percent_decoded(raw);
            [
                raw.clone(),
                percent_encoded(raw, LOGIN),
                percent_encoded(&decoded, UNRESERVED),
                debugged(&decoded),
                decoded,
            ]
        })
        .filter(|secret| !secret.is_empty())
        .collect();
    all.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    all.dedup();
    all
}

/// Returns the text as `{:?}` writes it within a longer text.
fn debugged(text: &str) -> String {
    let quoted = format!("{text:?}");
    quoted[1..quoted.len() - 1].to_owned()
}

fn percent_encoded(text: &str, plain: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || plain.as_bytes().contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

pub(super) fn percent_decoded(text: &str) -> String {
    let mut bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    while let [first, rest @ ..] = bytes {
        let digit = |at: usize| char::from(*rest.get(at)?).to_digit(16);
        let code = (*first == b'%').then(|| Some(digit(0)? * 16 + digit(1)?));
        if let Some(byte) = code.flatten().and_then(|code| u8::try_from(code).ok()) {
            decoded.push(byte);
            bytes = &rest[2..];
        } else {
            decoded.push(*first);
            bytes = rest;
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
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

    #[test]
    fn percent_codes_are_decoded_and_invalid_ones_kept() {
        assert_eq!(percent_decoded("a%20b%2f%C3%A4"), "a b/ä");
        assert_eq!(percent_decoded("%"), "%");
        assert_eq!(percent_decoded("%4"), "%4");
        assert_eq!(percent_decoded("%zz%+1%é"), "%zz%+1%é");
        assert_eq!(percent_decoded("%FF"), "\u{FFFD}");
    }
}
