//! Recognizes the form of a URL.

use super::DatabaseKind;

/// The form of a URL, with its parts.
pub(super) enum Form<'a> {
    /// `postgres://` or `mysql://`, and the rest of the URL.
    Server { kind: DatabaseKind, rest: &'a str },
    /// `sqlite://`, `sqlite:`, `file:` or no prefix, and the rest of the URL.
    Sqlite { prefix: &'a str, rest: &'a str },
    /// None of these forms. `scheme` is the text before `://`; `None` if there is no `://`.
    Unknown { scheme: Option<&'a str> },
}

impl<'a> Form<'a> {
    /// Returns the form of a normalised URL.
    pub(super) fn of(url: &'a str) -> Self {
        if let Some((scheme, after)) = split_scheme(url) {
            return match (scheme, after.strip_prefix("//")) {
                ("postgres" | "postgresql", Some(rest)) => Self::Server {
                    kind: DatabaseKind::Postgres,
                    rest,
                },
                ("mysql", Some(rest)) => Self::Server {
                    kind: DatabaseKind::Mysql,
                    rest,
                },
                // `file:` URLs are passed to SQLite unchanged, so their `//` stays in the path.
                ("sqlite", Some(rest)) => Self::Sqlite {
                    prefix: "sqlite://",
                    rest,
                },
                ("sqlite" | "file", _) => Self::Sqlite {
                    prefix: &url[..=scheme.len()],
                    rest: after,
                },
                (_, Some(_)) => Self::Unknown {
                    scheme: Some(scheme),
                },
                (_, None) => Self::Unknown { scheme: None },
            };
        }
        if is_path(url) {
            return Self::Sqlite {
                prefix: "",
                rest: url,
            };
        }
        Self::Unknown { scheme: None }
    }
}

/// Trims the text, lowercases the scheme, and replaces `mariadb` by `mysql`, because the drivers
/// compare schemes exactly and accept no other name.
pub(super) fn normalise(text: &str) -> String {
    let text = text.trim();
    let Some((scheme, after)) = split_scheme(text) else {
        return text.to_owned();
    };
    match scheme.to_ascii_lowercase().as_str() {
        "mariadb" if after.starts_with("//") => format!("mysql:{after}"),
        scheme => format!("{scheme}:{after}"),
    }
}

/// Returns the scheme and the text after its colon. A single letter is a Windows drive, not a
/// scheme.
pub(super) fn split_scheme(url: &str) -> Option<(&str, &str)> {
    let (scheme, after) = url.split_once(':')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    let is_scheme = scheme.len() > 1
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(plain);
    is_scheme.then_some((scheme, after))
}

/// Returns whether the text is a bare path to a SQLite file.
///
/// Texts with `:`, `@` or `=` are not paths: `user:password@host/db` without its scheme also has a
/// slash, and a path is shown in full.
fn is_path(text: &str) -> bool {
    if let Some(after) = text.strip_prefix(":memory:") {
        return after.is_empty() || after.starts_with('?');
    }
    let (path, _) = text.split_once('?').unwrap_or((text, ""));
    let without_drive = match path.as_bytes() {
        [drive, b':', b'/' | b'\\', ..] if drive.is_ascii_alphabetic() => &path[2..],
        _ => path,
    };
    let ends = [".db", ".sqlite", ".sqlite3"];
    !without_drive.contains([':', '@', '='])
        && (path.contains(['/', '\\']) || ends.iter().any(|end| path.ends_with(end)))
}
