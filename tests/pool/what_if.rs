//! `optimize` for another load, target, number of replicas or size.

use std::time::Duration;

use http::StatusCode;
use poolscope::Pool;
use poolscope::backend::AsyncSqliteConnection;
use poolscope::report::WhatIf;
use serde_json::{Value, json};

use crate::databases::{Database, Tested};
use crate::monitor_client::get;
use crate::optimize::load;

type Sqlite = AsyncSqliteConnection;

/// A pool with enough data: twelve users, each holding half of the time.
async fn used(name: &str) -> (Database, Pool<Sqlite>) {
    let database = Sqlite::database(name);
    let builder = database.pool::<Sqlite>().pool_size(8).max_overflow(4);
    let pool = builder.build().unwrap();
    load(&pool, 12, 50, 50, Duration::from_secs(40)).await;
    (database, pool)
}

#[tokio::test(start_paused = true)]
async fn code_and_route_give_the_same_answer() {
    let (_database, pool) = used("what_if").await;
    for (query, what_if) in [
        ("", WhatIf::new()),
        ("?", WhatIf::new()),
        ("?rate=1.5", WhatIf::new().rate(1.5)),
        (
            "?target_p95_ms=8&rate=1.5&replicas=4&pool_size=20",
            WhatIf::new()
                .target_p95(Duration::from_millis(8))
                .rate(1.5)
                .replicas(4)
                .pool_size(20),
        ),
        (
            "?pool_size=%33&target%5fp95_ms=0.5",
            WhatIf::new()
                .target_p95(Duration::from_micros(500))
                .pool_size(3),
        ),
    ] {
        let asked = get(pool.monitor(), &format!("optimize{query}")).await;
        assert_eq!(asked.status, StatusCode::OK, "{query}: {}", asked.text());
        let advice = pool.optimize_for(&what_if).await.unwrap();
        // To text and back, so that numbers have as many digits as in the response.
        let text = serde_json::to_string(&advice).unwrap();
        let advice: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(asked.json(), advice, "{query}");
        assert_eq!(advice["what_if"], serde_json::to_value(what_if).unwrap());
        assert!(advice["recommended_pool_size"].is_u64(), "{advice:#}");
    }
}

#[tokio::test(start_paused = true)]
async fn more_arrivals_need_more_connections_and_a_longer_target_less() {
    let (_database, pool) = used("what_if_more").await;
    let total = async |what_if: WhatIf| {
        let advice = pool.optimize_for(&what_if).await.unwrap();
        advice.recommended_pool_size.unwrap() + advice.recommended_max_overflow.unwrap()
    };
    let usual = total(WhatIf::new()).await;
    assert!(total(WhatIf::new().rate(3.0)).await > usual);
    assert!(total(WhatIf::new().rate(0.2)).await < usual);
    let patient = WhatIf::new().target_p95(Duration::from_secs(1));
    assert!(total(patient).await <= usual);
    let asked = WhatIf::new().pool_size(20);
    let advice = pool.optimize_for(&asked).await.unwrap();
    assert_eq!(advice.asked.map(|row| row.connections), Some(20));
    assert_eq!(
        total(asked).await,
        usual,
        "the question does not change the report"
    );
}

#[tokio::test]
async fn an_invalid_parameter_is_a_400_with_the_valid_ones() {
    let database = Sqlite::database("what_if_not");
    let pool = database.pool::<Sqlite>().build().unwrap();
    for (query, detail) in [
        (
            "target_p95_ms=",
            r#"target_p95_ms="": expected a number from 0.1 to 60000"#,
        ),
        (
            "pool_size=0",
            r#"pool_size="0": expected a whole number from 1 to 10000"#,
        ),
        ("rate=1&rate=2", "rate is given more than once"),
        (
            "size=3",
            r#""size" is not a parameter; the parameters are target_p95_ms, rate, replicas and pool_size"#,
        ),
    ] {
        let answer = get(pool.monitor(), &format!("optimize?{query}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(
            answer.json(),
            json!({
                "type": "about:blank",
                "title": "Bad Request",
                "status": 400,
                "detail": detail,
            })
        );
    }
    // Callers without access do not learn of parameters either.
    let locked = pool.monitor().authorize(|_| false);
    let answer = get(locked, "optimize?rate=fast").await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    // The other routes ignore parameters.
    for route in ["status", "health", "connections", "healthcheck", "metrics"] {
        let answer = get(pool.monitor(), &format!("{route}?rate=fast&rate=")).await;
        assert_eq!(answer.status, StatusCode::OK, "{route}");
    }
    let error = pool.optimize_for(&WhatIf::new().rate(0.0)).await;
    assert_eq!(
        error.unwrap_err().to_string(),
        r#"rate="0": expected a number from 0.01 to 1000"#
    );
}

#[tokio::test(start_paused = true)]
async fn source_lines_are_hidden_in_the_answer_of_the_route() {
    let (_database, pool) = used("what_if_lines").await;
    let shown = get(pool.monitor(), "optimize").await;
    let caller = shown.json()["call_sites"][0]["caller"].clone();
    assert!(
        caller.as_str().unwrap().contains("optimize.rs:"),
        "{caller}"
    );
    let hidden = get(pool.monitor().source_lines(false), "optimize?rate=100").await;
    assert_eq!(hidden.json()["call_sites"][0]["caller"], "_HIDDEN");
    assert!(!hidden.text().contains(".rs"), "{}", hidden.text());
}
