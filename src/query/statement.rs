//! What can be told of a statement from its text, without parsing SQL.

/// What a statement does to the transaction on its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TransactionEffect {
    Begins,
    Ends,
    None,
}

/// Cuts the bind values off what diesel's `DebugQuery` prints: they are data, not statement.
pub(super) fn without_binds(printed: &str) -> &str {
    match printed.rfind(" -- binds: [") {
        Some(end) => &printed[..end],
        None => printed,
    }
}

/// Judges a statement, or a batch of them by its last one, by first words.
pub(super) fn transaction_effect(statement: &str) -> TransactionEffect {
    let first = effect_of_one(statement);
    if first != TransactionEffect::Begins {
        return first;
    }
    // `BEGIN; …; COMMIT` in one batch leaves nothing open.
    let last = statement
        .trim_end_matches(|c: char| c == ';' || c.is_whitespace())
        .rsplit(';')
        .next();
    match last.map(effect_of_one) {
        Some(TransactionEffect::Ends) => TransactionEffect::Ends,
        _ => TransactionEffect::Begins,
    }
}

fn effect_of_one(statement: &str) -> TransactionEffect {
    let statement = skip_comments(statement);
    let mut words = statement
        .split(|c: char| !c.is_ascii_alphabetic())
        .filter(|word| !word.is_empty());
    let is = |word: Option<&str>, any: &[&str]| {
        word.is_some_and(|word| any.iter().any(|other| word.eq_ignore_ascii_case(other)))
    };
    let first = words.next();
    if is(first, &["begin"]) {
        TransactionEffect::Begins
    } else if is(first, &["start"]) {
        if is(words.next(), &["transaction"]) {
            TransactionEffect::Begins
        } else {
            TransactionEffect::None
        }
    } else if is(first, &["commit", "end", "abort"]) {
        TransactionEffect::Ends
    } else if is(first, &["rollback"]) {
        // `ROLLBACK TO SAVEPOINT` stays inside.
        if words.any(|word| word.eq_ignore_ascii_case("to")) {
            TransactionEffect::None
        } else {
            TransactionEffect::Ends
        }
    } else {
        TransactionEffect::None
    }
}

fn skip_comments(mut statement: &str) -> &str {
    loop {
        statement = statement.trim_start();
        let rest = if let Some(comment) = statement.strip_prefix("/*") {
            comment.split_once("*/").map(|(_, rest)| rest)
        } else if statement.starts_with("--") || statement.starts_with('#') {
            statement.split_once('\n').map(|(_, rest)| rest)
        } else {
            return statement;
        };
        statement = rest.unwrap_or("");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TransactionEffect::{Begins, Ends, None};

    #[test]
    fn first_words_tell_what_a_statement_does() {
        for (statement, effect) in [
            ("BEGIN", Begins),
            ("  begin immediate;", Begins),
            ("start transaction read only", Begins),
            ("/* hint */ -- note\n BEGIN", Begins),
            ("START SLAVE", None),
            ("beginning", None),
            ("SELECT 'BEGIN'", None),
            ("COMMIT", Ends),
            ("end", Ends),
            ("ROLLBACK;", Ends),
            ("ROLLBACK TO SAVEPOINT a", None),
            ("BEGIN; INSERT INTO t VALUES (1); COMMIT;", Ends),
            ("BEGIN; INSERT INTO t VALUES (1)", Begins),
            ("SET autocommit=0", None),
            ("", None),
            ("/* never closed", None),
        ] {
            assert_eq!(transaction_effect(statement), effect, "{statement}");
        }
    }

    #[test]
    fn binds_are_cut_off() {
        assert_eq!(
            without_binds("SELECT $1 -- binds: [\"secret\"]"),
            "SELECT $1"
        );
        assert_eq!(without_binds("SELECT 1"), "SELECT 1");
    }
}
