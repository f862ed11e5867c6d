//! Parses libpq's connection strings: `host=localhost user=app password='a b'`.

use std::iter::Peekable;
use std::str::CharIndices;

/// Keys of which a connection string has at least one; a path with a `=` usually has none.
const KEYS: [&str; 7] = [
    "host", "hostaddr", "port", "user", "password", "dbname", "service",
];

/// Returns the pairs; `None` if the text is not a connection string.
pub(super) fn parse(text: &str) -> Option<Vec<(&str, String)>> {
    let mut pairs = Vec::new();
    let mut chars = text.char_indices().peekable();
    loop {
        skip_space(&mut chars);
        let Some(&(start, _)) = chars.peek() else {
            break;
        };
        let is_key = |c: char| c.is_ascii_alphanumeric() || c == '_';
        while chars.next_if(|(_, c)| is_key(*c)).is_some() {}
        let end = chars.peek().map_or(text.len(), |(at, _)| *at);
        let key = &text[start..end];
        skip_space(&mut chars);
        chars
            .next_if(|(_, c)| *c == '=')
            .filter(|_| !key.is_empty())?;
        skip_space(&mut chars);
        pairs.push((key, value(&mut chars)?));
    }
    let names_database = pairs.iter().any(|(key, _)| KEYS.contains(key));
    names_database.then_some(pairs)
}

/// Reads one value: a quoted one up to the closing quote, a plain one up to the next space.
fn value(chars: &mut Peekable<CharIndices<'_>>) -> Option<String> {
    let quoted = chars.next_if(|(_, c)| *c == '\'').is_some();
    let mut value = String::new();
    loop {
        match chars.next().map(|(_, c)| c) {
            None if quoted => return None,
            None => return Some(value),
            Some('\'') if quoted => return Some(value),
            Some('\\') => value.push(chars.next()?.1),
            Some(c) if c.is_whitespace() && !quoted => return Some(value),
            Some(c) => value.push(c),
        }
    }
}

fn skip_space(chars: &mut Peekable<CharIndices<'_>>) {
    while chars.next_if(|(_, c)| c.is_whitespace()).is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_with_quotes_and_escapes() {
        let pairs =
            parse(r"host=db  port = 5432 password='a \'b\' \\' user=a\ b options=").unwrap();
        let expected = [
            ("host", "db"),
            ("port", "5432"),
            ("password", r"a 'b' \"),
            ("user", "a b"),
            ("options", ""),
        ];
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| (*k, v.as_str())).collect();
        assert_eq!(pairs, expected);
    }

    #[test]
    fn everything_else_is_no_connection_string() {
        for text in [
            "",
            " ",
            "host",
            "host=db user",
            "=db",
            "host='db",
            "host=db\\",
            "a/b=c",
            "ü=host",
            "color=red",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
