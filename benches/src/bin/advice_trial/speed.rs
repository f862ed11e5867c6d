//! The current speed of a processor.
//!
//! On shared hardware, speed drifts by a third within minutes. A size run a few minutes after the
//! observation would then get a different load. This speed scales computing work when it starts, so that
//! the load stays the same.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use poolscope_benches::statistics::median;
use rustix::time::{ClockId, clock_gettime};

/// About half a millisecond.
const STEPS: u64 = 500_000;
const EVERY: Duration = Duration::from_millis(100);
/// The measurements of the last two seconds.
const RECENT: usize = 20;

/// The processor speed relative to the start.
#[derive(Debug, Clone)]
pub(crate) struct Speed(Arc<AtomicU64>);

impl Speed {
    /// Measures on its own thread, which ends when the value is dropped.
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

/// The processor time of some steps, without time spent waiting for a processor.
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
