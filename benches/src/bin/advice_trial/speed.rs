//! How fast a processor is at the moment.
//!
//! Machines that share their hardware with others drift by a third within a minute or two. A size
//! tried a few minutes after the observation would then meet another load than the one observed. So
//! work that computes is measured out by this speed when it begins.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use poolscope_benches::statistics::median;
use rustix::time::{ClockId, clock_gettime};

/// Half a millisecond, or so.
const STEPS: u64 = 500_000;
const EVERY: Duration = Duration::from_millis(100);
/// Measurements of the last two seconds.
const RECENT: usize = 20;

/// The processors' speed, as a multiple of what it was at first.
#[derive(Debug, Clone)]
pub(crate) struct Speed(Arc<AtomicU64>);

impl Speed {
    /// Measures from now on, on a thread of its own that ends when nobody asks any more.
    pub(crate) fn start() -> Self {
        let mut recent: Vec<f64> = (0..RECENT).map(|_| seconds()).collect();
        let reference = median(recent.clone());
        let speed = Self(Arc::new(AtomicU64::new(1_f64.to_bits())));
        let shared = Arc::downgrade(&speed.0);
        thread::spawn(move || {
            let mut next = 0;
            while let Some(shared) = shared.upgrade() {
                recent[next] = seconds();
                next = (next + 1) % RECENT;
                let now = reference / median(recent.clone());
                shared.store(now.to_bits(), Ordering::Relaxed);
                drop(shared);
                thread::sleep(EVERY);
            }
        });
        speed
    }

    pub(crate) fn now(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// The processor's time that some steps take: waiting for a processor is no part of it.
fn seconds() -> f64 {
    let time = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    let start = time();
    let mut state = 1_u64;
    for step in 0..STEPS {
        state = (state ^ step)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(29);
    }
    black_box(state);
    time() - start
}
