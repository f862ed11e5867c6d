//! Ports for the servers.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the system's range for outgoing connections, so that a stopped server finds its port free when
/// it starts again.
const RANGE: RangeInclusive<u16> = 20_000..=31_999;
const COUNT: u16 = *RANGE.end() - *RANGE.start() + 1;

/// Returns a port on 127.0.0.1 that is free, and that this process has not used before.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    // Concurrent test binaries start far from each other.
    let first = (process::id().wrapping_mul(997) % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let offset = TAKEN.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = RANGE.start() + (first + offset) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port from {} to {}", RANGE.start(), RANGE.end());
}
