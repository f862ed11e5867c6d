//! Fuzz tests: generated statements that try to expose the content of their literals.

use proptest::prelude::*;

use super::super::*;
use DatabaseKind::{Mysql, Postgres, Sqlite};

/// A text that the statements contain only in literals and comments.
const SECRET: &str = "5ecreT";

fn dialects() -> impl Strategy<Value = DatabaseKind> {
    prop_oneof![Just(Postgres), Just(Mysql), Just(Sqlite)]
}

/// The content of a literal: the secret, and text that could end the literal too early.
fn contents() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just(SECRET),
        Just("'"),
        Just("''"),
        Just("\""),
        Just("`"),
        Just("\\"),
        Just("\\'"),
        Just("$$"),
        Just("$a$"),
        Just("$"),
        Just("--"),
        Just("/*"),
        Just("*/"),
        Just("\n"),
        Just("#"),
        Just("]"),
        Just(";"),
        Just(" "),
        Just("é"),
        Just(","),
        Just(")"),
        Just("SELECT"),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat() + SECRET)
}

/// A literal in one of the forms of the database.
fn literal(dialect: DatabaseKind) -> impl Strategy<Value = String> {
    (contents(), 0..9_u8).prop_map(move |(text, form)| {
        let doubled = text.replace('\'', "''");
        let escaped = text.replace('\\', "\\\\").replace('\'', "\\'");
        match (dialect, form) {
            (Postgres, 0) => format!("E'{escaped}'"),
            (Postgres, 1) => format!("e'{}'", text.replace('\\', "\\\\").replace('\'', "''")),
            (Postgres, 2) => format!("$a${}$a$", text.replace('$', "")),
            (Postgres, 3) => format!("$${}$$", text.replace('$', "")),
            (Postgres, 4) => format!("U&'{doubled}'"),
            (Postgres, 5) => format!("E'x' -- y\n '{escaped}'"),
            (Postgres, 6) => format!("'x'\n '{doubled}'"),
            (Mysql, 0) => format!("'{escaped}'"),
            (Mysql, 1) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
            (Mysql, 2) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\"\"")),
            (Mysql, 3) => format!("_utf8mb4'{escaped}'"),
            (Mysql, _) => format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''")),
            (_, 7) => format!("N'{doubled}'"),
            (_, 8) => SECRET.to_owned(),
            _ => format!("'{doubled}'"),
        }
    })
}

/// A comment in one of the forms of the database, with the secret in it.
fn comment(dialect: DatabaseKind) -> impl Strategy<Value = String> {
    (contents(), 0..3_u8).prop_map(move |(text, form)| {
        let line = text.replace(['\n', '\r'], "");
        match (dialect, form) {
            (Postgres, 0) => format!("-- {line}\r"),
            (Postgres, 1) => "/*/**/".to_owned() + &text.replace(['*', '/'], "") + "*/",
            (Mysql, 0) => format!("# {line}\n"),
            (_, 1) => format!("-- {line}\n"),
            _ => format!("/* {} */", text.replace(['*', '/'], "")),
        }
    })
}

/// The code between literals.
fn code() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        Just("SELECT"),
        Just("FROM t, \"u\""),
        Just("INSERT INTO t (a) VALUES ("),
        Just("), ("),
        Just("WHERE a IN ("),
        Just(")"),
        Just(","),
        Just("="),
        Just("LIKE"),
        Just("a::int"),
        Just("$1"),
        Just("?"),
        Just(":b"),
        Just("5 - 3"),
        Just("ARRAY[?, ?]"),
        Just(";"),
        Just("WITH x AS ("),
        Just("CREATE TABLE"),
        Just("CALL"),
        Just("UPDATE `t` SET"),
    ]
}

fn statements() -> impl Strategy<Value = (DatabaseKind, String)> {
    dialects().prop_flat_map(|dialect| {
        let part = prop_oneof![
            code().prop_map(str::to_owned),
            // A comma, so that a string in the next line is not a continuation of this one.
            literal(dialect).prop_map(|literal| literal + ","),
            comment(dialect),
        ];
        prop::collection::vec(part, 1..12).prop_map(move |parts| (dialect, parts.join(" ")))
    })
}

fn bounded(described: &Statement) {
    assert!(described.text.len() <= sanitized::LONGEST + '…'.len_utf8());
    assert!(described.summary.len() <= summary::LONGEST);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn secrets_stay_hidden((dialect, statement) in statements(), cut in any::<prop::sample::Index>()) {
        // Also cut the statement anywhere, so that some token is unterminated.
        let cut = boundary(&statement, cut.index(statement.len() + 1));
        for statement in [&statement, &statement[..cut]] {
            let described = describe(statement, dialect);
            let all = format!("{described:?}");
            // No piece of the secret may be shown either.
            for piece in [SECRET, "5ecr", "ecre", "creT"] {
                prop_assert!(!all.contains(piece), "{dialect:?} {statement:?}: {all}");
            }
            bounded(&described);
        }
    }

    #[test]
    fn anything_can_be_described(statement in any::<String>(), dialect in dialects()) {
        bounded(&describe(&statement, dialect));
    }

    #[test]
    fn sql_like_text_can_be_described(
        statement in r#"([a-z'"`$\[\]()\\,;.:?@#*/!+=0-9\-\n é]|SELECT |FROM |IN \(|VALUES \(){0,60}"#,
        dialect in dialects(),
    ) {
        bounded(&describe(&statement, dialect));
    }
}
