//! The advice end to end, on a real server under a real load.

use std::time::Duration;

use diesel::sql_query;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use poolscope::{Checkout, Optimization, WhatIf};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::asking::get;
use crate::databases::Tested;

/// As long as a recommendation takes, and not much more.
const TIME: Duration = Duration::from_secs(21);
/// The time between two arrivals; a thousand of them take 15 s.
const PAUSE: Duration = Duration::from_millis(15);

fn total(advice: &Optimization) -> u32 {
    advice.recommended_pool_size.unwrap() + advice.recommended_max_overflow.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_seconds_of_a_load_are_enough_for_the_same_advice_from_code_and_route() {
    let database = AsyncPgConnection::database("twenty_seconds");
    let builder = database.pool::<AsyncPgConnection>();
    let pool = builder.pool_size(10).max_overflow(20).build().unwrap();
    let (start, mut work) = (Instant::now(), JoinSet::new());
    let mut next = start;
    while next < start + TIME {
        let pool = pool.clone();
        work.spawn(async move {
            let checkout = Checkout::new().label("work");
            let mut connection = pool.checkout(checkout).await.unwrap();
            let query = "SELECT pg_sleep(0.02)";
            sql_query(query).execute(&mut *connection).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        });
        next += PAUSE;
        sleep_until(next).await;
    }
    while let Some(done) = work.join_next().await {
        done.unwrap();
    }

    let advice = pool.optimize().await;
    let said = get(pool.monitor(), "optimize").await.json();
    for (field, value) in [
        ("recommended_pool_size", advice.recommended_pool_size),
        ("recommended_max_overflow", advice.recommended_max_overflow),
    ] {
        assert_eq!(said[field], Value::from(value), "{said:#}");
    }
    assert_eq!(said["paste"], Value::from(advice.paste.clone()));
    assert_eq!(said["not_enough_data"], Value::Null, "{said:#}");
    let rows = |table: &Value| -> Vec<u64> {
        let rows = table.as_array().unwrap().iter();
        rows.map(|row| row["connections"].as_u64().unwrap())
            .collect()
    };
    let same = serde_json::to_value(&advice).unwrap();
    assert_eq!(rows(&said["predicted"]), rows(&same["predicted"]));

    // However slow the machine is: no less than Little's law needs of it, with the headroom, and no
    // more than it has been seen to have in use at once, with the same and some more.
    let busiest = advice.evidence.windows.busiest;
    assert!(busiest.samples >= 1000, "{busiest:#?}");
    let needed = busiest.mean_connections_needed.unwrap() * 1.2;
    let (total, most) = (total(&advice), busiest.peak_checked_out);
    assert!(f64::from(total) >= needed.floor(), "{advice:#?}");
    assert!(total <= 3 * most + 5, "{advice:#?}");
    let own = &advice.routes[0];
    assert_eq!((own.label, own.checkouts), (Some("work"), busiest.samples));
    assert_eq!(
        advice.statements[0].executions, busiest.samples,
        "{advice:#?}"
    );
    // Half of each hold, and a little more, is in the query.
    let seen = |point: &&poolscope::CurvePoint| point.completions > 100;
    let point = advice.evidence.curve.iter().find(seen).unwrap();
    assert!(point.in_queries_ms > Some(19.0), "{point:#?}");
    assert!(point.outside_ms > Some(19.0), "{point:#?}");

    let more = pool.optimize_for(&WhatIf::new().rate(4.0)).await.unwrap();
    assert!(self::total(&more) > total, "{more:#?}");
}
