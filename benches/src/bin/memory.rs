//! The memory of waiters and held connections, and its growth. A separate program, because it counts every
//! allocation. Prints tables, as the other benchmarks do.

use std::alloc::System;
use std::task::{Context, Waker};
use std::time::Duration;

use poolscope_benches::peers::{Ours, ours, warm_up};
use poolscope_benches::report::{Targets, note, progress};
use poolscope_benches::support::postgres::{Options, Postgres};
use poolscope_benches::{CONNECTIONS, Scale, telemetry};
use stats_alloc::{INSTRUMENTED_SYSTEM, Stats, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const WAITERS: usize = 10_000;
const HELD: u32 = 200;

fn main() {
    let scale = Scale {
        quick: std::env::args().any(|argument| argument == "--quick"),
    };
    let server = Postgres::start(Options::new().max_connections(400));
    let url = server.create_database("memory");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut targets = Targets::default();
        waiters(&url, &mut targets).await;
        held(&url, &mut targets).await;
        growth(scale, &url, &mut targets).await;
        targets.print("Memory: targets");
    });
}

/// Bytes in use.
fn in_use() -> i64 {
    let Stats {
        bytes_allocated,
        bytes_deallocated,
        ..
    } = ALLOCATOR.stats();
    // These two include reallocations.
    bytes_allocated as i64 - bytes_deallocated as i64
}

fn pool(url: &str, connections: u32) -> Ours {
    ours(url, Duration::from_secs(30))
        .pool_size(connections)
        .meter_provider(telemetry::metrics())
        .tracer_provider(telemetry::made_spans())
        .build()
        .expect("a pool")
}

async fn waiters(url: &str, targets: &mut Targets) {
    progress("memory of waiters");
    let pool = pool(url, CONNECTIONS);
    let mut guards = Vec::new();
    for _ in 0..CONNECTIONS {
        guards.push(pool.get().await.expect("a connection"));
    }
    let mut waiting = Vec::with_capacity(WAITERS);
    let before = in_use();
    for _ in 0..WAITERS {
        let mut waiter = Box::pin(pool.get());
        let pending = waiter
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert!(pending.is_pending());
        waiting.push(waiter);
    }
    let each = (in_use() - before) / WAITERS as i64;
    targets.add(
        format!("a waiter, of {WAITERS}, with its future and its span"),
        "<= 1 KiB",
        format!("{each} bytes"),
        each <= 1024,
    );
}

async fn held(url: &str, targets: &mut Targets) {
    progress("memory of held connections");
    let pool = pool(url, HELD);
    let mut guards = Vec::with_capacity(HELD as usize);
    for _ in 0..HELD {
        guards.push(pool.get().await.expect("a connection"));
    }
    guards.clear();
    // The second time, no connection is opened.
    let before = in_use();
    for _ in 0..HELD {
        guards.push(pool.get().await.expect("a connection"));
    }
    let guard = size_of_val(&guards[0]) as i64;
    let each = (in_use() - before) / i64::from(HELD) + guard;
    targets.add(
        format!("a held connection, of {HELD}, compared with an idle one"),
        "<= 2 KiB",
        format!("{each} bytes"),
        each <= 2048,
    );
}

async fn growth(scale: Scale, url: &str, targets: &mut Targets) {
    progress("memory after many checkouts");
    let pool = pool(url, CONNECTIONS);
    warm_up(&pool).await;
    let many = scale.pick(10_000_000_u64, 10_000);
    let check_out = async |times: u64| {
        for _ in 0..times {
            drop(pool.get().await.expect("a connection"));
        }
    };
    check_out(many / 10).await;
    let (before, allocations) = (in_use(), ALLOCATOR.stats().allocations);
    let start = std::time::Instant::now();
    check_out(many).await;
    let took = start.elapsed();
    let (growth, allocations) = (
        in_use() - before,
        ALLOCATOR.stats().allocations - allocations,
    );
    // An idle pool's windows grow too, so the same time passes once more without load.
    let before = in_use();
    let idle = async {
        let end = std::time::Instant::now() + took;
        while std::time::Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(100)).await;
            drop(pool.get().await.expect("a connection"));
        }
    };
    idle.await;
    let of_time = in_use() - before;
    let of_checkouts = (growth - of_time) as f64 / many as f64;
    targets.add(
        format!("{many} checkouts, without the growth of the windows in that time"),
        "flat (< 0.01 byte each)",
        format!("{} bytes, {of_checkouts:.4} each", growth - of_time),
        of_checkouts < 0.01,
    );
    note(format!(
        "A checkout makes {:.2} allocations. During the {:.0} s of {many} checkouts, the memory in use grew by \
         {} bytes, and by {of_time} in the same time at ten checkouts per second. The windows have a histogram for \
         each second and each five seconds, and are complete after five minutes.",
        allocations as f64 / many as f64,
        took.as_secs_f64(),
        growth,
    ));
}
