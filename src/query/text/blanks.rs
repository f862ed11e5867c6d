//! Skips white space and comments. Comments are not shown, because they may contain data.

use super::lexer::Lexer;
use crate::settings::DatabaseKind;

impl Lexer<'_> {
    /// Skips white space and comments. Returns whether there were any. An unterminated comment extends
    /// to the end of the statement.
    pub(super) fn skip_blanks(&mut self) -> bool {
        let start = self.at;
        loop {
            self.skip(is_space);
            match (self.ahead(0), self.ahead(1)) {
                (b'-', b'-') if self.dashes_begin_a_comment() => self.skip_line(),
                (b'#', _) if self.is(DatabaseKind::Mysql) => self.skip_line(),
                (b'/', b'*') if !self.hides_code() => self.skip_block(),
                _ => return self.at > start,
            }
        }
    }

    /// Returns whether `--` begins a comment. In MySQL, `5--3` is a subtraction.
    fn dashes_begin_a_comment(&self) -> bool {
        let behind = self.ahead(2);
        !self.is(DatabaseKind::Mysql) || is_space(behind) || behind.is_ascii_control()
    }

    fn skip_line(&mut self) {
        let ends = |byte| match self.dialect {
            DatabaseKind::Postgres => matches!(byte, b'\n' | b'\r' | 0),
            _ => matches!(byte, b'\n' | 0),
        };
        while self.bytes.get(self.at).is_some_and(|byte| !ends(*byte)) {
            self.at += 1;
        }
    }

    fn skip_block(&mut self) {
        let mut depth = 0;
        while self.at < self.bytes.len() {
            match (self.ahead(0), self.ahead(1)) {
                (b'/', b'*') if depth == 0 || self.is(DatabaseKind::Postgres) => {
                    depth += 1;
                    self.at += 2;
                }
                (b'*', b'/') => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.at += 1,
            }
        }
    }

    /// Returns whether a comment is a `/*! … */` with a quote in it. Whether MySQL executes its content
    /// depends on the server's version. The quote begins a string or it does not, so the text after it
    /// cannot be distinguished from data.
    pub(super) fn hides_code(&self) -> bool {
        let rest = &self.statement[self.at + 2..];
        self.is(DatabaseKind::Mysql)
            && (rest.starts_with('!') || rest.starts_with("M!") || rest.starts_with('+'))
            && rest
                .split("*/")
                .next()
                .is_some_and(|inside| inside.contains(['\'', '"', '`']))
    }

    /// Skips white space and `--` comments. Returns whether a line break was among the white space.
    pub(super) fn skip_lines(&mut self) -> bool {
        let mut another = false;
        loop {
            let start = self.at;
            self.skip(is_space);
            another |= self.statement[start..self.at].contains(['\n', '\r']);
            if (self.ahead(0), self.ahead(1)) != (b'-', b'-') {
                return another;
            }
            self.skip_line();
        }
    }
}

pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}
