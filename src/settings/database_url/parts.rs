//! Splits the text after `postgres://` or `mysql://` into its parts.
//!
//! Passwords are often not percent-encoded, and drivers differ in how they then read the URL. So
//! this is not a URL parser: if two readings are possible, it takes the one with the longer
//! password.

/// The parts of `user:password@hosts/path?query` that are present.
pub(super) struct Parts<'a> {
    pub(super) user: Option<&'a str>,
    pub(super) password: Option<&'a str>,
    /// Hosts and path, including a text after `?` that is not a query.
    pub(super) place: &'a str,
    pub(super) query: Option<&'a str>,
}

impl<'a> Parts<'a> {
    /// Splits the text after `://`.
    pub(super) fn of(rest: &'a str) -> Self {
        let (before, query) = split_query(rest);
        let (login, place) = match before.rsplit_once('@') {
            Some((login, place)) if login.contains(':') || !login.contains(['/', '?', '#']) => {
                (Some(login), place)
            }
            _ => (None, before),
        };
        let (user, password) = match login.and_then(|login| login.split_once(':')) {
            Some((user, password)) => (Some(user), Some(password)),
            None => (login, None),
        };
        Self {
            user,
            password,
            place,
            query,
        }
    }

    /// Returns whether the user is unambiguous, and not a host and a path before a later `:` and `@`.
    pub(super) fn is_clear(&self) -> bool {
        !self.user.is_some_and(|user| user.contains(['/', '?', '#']))
    }
}

/// Splits off the query if it is certain that it is not part of the password.
pub(super) fn split_query(rest: &str) -> (&str, Option<&str>) {
    match rest.split_once('?') {
        Some((before, query))
            if is_query(query) && (before.contains('@') || !query.contains('@')) =>
        {
            (before, Some(query))
        }
        _ => (rest, None),
    }
}

fn is_query(query: &str) -> bool {
    query.split('&').all(|pair| {
        pair.is_empty()
            || pair
                .split_once('=')
                .is_some_and(|(key, _)| is_plain_key(key))
    })
}

/// Returns whether the text is certainly a key, and not part of a password.
pub(super) fn is_plain_key(key: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    !key.is_empty() && key.bytes().all(plain)
}

/// Returns the index of a port that is not a number, after the colon that follows the name or the
/// bracketed IPv6 address: if `@host` is missing, the password is in its position.
pub(super) fn wrong_port(host: &str) -> Option<usize> {
    let address = match host.starts_with('[') {
        true => host.find(']').unwrap_or(0),
        false => 0,
    };
    let at = address + host[address..].find(':')? + 1;
    let port = &host[at..];
    let is_port = port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    (!is_port).then_some(at)
}

/// Splits the text before the first of `ends`.
pub(super) fn split_before<'a>(text: &'a str, ends: &[char]) -> (&'a str, &'a str) {
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(rest: &str) -> (Option<&str>, Option<&str>, &str, Option<&str>) {
        let parts = Parts::of(rest);
        (parts.user, parts.password, parts.place, parts.query)
    }

    #[test]
    fn a_valid_url_is_split() {
        assert_eq!(
            parts("app:pw@db:5432/shop?a=b&c=d@e"),
            (Some("app"), Some("pw"), "db:5432/shop", Some("a=b&c=d@e"))
        );
        assert_eq!(parts("app@db"), (Some("app"), None, "db", None));
        assert_eq!(parts("db/shop?a=b"), (None, None, "db/shop", Some("a=b")));
        assert_eq!(parts("db/a@b"), (None, None, "db/a@b", None));
        assert_eq!(parts(""), (None, None, "", None));
    }

    #[test]
    fn a_password_that_was_not_encoded_is_taken_whole() {
        for password in [
            "p@w", "p/w", "p?w", "p#w", "p:w", "12?a=b", "p?a=b&c", "@@", "?=",
        ] {
            let url = format!("app:{password}@db/shop");
            assert_eq!(Parts::of(&url).password, Some(password));
        }
    }

    #[test]
    fn an_ambiguous_login_is_not_clear() {
        assert!(!Parts::of("db/x:pw@y").is_clear());
        assert!(Parts::of("app:p/w@y").is_clear());
    }
}
