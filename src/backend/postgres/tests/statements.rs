//! The records of real queries in the pool state: statements by time, and the load.

use std::time::Duration;

use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::server::{eventually, plain};
use crate::advice::model::Trace;
use crate::backend::Backend;
use crate::{Pool, PoolBuilder, Settings};

/// Runs three queries of two statements without spans, and checks the records.
async fn check_records<C>(change: impl FnOnce(PoolBuilder<C>) -> PoolBuilder<C>, url: &str)
where
    C: Backend,
    diesel::query_builder::SqlQuery: diesel_async::methods::ExecuteDsl<C>,
{
    let builder = Pool::<C>::builder(Settings::new(url));
    let builder = builder.query_spans(crate::settings::QuerySpans::Off);
    let pool = change(builder).build().unwrap();
    let mut conn = pool.get().await.unwrap();
    for statement in ["SELECT 7 AS n", "SELECT 8 AS n", "SELECT 'x' AS a, 2 AS b"] {
        let query = diesel::sql_query(statement);
        query.execute(&mut *conn).await.unwrap();
    }
    drop(conn);
    eventually("the end of all queries", || {
        let statements = pool.recorder().statements();
        statements
            .iter()
            .map(|(_, spent)| spent.total.count)
            .sum::<u64>()
            == 3
    })
    .await;
    let mut used: Vec<_> = pool.recorder().statements();
    used.sort_by_key(|it| std::cmp::Reverse(it.1.total.count));
    let texts: Vec<_> = used
        .iter()
        .map(|(it, spent)| (&*it.text, spent.total.count))
        .collect();
    assert_eq!(texts, [("SELECT ? AS n", 2), ("SELECT ? AS a, ? AS b", 1)]);
    assert!(
        used.iter()
            .all(|(it, spent)| spent.recent == spent.total && &*it.summary == "SELECT")
    );
    let (recorded, [minute, ..], _) = pool.recorder().history([1, 5, 60]);
    assert_eq!((minute.arrivals, minute.returned), (1, 1));
    let trace = Trace::of(&recorded.recent);
    let [hold] = trace.checkouts[..] else {
        panic!("{trace:?}")
    };
    let spent: Duration = used.iter().map(|(_, spent)| spent.total.time).sum();
    assert!(hold.held() >= spent.as_secs_f64() - 1e-6, "{hold:?}");
    let queries = hold.queries.expect("queries are observed");
    assert!(hold.granted <= queries.first && queries.last <= hold.returned);
    assert!(
        queries.busy > 0.0 && queries.busy <= hold.held(),
        "{hold:?}"
    );
}

#[tokio::test]
async fn statements_and_load_are_recorded_on_postgres() {
    let url = plain().await.url("127.0.0.1", "postgres");
    check_records::<AsyncPgConnection>(|it| it, &url).await;
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn statements_and_load_are_recorded_on_sqlite() {
    let memory = "sqlite://:memory:";
    check_records::<crate::backend::AsyncSqliteConnection>(
        |it| it.pool_size(1).max_overflow(0),
        memory,
    )
    .await;
}
