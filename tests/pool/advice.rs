//! The advice end to end, on a real server under real load.

use std::time::Duration;

use diesel::sql_query;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use poolscope::Checkout;
use poolscope::report::{Optimization, WhatIf};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::databases::{Tested, on_each_database};
use crate::monitor_client::{get, until};

/// Just long enough for a recommendation.
const TIME: Duration = Duration::from_secs(21);
/// The time between two arrivals; a thousand take 15 s.
const PAUSE: Duration = Duration::from_millis(15);

fn total(advice: &Optimization) -> u32 {
    advice.recommended_pool_size.unwrap() + advice.recommended_max_overflow.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_seconds_of_load_give_advice_from_code_and_route() {
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

    let rows = |table: &Value| -> Vec<u64> {
        let rows = table.as_array().unwrap().iter();
        rows.map(|row| row["connections"].as_u64().unwrap())
            .collect()
    };
    // The planned load changes with time, so two answers are equal only if they are close together.
    let both = async || {
        let advice = pool.optimize().await;
        (advice, get(pool.monitor(), "optimize").await.json())
    };
    let (advice, said) = until("the same from code and route", both, |(advice, said)| {
        let same = serde_json::to_value(advice).unwrap();
        let fields = ["recommended_pool_size", "recommended_max_overflow", "paste"];
        fields.iter().all(|field| said[field] == same[field])
            && rows(&said["predicted"]) == rows(&same["predicted"])
    })
    .await;
    assert_eq!(said["not_enough_data"], Value::Null, "{said:#}");

    // On any machine: at least what Little's law requires, with the headroom, and at most a multiple of
    // the peak of connections in use.
    let window = advice.evidence.windows.last_5m;
    assert!(window.samples >= 1000, "{window:#?}");
    let needed = window.mean_connections_needed.unwrap() * 1.2;
    let (total, most) = (total(&advice), window.peak_checked_out);
    assert!(f64::from(total) >= needed.floor(), "{advice:#?}");
    assert!(total <= 3 * most + 5, "{advice:#?}");
    let own = &advice.call_sites[0];
    assert_eq!((own.label, own.checkouts), (Some("work"), window.samples));
    assert_eq!(
        advice.statements[0].executions, window.samples,
        "{advice:#?}"
    );
    // Slightly more than half of each hold is the query.
    let replayed = advice.evidence.replayed.unwrap();
    assert_eq!(replayed.checkouts, window.samples, "{replayed:#?}");
    let (held, busy) = (replayed.mean_held_ms, replayed.mean_busy_ms);
    assert!(busy > Some(19.0), "{replayed:#?}");
    assert!(
        held.zip(busy)
            .is_some_and(|(held, busy)| held - busy > 19.0),
        "{replayed:#?}"
    );
    // One connection can serve no more than holds of 40 ms allow. The model extrapolates, and a busy machine
    // adds variance: hence the factor of two.
    for point in &advice.evidence.curve {
        let most = 50.0 * f64::from(point.connections);
        let is_possible = |it| (0.01..most).contains(&it);
        assert!(point.per_second.is_some_and(is_possible), "{point:#?}");
    }

    // Four times the arrival rate waits no less at the same size.
    let four = WhatIf::new().rate(4.0).pool_size(total);
    let four = pool.optimize_for(&four).await.unwrap();
    let planned = |advice: &Optimization| advice.evidence.planned_arrivals_per_second.unwrap();
    let times = planned(&four) / planned(&advice);
    // The two answers are from different moments.
    assert!((3.0..5.0).contains(&times), "{times}");
    let once = advice.predicted.iter().find(|row| row.connections == total);
    let (once, four) = (once.unwrap().p95_ms, four.asked.unwrap().p95_ms);
    let is_no_shorter = four.is_none_or(|four| once.is_some_and(|once| once <= 1.05 * four + 0.5));
    assert!(is_no_shorter, "{once:?} {four:?}");
}

on_each_database!(statements_are_listed_by_total_time);

async fn statements_are_listed_by_total_time<C: Tested>(name: &str) {
    let database = C::database(name);
    for (query_text, kinds) in [
        (
            true,
            vec![("SELECT ? AS n, ? AS secret", 1), ("SELECT ? AS n", 2)],
        ),
        // Statements of one summary are one.
        (false, vec![("SELECT", 3)]),
    ] {
        let builder = database.pool::<C>();
        let builder = builder.settings(|settings| settings.query_text = query_text);
        let pool = builder.build().unwrap();
        let mut connection = pool.get().await.unwrap();
        for statement in [
            "SELECT 7 AS n",
            "SELECT 8 AS n",
            "SELECT 1 AS n, 'classified' AS secret",
        ] {
            connection.run(statement).await.unwrap();
        }
        drop(connection);

        let listed = async || pool.optimize().await;
        let advice = until("all three", listed, |advice| {
            let executions = advice.statements.iter().map(|it| it.executions);
            executions.sum::<u64>() == 3
        })
        .await;
        let mut statements: Vec<_> = advice.statements.iter().collect();
        assert!(
            statements.is_sorted_by(|a, b| a.seconds >= b.seconds),
            "{statements:#?}"
        );
        // Which of them took longer depends on the machine.
        statements.sort_by_key(|it| it.executions);
        let counted = statements.iter().map(|it| (&*it.statement, it.executions));
        assert_eq!(counted.collect::<Vec<_>>(), kinds);
        assert!(
            statements.iter().all(|it| it.mean_ms > 0.0),
            "{statements:#?}"
        );
        let said = get(pool.monitor(), "optimize").await.text();
        assert!(!said.contains("classified"), "{said}");
    }
}
