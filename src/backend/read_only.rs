//! Recognizes texts that ask for a read-only session or transaction.

/// Returns whether a text sets a read-only parameter, as in `-c default_transaction_read_only=on` or
/// `TRANSACTION READ ONLY`.
pub(crate) fn asks_read_only(text: &str) -> bool {
    let mut words = words(text).peekable();
    while let Some(word) = words.next() {
        let is_pair = is(word, &["read"]) && words.peek().is_some_and(|next| is(next, &["only"]));
        if is_pair {
            words.next();
            words.next_if(|word| is(word, &["to"]));
            let off = words
                .peek()
                .is_some_and(|word| is(word, &["off", "false", "no", "0"]));
            if !off {
                return true;
            }
        }
    }
    false
}

/// Returns whether a statement makes its session or a transaction read-only. One that only reads the
/// parameter does not.
pub(crate) fn statement_asks_read_only(statement: &str) -> bool {
    words(statement).any(|word| is(word, &["set", "begin", "start"])) && asks_read_only(statement)
}

/// The words of a text. `read_only` is two of them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(|word| !word.is_empty())
}

fn is(word: &str, any: &[&str]) -> bool {
    any.iter().any(|other| word.eq_ignore_ascii_case(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_that_asks_is_distinguished_from_one_that_reads() {
        for (statement, asks) in [
            ("BEGIN TRANSACTION READ ONLY", true),
            (
                "start transaction isolation level serializable, read only",
                true,
            ),
            ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", true),
            ("SET default_transaction_read_only = on", true),
            ("SET SESSION transaction_read_only TO 'true'", true),
            (
                "SELECT set_config('default_transaction_read_only', 'on', false)",
                true,
            ),
            ("SET SESSION tx_read_only = 1", true),
            ("SET default_transaction_read_only = off", false),
            ("SET default_transaction_read_only TO off", false),
            ("SET tx_read_only = 0", false),
            ("SHOW transaction_read_only", false),
            ("SELECT @@read_only", false),
            ("BEGIN TRANSACTION READ WRITE", false),
            ("BEGIN", false),
            ("", false),
        ] {
            assert_eq!(statement_asks_read_only(statement), asks, "{statement}");
        }
        assert!(asks_read_only(
            "-c default_transaction_read_only=on -c jit=off"
        ));
        assert!(!asks_read_only("-c default_transaction_read_only=off"));
    }
}
