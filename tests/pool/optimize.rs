//! `optimize` from real checkouts, on a clock that advances only with the load.

use std::time::Duration;

use futures_util::future::try_join_all;
use poolscope::Pool;
use poolscope::backend::AsyncSqliteConnection;
use serde_json::{Value, json};

use crate::databases::{Database, Tested};
use crate::monitor_client::{get, strings};

type Sqlite = AsyncSqliteConnection;

fn pool(name: &str, pool_size: u32, max_overflow: u32) -> (Database, Pool<Sqlite>) {
    let database = Sqlite::database(name);
    let builder = database.pool::<Sqlite>().pool_size(pool_size);
    let pool = builder.max_overflow(max_overflow).build().unwrap();
    (database, pool)
}

/// `users` who each hold a connection for `hold` and pause for `pause`, during `time`.
pub async fn load(pool: &Pool<Sqlite>, users: u32, hold: u64, pause: u64, time: Duration) {
    let end = tokio::time::Instant::now() + time;
    let users: Vec<_> = (0..users)
        .map(|user| {
            let pool = pool.clone();
            tokio::spawn(async move {
                // The users are not in step.
                let start = u64::from(user) * (hold + pause) / u64::from(users.max(1));
                tokio::time::sleep(Duration::from_millis(start)).await;
                while tokio::time::Instant::now() < end {
                    let held = pool.get().await.unwrap();
                    tokio::time::sleep(Duration::from_millis(hold)).await;
                    drop(held);
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
            })
        })
        .collect();
    for user in users {
        user.await.unwrap();
    }
}

/// Uniform random durations within a range, in microseconds, reproducible (SplitMix64).
struct Times(u64);

impl Times {
    fn next(&mut self, micros: std::ops::Range<u64>) -> Duration {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let within = (z ^ (z >> 31)) % (micros.end - micros.start);
        Duration::from_micros(micros.start + within)
    }
}

/// Timers have a resolution of a millisecond. A shorter hold polls the clock, which another task moves
/// on meanwhile.
async fn passes(time: Duration) {
    let end = tokio::time::Instant::now() + time;
    while tokio::time::Instant::now() < end {
        tokio::task::yield_now().await;
    }
}

async fn advice(pool: &Pool<Sqlite>) -> Value {
    get(pool.monitor(), "optimize").await.json()
}

#[tokio::test(start_paused = true)]
async fn an_oversized_pool_is_advised_to_shrink() {
    let (_database, pool) = pool("oversized", 30, 60);
    // 8 users, each holding half of the time: four connections on average, never more than eight.
    load(&pool, 8, 50, 50, Duration::from_secs(60)).await;
    let said = advice(&pool).await;
    let evidence = &said["evidence"];
    let window = &evidence["windows"]["last_5m"];
    let of = |field: &str| {
        let value = window[field].as_f64();
        value.unwrap_or_else(|| panic!("{window:#}"))
    };
    assert!((59.0..62.0).contains(&of("seconds")), "{window:#}");
    assert!((4600.0..=4808.0).contains(&of("samples")), "{window:#}");
    assert!(
        (76.0..81.0).contains(&of("arrivals_per_second")),
        "{window:#}"
    );
    assert!((49.0..56.0).contains(&of("mean_held_ms")), "{window:#}");
    // Little's law.
    assert!(
        (3.8..4.4).contains(&of("mean_connections_needed")),
        "{window:#}"
    );
    assert!((4.0..=8.0).contains(&of("peak_checked_out")), "{window:#}");
    assert_eq!(
        evidence["server_can_grant"],
        Value::Null,
        "SQLite has no limit"
    );
    assert_eq!(said["fleet"], Value::Null);

    let recommended = |field: &str| said[field].as_u64().unwrap();
    let size = recommended("recommended_pool_size");
    let overflow = recommended("recommended_max_overflow");
    // 4.2 on average, and 5 with the headroom.
    assert!((5..=12).contains(&(size + overflow)), "{said:#}");
    let advice = strings(&said["recommendations"])[0];
    assert!(advice.starts_with("The pool is oversized"), "{advice}");
    let paste = format!("DB_POOL_SIZE={size} DB_MAX_OVERFLOW={overflow}");
    assert!(advice.contains(&format!("Set {paste}")), "{advice}");
    assert_eq!(said["paste"], json!(paste));
    let fewer = format!("this frees {} connections", 90 - size - overflow);
    assert!(advice.contains(&fewer), "{advice}");
}

#[tokio::test(start_paused = true)]
async fn an_undersized_pool_is_advised_to_grow() {
    let (_database, pool) = pool("too_small", 2, 0);
    // Eight users need four connections on average, and there are two.
    load(&pool, 8, 50, 50, Duration::from_secs(60)).await;
    let said = advice(&pool).await;
    let total = said["recommended_pool_size"].as_u64().unwrap()
        + said["recommended_max_overflow"].as_u64().unwrap();
    assert!(total > 2, "{said:#}");
    let advice = strings(&said["recommendations"]).join(" ");
    assert!(advice.contains("The pool is too small"), "{advice}");
}

/// Sixteen clients share five connections. Each pauses for some milliseconds between two checkouts, so at
/// most eleven wait at once, and all of them briefly.
#[tokio::test(start_paused = true)]
async fn a_closed_workload_is_recognised() {
    let (_database, pool) = pool("sixteen_clients", 5, 0);
    // SQLite opens on another thread, in real time, while the test moves the clock: on a busy machine
    // the clients would queue for seconds of the paused clock before the load is as intended.
    drop(try_join_all((0..5).map(|_| pool.get())).await.unwrap());
    let start = tokio::time::Instant::now();
    let clients: Vec<_> = (0..16)
        .map(|client| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let mut times = Times(client);
                loop {
                    let held = pool.get().await.unwrap();
                    passes(times.next(400..1000)).await;
                    drop(held);
                    tokio::time::sleep(times.next(1000..4000)).await;
                }
            })
        })
        .collect();
    for seconds in [21, 41, 61] {
        let until = start + Duration::from_secs(seconds);
        while tokio::time::Instant::now() < until {
            tokio::time::advance(Duration::from_micros(100)).await;
        }
        let said = advice(&pool).await;
        let evidence = &said["evidence"];
        // Their pauses vary less than random ones would.
        let clients = evidence["clients"].as_u64().unwrap_or_default();
        assert!((11..=20).contains(&clients), "{said:#}");
        let replayed = &evidence["replayed"];
        let of = |field: &str| {
            let value = replayed[field].as_f64();
            value.unwrap_or_else(|| panic!("{replayed:#}"))
        };
        let (measured, reproduced) = (of("measured_p95_ms"), of("reproduced_p95_ms"));
        assert!((0.1..1.0).contains(&measured), "{replayed:#}");
        assert!((reproduced - measured).abs() < 0.3, "{replayed:#}");
        // The same holds with a fifth more clients.
        let rows = said["predicted"].as_array().unwrap();
        let five = rows.iter().find(|row| row["connections"] == json!(5));
        let p95 = five.and_then(|row| row["p95_ms"].as_f64());
        assert!(p95.is_some_and(|p95| p95 < 2.0), "{rows:#?}");
        let first = strings(&said["recommendations"])[0];
        assert!(first.starts_with("The pool fits its load"), "{first}");
    }
    for client in clients {
        client.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn too_little_data_gives_no_recommendation() {
    let (_database, pool) = pool("too_little", 5, 5);
    let unknown = async |start: &str| {
        let said = advice(&pool).await;
        assert_eq!(said["recommended_pool_size"], Value::Null);
        assert_eq!(said["recommended_max_overflow"], Value::Null);
        let advice = strings(&said["recommendations"])[0];
        assert!(advice.starts_with(start), "{advice}");
    };
    unknown("Not enough data: 0 checkouts").await;
    assert_eq!(
        advice(&pool).await["not_enough_data"],
        json!({ "seconds_more": 20.0, "checkouts_more": 1000 })
    );
    // Many checkouts, but for too short a time.
    load(&pool, 4, 5, 5, Duration::from_secs(4)).await;
    unknown("Not enough data: ").await;
    let more = advice(&pool).await["not_enough_data"].clone();
    assert_eq!(more["checkouts_more"], json!(0), "{more}");
    assert!(more["seconds_more"].as_f64() > Some(14.0), "{more}");
    // Long enough now.
    load(&pool, 4, 5, 5, Duration::from_secs(20)).await;
    assert!(advice(&pool).await["recommended_pool_size"].is_u64());
    // Data older than five minutes is remembered,
    tokio::time::sleep(Duration::from_secs(400)).await;
    let said = advice(&pool).await;
    assert!(said["recommended_pool_size"].is_u64(), "{said:#}");
    let windows = &said["evidence"]["windows"];
    assert_eq!(windows["last_5m"]["samples"], json!(0), "{windows:#}");
    // and forgotten after a day.
    tokio::time::sleep(Duration::from_secs(25 * 3600)).await;
    unknown("Not enough data: 0 checkouts").await;
    assert_eq!(
        advice(&pool).await["current_usage"]["active_connections"],
        json!(0)
    );
}
