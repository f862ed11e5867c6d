//! Maps whose keys are hashes already: to hash them again would only cost.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map by a hash whose bits all look like chance.
pub(crate) type ByHash<V> = HashMap<u64, V, BuildHasherDefault<PassThrough>>;

/// Gives the one number back that it was given.
#[derive(Debug, Default)]
pub(crate) struct PassThrough(u64);

impl Hasher for PassThrough {
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("the keys of a `ByHash` are numbers");
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
