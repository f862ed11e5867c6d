//! The parser state for each level of parentheses in a statement.

/// The state of all open parentheses. Each mask has the innermost level in its lowest bit.
#[derive(Default)]
pub(super) struct Levels {
    pub(super) depth: u32,
    /// Whether a comma is followed by another table.
    pub(super) tables: u64,
    /// Whether `FROM` is followed by tables; it is not in `extract(year FROM d)`.
    pub(super) from: u64,
    /// Whether the level is a list of common table expressions.
    pub(super) ctes: u64,
}

impl Levels {
    pub(super) fn open(&mut self) {
        self.depth += 1;
        self.tables <<= 1;
        self.from <<= 1;
        self.ctes <<= 1;
    }

    pub(super) fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.tables >>= 1;
        self.from >>= 1;
        self.ctes >>= 1;
    }
}

pub(super) fn set(bits: &mut u64, on: bool) {
    *bits = *bits & !1 | u64::from(on);
}

pub(super) fn is_set(bits: u64) -> bool {
    bits & 1 == 1
}
