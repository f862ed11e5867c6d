//! `optimize` from real checkouts, on a clock that runs only as fast as the load needs it.

use std::time::Duration;

use poolscope::{AsyncSqliteConnection, Pool};
use serde_json::{Value, json};

use crate::asking::{get, strings};
use crate::databases::{Database, Tested};

type Sqlite = AsyncSqliteConnection;

fn pool(name: &str, pool_size: u32, max_overflow: u32) -> (Database, Pool<Sqlite>) {
    let database = Sqlite::database(name);
    let builder = database.pool::<Sqlite>().pool_size(pool_size);
    let pool = builder.max_overflow(max_overflow).build().unwrap();
    (database, pool)
}

/// `users` who each hold a connection for `hold` and then leave it for `pause`, for `time`.
pub async fn load(pool: &Pool<Sqlite>, users: u32, hold: u64, pause: u64, time: Duration) {
    let end = tokio::time::Instant::now() + time;
    let users: Vec<_> = (0..users)
        .map(|user| {
            let pool = pool.clone();
            tokio::spawn(async move {
                // Not all in step.
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

async fn advice(pool: &Pool<Sqlite>) -> Value {
    get(pool.monitor(), "optimize").await.json()
}

#[tokio::test(start_paused = true)]
async fn an_oversized_pool_is_told_to_shrink() {
    let (_database, pool) = pool("oversized", 30, 60);
    // 8 users, each holding half of the time: four connections on average, never more than eight.
    load(&pool, 8, 50, 50, Duration::from_secs(60)).await;
    let said = advice(&pool).await;
    let evidence = &said["evidence"];
    let window = &evidence["windows"]["five_minutes"];
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
    assert!((49.0..56.0).contains(&of("mean_use_ms")), "{window:#}");
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
    // Four and a fifth on average, with the headroom five.
    assert!((5..=12).contains(&(size + overflow)), "{said:#}");
    let advice = strings(&said["recommendations"])[0];
    assert!(advice.starts_with("The pool is oversized"), "{advice}");
    let paste = format!("DB_POOL_SIZE={size} DB_MAX_OVERFLOW={overflow}");
    assert!(advice.contains(&format!("Set {paste}")), "{advice}");
    assert_eq!(said["paste"], json!(paste));
    let fewer = format!("{} connections fewer", 90 - size - overflow);
    assert!(advice.contains(&fewer), "{advice}");
}

#[tokio::test(start_paused = true)]
async fn a_pool_too_small_is_told_to_grow() {
    let (_database, pool) = pool("too_small", 2, 0);
    // Eight users want four connections on average, and there are two.
    load(&pool, 8, 50, 50, Duration::from_secs(60)).await;
    let said = advice(&pool).await;
    let total = said["recommended_pool_size"].as_u64().unwrap()
        + said["recommended_max_overflow"].as_u64().unwrap();
    assert!(total > 2, "{said:#}");
    let advice = strings(&said["recommendations"]).join(" ");
    assert!(advice.contains("The pool is too small"), "{advice}");
}

#[tokio::test(start_paused = true)]
async fn too_little_is_said_and_nothing_guessed() {
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
    // Many, but not for long.
    load(&pool, 4, 5, 5, Duration::from_secs(4)).await;
    unknown("Not enough data: ").await;
    let more = advice(&pool).await["not_enough_data"].clone();
    assert_eq!(more["checkouts_more"], json!(0), "{more}");
    assert!(more["seconds_more"].as_f64() > Some(14.0), "{more}");
    // Long enough by now.
    load(&pool, 4, 5, 5, Duration::from_secs(20)).await;
    assert!(advice(&pool).await["recommended_pool_size"].is_u64());
    // What is older than five minutes is remembered.
    tokio::time::sleep(Duration::from_secs(400)).await;
    let said = advice(&pool).await;
    assert!(said["recommended_pool_size"].is_u64(), "{said:#}");
    let windows = &said["evidence"]["windows"];
    assert_eq!(windows["five_minutes"]["samples"], json!(0), "{windows:#}");
    // And are forgotten after a day.
    tokio::time::sleep(Duration::from_secs(25 * 3600)).await;
    unknown("Not enough data: 0 checkouts").await;
    assert_eq!(
        advice(&pool).await["current_usage"]["active_connections"],
        json!(0)
    );
}
