//! Splits a URL into the pieces that may be shown and those that may not.
//!
//! Passwords are often not percent-encoded, and drivers differ in how they then read the URL. So
//! this is not a URL parser: if two readings are possible, it takes the one with the longer
//! password.

use super::form::{Form, split_scheme};

/// A piece of a URL.
pub(super) enum Piece<'a> {
    Shown(&'a str),
    /// A password, or a text that may contain one.
    Secret(&'a str),
    /// The key and the value of a parameter. The value is not shown.
    Parameter(&'a str, &'a str),
}

/// A URL in pieces.
pub(super) struct Split<'a> {
    /// The part that is always shown: the scheme.
    pub(super) prefix: &'a str,
    pub(super) pieces: Vec<Piece<'a>>,
    /// Whether it is uncertain which pieces may be shown.
    pub(super) unclear: bool,
}

impl<'a> Split<'a> {
    pub(super) fn of(url: &'a str) -> Self {
        let mut pieces = Vec::new();
        let (rest, unclear) = match Form::of(url) {
            Form::Server { rest, .. } => (rest, server(rest, &mut pieces)),
            Form::Sqlite { rest, .. } => {
                let (path, query) = split_query(rest);
                let mut after_colon = path.split(':').skip(1);
                // A file has no `user:password@`.
                let login = after_colon.any(|text| text.contains('@'));
                match login {
                    true => _ = server(rest, &mut pieces),
                    false => path_and_query(path, query, &mut pieces),
                }
                (rest, login)
            }
            Form::Unknown { scheme } => {
                let rest = scheme.map_or(url, |scheme| &url[scheme.len() + "://".len()..]);
                let after_colon = split_scheme(url).map_or(url, |(_, after)| after);
                // `postgres:password@host` lacks either the slashes or the scheme.
                for text in [rest, after_colon, url] {
                    server(text, &mut pieces);
                }
                // libpq's `host=... password=...`.
                let pairs = url.split_whitespace().filter_map(|it| it.split_once('='));
                let pairs = pairs.map(|(key, value)| (key, value.trim_matches('\'')));
                pieces.extend(pairs.map(|(key, value)| Piece::Parameter(key, value)));
                (rest, true)
            }
        };
        let prefix = &url[..url.len() - rest.len()];
        Self {
            prefix,
            pieces,
            unclear,
        }
    }
}

/// Splits the text after `postgres://` or `mysql://`. Returns whether the user is unclear: it may be a
/// host and a path before a later `:` and `@`.
fn server<'a>(rest: &'a str, pieces: &mut Vec<Piece<'a>>) -> bool {
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
    pieces.extend(user.map(Piece::Shown));
    if let Some(password) = password {
        pieces.extend([Piece::Shown(":"), Piece::Secret(password)]);
    }
    pieces.extend(login.map(|_| Piece::Shown("@")));
    let (hosts, path) = split_before(place, &['/', '?', '#']);
    for (at, host) in hosts.split(',').enumerate() {
        pieces.extend((at > 0).then_some(Piece::Shown(",")));
        let (host, port) = host.split_at(wrong_port(host).unwrap_or(host.len()));
        pieces.push(Piece::Shown(host));
        pieces.extend((!port.is_empty()).then_some(Piece::Secret(port)));
    }
    path_and_query(path, query, pieces);
    user.is_some_and(|user| user.contains(['/', '?', '#']))
}

fn path_and_query<'a>(path: &'a str, query: Option<&'a str>, pieces: &mut Vec<Piece<'a>>) {
    // What follows the path may be a query, or a part of the password.
    let (path, stray) = split_before(path, &['?', '#']);
    pieces.push(Piece::Shown(path));
    pieces.extend((!stray.is_empty()).then_some(Piece::Secret(stray)));
    let pairs = query.into_iter().flat_map(|query| query.split('&'));
    for (at, pair) in pairs.enumerate() {
        pieces.push(Piece::Shown(if at == 0 { "?" } else { "&" }));
        pieces.push(match pair.split_once('=') {
            Some((key, value)) => Piece::Parameter(key, value),
            None => Piece::Secret(pair),
        });
    }
}

/// Splits off the query if it is certain that it is not part of the password.
fn split_query(rest: &str) -> (&str, Option<&str>) {
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
    let mut pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.all(|pair| pair.split_once('=').is_some_and(|(key, _)| is_plain(key)))
}

/// Returns whether the text is certainly a key, and not part of a password.
fn is_plain(key: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    !key.is_empty() && key.bytes().all(plain)
}

/// Returns the index of a port that is not a number, after the colon that follows the name or the
/// bracketed IPv6 address: if `@host` is missing, the password is in its position.
fn wrong_port(host: &str) -> Option<usize> {
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
