//! Maps whose keys are hashes already, so that hashing them again would be a waste.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map whose keys are hashes with uniformly distributed bits.
pub(crate) type ByHash<V> = HashMap<u64, V, BuildHasherDefault<PassThrough>>;

/// A hasher that returns its single `u64` input unchanged.
#[derive(Debug, Default)]
pub(crate) struct PassThrough(u64);

impl Hasher for PassThrough {
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("the keys of a `ByHash` are `u64`s");
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
