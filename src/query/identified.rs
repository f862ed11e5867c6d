//! Which statement a query is, found by a hash of its text: the text is there at a query's end, and
//! nothing is allocated to look it up.

use std::hash::{BuildHasher, RandomState};
use std::sync::{LazyLock, Weak};

use super::text::describe;
use crate::occupant::{QueryObserver, Statement, StatementId};
use crate::settings::DatabaseKind;

/// Statements that a connection remembers the ids of; others are asked for, under a lock.
const REMEMBERED: usize = 32;

/// Nobody outside can tell which texts have the same hash.
static SEEDS: LazyLock<[u64; 2]> = LazyLock::new(|| {
    let random = RandomState::new();
    [0, 1].map(|n| random.hash_one(n))
});

/// What a text was found to be.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Identified {
    pub(super) hash: u64,
    pub(super) id: StatementId,
}

/// The ids that a connection has asked for lately, by one observer.
#[derive(Default)]
pub(super) struct Identities {
    /// Held, so that another one cannot be at the same address.
    by: Option<Weak<dyn QueryObserver>>,
    remembered: [Identified; REMEMBERED],
}

impl Identities {
    /// Which statement this is, without bind values; `None` if nobody is there any more to tell.
    pub(super) fn of(
        &mut self,
        sent: &str,
        observer: &Weak<dyn QueryObserver>,
        kind: DatabaseKind,
    ) -> Option<Identified> {
        let hash = hash(sent);
        let place = hash as usize % REMEMBERED;
        let is_same = self.by.as_ref().is_some_and(|by| by.ptr_eq(observer));
        let known = self.remembered[place];
        if is_same && known.hash == hash && known.id != StatementId::OTHER {
            return Some(known);
        }
        if !is_same {
            *self = Self {
                by: Some(Weak::clone(observer)),
                ..Self::default()
            };
        }
        let id = observer.upgrade()?.statement(hash, &mut || {
            let told = describe(sent, kind, true, true);
            Statement {
                text: told.text,
                summary: told.summary,
            }
        });
        let identified = Identified { hash, id };
        self.remembered[place] = identified;
        Some(identified)
    }
}

/// Sixteen bytes at a time go into a product twice as wide, whose halves are laid over each other: for
/// a text, a good deal faster than the standard library's hasher.
fn hash(text: &str) -> u64 {
    let (pieces, rest) = text.as_bytes().as_chunks::<16>();
    let mut last = [0; 16];
    last[..rest.len()].copy_from_slice(rest);
    let [first, second] = *SEEDS;
    let mix = |hash: u64, piece: &[u8; 16]| {
        let piece = u128::from_le_bytes(*piece);
        fold(piece as u64 ^ first ^ hash, (piece >> 64) as u64 ^ second)
    };
    let hash = pieces.iter().fold(text.len() as u64, mix);
    fold(mix(hash, &last) ^ second, first | 1)
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn texts_that_differ_anywhere_have_different_hashes() {
        let text = "SELECT id, name FROM orders WHERE id = $1 AND state = $2";
        let mut texts = HashSet::new();
        for at in 0..=text.len() {
            texts.insert(text[..at].to_owned());
            texts.insert(format!("{}\0", &text[..at]));
            texts.insert(format!("{}x{}", &text[..at], &text[at..]));
        }
        let hashes: HashSet<_> = texts.iter().map(|text| hash(text)).collect();
        assert_eq!(hashes.len(), texts.len());
        assert_eq!(hash(text), hash(&String::from(text)));
    }

    #[test]
    fn hashes_are_spread_over_the_places() {
        let texts = (0..REMEMBERED * 4).map(|n| format!("SELECT {n}"));
        let places: HashSet<_> = texts
            .map(|text| hash(&text) as usize % REMEMBERED)
            .collect();
        // All but a few: by chance one of 50 stays empty.
        assert!(places.len() > REMEMBERED * 3 / 4, "{}", places.len());
    }
}
