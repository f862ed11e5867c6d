//! Detects SQLite in-memory databases that connections cannot share.

use percent_encoding::percent_decode_str;

use super::DatabaseUrl;
use super::form::Form;

impl DatabaseUrl {
    /// Returns whether each connection would open a database of its own, which is lost when the
    /// connection is closed.
    pub(crate) fn is_private_in_memory(&self) -> bool {
        let Form::Sqlite { prefix, rest } = Form::of(&self.0) else {
            return false;
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = path.split('#').next().unwrap_or_default();
        let path = percent_decode_str(path).decode_utf8_lossy();
        let parameter = |name: &str| {
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .rfind(|(key, _)| *key == name)
                .map(|(_, value)| value)
        };
        // An empty name is a temporary database, which SQLite never shares.
        let unnamed = path.is_empty() || (prefix == "file:" && path == "//");
        let in_memory = path == ":memory:" || parameter("mode") == Some("memory");
        unnamed || (in_memory && parameter("cache") != Some("shared"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_databases_differ_from_shared_ones_and_from_files() {
        for url in [
            ":memory:",
            ":memory:?cache=private",
            "sqlite::memory:",
            "sqlite://:memory:",
            "sqlite://%3Amemory%3A",
            "file::memory:",
            "sqlite:",
            "sqlite://",
            "sqlite://?mode=rwc",
            "file:",
            "file://",
            "file:?cache=shared",
            "file:test?mode=memory",
            "sqlite://test?mode=memory&cache=private",
            "file:test?cache=shared&cache=private&mode=memory",
        ] {
            assert!(DatabaseUrl::from(url).is_private_in_memory(), "{url}");
        }
        for url in [
            "file:test?mode=memory&cache=shared",
            "sqlite://test?mode=memory&cache=shared",
            "file::memory:?cache=shared",
            ":memory:?cache=shared",
            "sqlite://app.db",
            "sqlite:///var/app.db?mode=ro",
            "app.db",
            "./:memory:.db",
            "postgres://db/:memory:",
            "mysql://db",
            "",
        ] {
            assert!(!DatabaseUrl::from(url).is_private_in_memory(), "{url}");
        }
    }
}
