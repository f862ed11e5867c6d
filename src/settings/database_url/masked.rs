//! Masks the password and the parameter values of a URL, so that it can be shown.

use super::form::Form;
use super::parts::{Parts, is_plain_key, split_before, split_query, wrong_port};
use crate::settings::secret::HIDDEN;

/// Returns the URL without its secrets.
pub(super) fn masked(url: &str) -> String {
    match Form::of(url) {
        Form::Server { scheme, rest, .. } => format!("{scheme}://{}", masked_server(rest)),
        Form::Sqlite { prefix, rest } => format!("{prefix}{}", masked_file(rest)),
        Form::Unknown { .. } if url.is_empty() => String::new(),
        Form::Unknown {
            scheme: Some(scheme),
        } => format!("{scheme}://{HIDDEN}"),
        Form::Unknown { scheme: None } => HIDDEN.to_owned(),
    }
}

fn masked_server(rest: &str) -> String {
    let parts = Parts::of(rest);
    if !parts.is_clear() {
        return HIDDEN.to_owned();
    }
    let login = match (parts.user, parts.password) {
        (Some(user), Some(_)) => format!("{user}:{HIDDEN}@"),
        (Some(user), None) => format!("{user}@"),
        (None, _) => String::new(),
    };
    let (hosts, path) = split_before(parts.place, &['/', '?', '#']);
    let hosts: Vec<_> = hosts.split(',').map(masked_host).collect();
    let rest = masked_path(path, parts.query);
    format!("{login}{}{rest}", hosts.join(","))
}

fn masked_host(host: &str) -> String {
    match wrong_port(host) {
        Some(at) => format!("{}{HIDDEN}", &host[..at]),
        None => host.to_owned(),
    }
}

fn masked_file(rest: &str) -> String {
    let (path, query) = split_query(rest);
    match path.split_once(':') {
        // A file has no `user:password@`.
        Some((_, after)) if after.contains('@') => HIDDEN.to_owned(),
        _ => masked_path(path, query),
    }
}

/// Hides what follows the path and is not certainly a query.
fn masked_path(path: &str, query: Option<&str>) -> String {
    let (path, stray) = split_before(path, &['?', '#']);
    let stray = if stray.is_empty() { "" } else { HIDDEN };
    let query = query.map(masked_query).unwrap_or_default();
    format!("{path}{stray}{query}")
}

fn masked_query(query: &str) -> String {
    let pairs: Vec<_> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((key, _)) if is_plain_key(key) => format!("{key}={HIDDEN}"),
            _ => HIDDEN.to_owned(),
        })
        .collect();
    format!("?{}", pairs.join("&"))
}

#[cfg(test)]
mod tests {
    use super::super::DatabaseUrl;
    use super::*;

    #[test]
    fn the_parts_that_are_not_secret_are_shown() {
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
}
