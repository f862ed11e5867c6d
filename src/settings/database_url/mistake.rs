//! Finds mistakes in a URL that can be detected without connecting.

use super::form::{Form, split_scheme};
use super::pieces::split_before;
use super::{DatabaseKind, DatabaseUrl};
use crate::settings::Problem;
use crate::settings::suggest::nearest;

pub(in crate::settings) const EXPECTED: &str =
    "a URL that starts with postgres://, mysql:// or sqlite://, or the path of a SQLite file";

impl DatabaseUrl {
    /// Returns what is expected instead of the first mistake found, and how to fix it; `None` if the
    /// URL can be used.
    pub(in crate::settings) fn mistake(&self) -> Option<(&'static str, Option<String>)> {
        if self.0.contains(char::is_control) {
            let hint = "the URL contains a line break or another control character";
            return Some(("a URL on one line", Some(hint.to_owned())));
        }
        let (expected, hint) = match Form::of(&self.0) {
            Form::Unknown { scheme } => return Some((EXPECTED, hint(&self.0, scheme))),
            Form::Server { rest: "", .. } => ("a host after ://", "for example localhost:5432/app"),
            Form::Server {
                kind: DatabaseKind::Postgres,
                rest,
                ..
            } if has_stray_at(rest) => (
                "one @ before the host",
                "write each @ in the user or password as %40",
            ),
            // SQLAlchemy's spelling for in-memory databases; here it is a file in the root directory.
            Form::Sqlite { rest, .. } if rest.starts_with('/') && is_memory(rest) => (
                "a file, or sqlite://:memory: for an in-memory database",
                "remove the third slash",
            ),
            _ => return None,
        };
        Some((expected, Some(hint.to_owned())))
    }

    /// Returns the problem to report under `name`. It shows no secret.
    pub(in crate::settings) fn problem(&self, name: String) -> Problem {
        let (expected, hint) = self.mistake().unwrap_or((EXPECTED, None));
        Problem::wrong(name, &self.to_string(), expected.to_owned()).with_hint(hint)
    }
}

/// Returns whether an `@` follows the login. The Postgres driver ends the login at the first `@`
/// and would resolve the rest as a host.
fn has_stray_at(rest: &str) -> bool {
    let place = rest.split_once('@').map_or("", |(_, place)| place);
    split_before(place, &['/', '?', '#']).0.contains('@')
}

fn is_memory(rest: &str) -> bool {
    split_before(rest, &['?', '#']).0.trim_start_matches('/') == ":memory:"
}

fn hint(url: &str, scheme: Option<&str>) -> Option<String> {
    const SCHEMES: [&str; 4] = ["postgres", "postgresql", "mysql", "sqlite"];

    if url.starts_with(['"', '\'']) {
        return Some("the quotes are part of the value: remove them".to_owned());
    }
    if let Some(("jdbc", _)) = split_scheme(url) {
        return Some("remove jdbc:, and put user and password before the host".to_owned());
    }
    if ["host=", "dbname=", "user="]
        .iter()
        .any(|key| url.contains(key))
        && scheme.is_none()
    {
        return Some("write it as postgres://user:password@host:5432/database".to_owned());
    }
    let scheme = scheme?.to_ascii_lowercase();
    if let Some((database, _)) = scheme.split_once('+') {
        return SCHEMES
            .contains(&database)
            .then(|| format!("the driver after the + is SQLAlchemy's: write {database}://"));
    }
    nearest(&scheme, SCHEMES.into_iter()).map(|known| format!("did you mean {known}://?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(url: &str) -> Option<String> {
        let url = DatabaseUrl::from(url);
        url.mistake()?;
        Some(url.problem("DATABASE_URL".to_owned()).to_string())
    }

    #[test]
    fn a_usable_url_has_no_mistake() {
        for url in [
            "postgres://app:p%40w@db:5432/shop?application_name=a@b",
            "postgres://app:p/w@db",
            "postgresql:///shop?host=/run/postgresql",
            "mysql://app:p@w@db/shop",
            "sqlite://app.db",
            ":memory:",
            "app.db",
        ] {
            assert_eq!(message(url), None, "{url}");
        }
    }

    #[test]
    fn a_mistake_has_a_hint() {
        for (url, hint) in [
            ("postgresql+asyncpg://a:hunter2@db", "write postgresql://"),
            ("mysql+pymysql://a:hunter2@db", "write mysql://"),
            ("postgre://a:hunter2@db", "did you mean postgres://?"),
            (
                "'postgres://a:hunter2@db'",
                "the quotes are part of the value",
            ),
            ("jdbc:postgresql://db?password=hunter2", "remove jdbc:"),
            ("postgres://a:hunter2@x@db/shop", "as %40"),
            ("postgres://a:hunter2@db\nother", "line break"),
            ("host=db password=hunter2", "write it as postgres://"),
            ("postgres://", "for example localhost"),
            ("sqlite:///:memory:", "remove the third slash"),
            ("sqlite:///:memory:?cache=shared", "sqlite://:memory:"),
        ] {
            let message = message(url).unwrap();
            assert!(message.contains(hint), "{message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn a_text_that_is_not_a_url_is_hidden() {
        for url in ["hunter2", "a:hunter2@db/shop", "hunter2@db"] {
            assert_eq!(
                message(url).unwrap(),
                format!("DATABASE_URL=\"***\": expected {EXPECTED}")
            );
        }
        assert!(
            message("redis://a:hunter2@db")
                .unwrap()
                .starts_with("DATABASE_URL=\"redis://***\"")
        );
        assert!(message("redis+x://a:hunter2@db").is_some());
    }
}
