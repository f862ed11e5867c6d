//! Arrivals counted in bins of several lengths, each within one of the next: an arrival costs one
//! comparison, and one addition.

use super::clock::{MINUTE, seconds};
use super::load::{Block, Load};

/// The lengths of the bins in nanoseconds, and of a block.
const LENGTHS: [u64; 3] = [
    Load::BINS[0].as_nanos() as u64,
    Load::BINS[1].as_nanos() as u64,
    Load::BINS[2].as_nanos() as u64,
];
const BLOCK: u64 = Load::BLOCK.as_nanos() as u64;

// Each begins where one of the next shorter does.
const _: () = assert!(
    LENGTHS[1].is_multiple_of(LENGTHS[0])
        && LENGTHS[2].is_multiple_of(LENGTHS[1])
        && BLOCK.is_multiple_of(LENGTHS[2])
        && MINUTE.is_multiple_of(BLOCK)
);

/// The bins that are being filled, all begun within the same minute.
#[derive(Debug, Clone)]
pub(super) struct Bins {
    /// When the minute began.
    begin: u64,
    /// When the shortest of the current bins ends.
    ends: u64,
    /// Arrivals in the shortest of the current bins.
    count: u64,
    /// Arrivals in the current bins of each length and in the current block, but for those in
    /// `count`.
    longer: [u64; 4],
}

impl Bins {
    pub(super) fn new(begin: u64) -> Self {
        Self {
            begin,
            ends: begin + LENGTHS[0],
            count: 0,
            longer: [0; 4],
        }
    }

    /// One that is told late counts in the bin that is being filled.
    pub(super) fn arrived(&mut self, at: u64, load: &mut Load) {
        if at >= self.ends {
            self.fold(at, load);
        }
        self.count += 1;
    }

    /// Moves on to the bins that `at` is in. However much time has passed, each length is looked at
    /// once: bins that stay empty have no part in any sum, and how many there are is known at the
    /// end.
    fn fold(&mut self, at: u64, load: &mut Load) {
        let from = self.ends - LENGTHS[0];
        let count = std::mem::take(&mut self.count);
        self.longer.iter_mut().for_each(|longer| *longer += count);
        let lengths = LENGTHS.iter().zip(&mut self.longer);
        for ((length, filled), counts) in lengths.zip(&mut load.counts) {
            if at / length == from / length {
                break;
            }
            let filled = std::mem::take(filled);
            counts.arrivals += filled;
            counts.squares += (filled as f64) * (filled as f64);
        }
        self.fill_blocks(at, load);
        self.ends = at - at % LENGTHS[0] + LENGTHS[0];
    }

    /// Writes down the blocks that have ended by `at`; of a minute there are twelve at most.
    fn fill_blocks(&mut self, at: u64, load: &mut Load) {
        let ended = at.saturating_sub(self.begin) / BLOCK;
        while (load.blocks.len() as u64) < ended {
            load.blocks.push(Block {
                seconds: seconds(BLOCK),
                arrivals: std::mem::take(&mut self.longer[3]),
            });
        }
    }

    /// Ends it all at `at`. A bin that is not full is not counted, for it could not be compared with
    /// the others; a block says how long it is.
    pub(super) fn close(mut self, at: u64, load: &mut Load) {
        if at >= self.ends {
            self.fold(at, load);
        }
        let time = at.saturating_sub(self.begin);
        for (length, counts) in LENGTHS.iter().zip(&mut load.counts) {
            counts.bins = time / length;
        }
        let left = time % BLOCK;
        if left > 0 {
            load.blocks.push(Block {
                seconds: seconds(left),
                arrivals: self.longer[3] + self.count,
            });
        }
    }
}
