//! Tests the readings of real sessions.

use std::time::{Duration, Instant};

use diesel::dsl::sql;
use diesel::sql_types::{Integer, Text};
use diesel_async::RunQueryDsl;
use futures_util::{StreamExt, TryStreamExt, future};

use super::server::{eventually, plain, run};
use crate::checkout::TransactionState;

#[tokio::test]
async fn a_new_connection_is_idle_and_its_process_known() {
    let mut connected = plain().await.connect().await;
    let wire = connected.wire.unwrap();
    assert_eq!(wire.outstanding(), Some(0));
    assert_eq!(wire.transaction(), Some(TransactionState::Idle));
    assert_eq!((wire.last_sqlstate(), wire.is_closed()), (None, false));
    let pid: i32 = diesel::select(sql::<Integer>("pg_backend_pid()"))
        .get_result(&mut connected.connection)
        .await
        .unwrap();
    assert_eq!(wire.process_id(), Some(pid));
}

#[tokio::test]
async fn a_transaction_is_detected_whichever_statement_began_it() {
    let mut connected = plain().await.connect().await;
    let (connection, wire) = (&mut connected.connection, connected.wire.unwrap());
    run(connection, "BEGIN").await.unwrap();
    eventually("BEGIN's end", || {
        wire.transaction() == Some(TransactionState::Open)
    })
    .await;
    run(connection, "SELECT 1/0").await.unwrap_err();
    eventually("the error's end", || {
        wire.transaction() == Some(TransactionState::Failed)
    })
    .await;
    assert_eq!(wire.last_sqlstate(), Some(*b"22012"));
    run(connection, "ROLLBACK").await.unwrap();
    eventually("ROLLBACK's end", || {
        wire.transaction() == Some(TransactionState::Idle)
    })
    .await;
}

#[tokio::test]
async fn an_error_after_the_first_rows_is_detected() {
    let mut connected = plain().await.connect().await;
    let (connection, wire) = (&mut connected.connection, connected.wire.unwrap());
    let query = sql::<Integer>("1000 / (3000 - g) FROM generate_series(1, 4000) g");
    let stream = diesel::select(query)
        .load_stream::<i32>(connection)
        .await
        .expect("the first rows are valid");
    stream.try_collect::<Vec<_>>().await.unwrap_err();
    let last = wire.sent().unwrap();
    assert_eq!(wire.outcome(last), Some((Some(*b"22012"), 2999)));
}

#[tokio::test]
async fn pipelined_queries_are_each_counted() {
    let server = plain().await;
    let (connected, mut other) = (server.connect().await, server.connect().await);
    let (connection, wire) = (connected.connection, connected.wire.unwrap());
    let before = wire.sent().unwrap();
    let (mut first, mut second) = (&connection, &connection);
    run(&mut other.connection, "SELECT pg_advisory_lock(4711)")
        .await
        .unwrap();
    let behind_the_lock = |number: i32| {
        let from = format!("{number} FROM (SELECT pg_advisory_lock_shared(4711)) AS locked");
        diesel::select(sql::<Integer>(&from))
    };
    let both = future::try_join(
        behind_the_lock(1).get_result::<i32>(&mut first),
        behind_the_lock(2).get_result::<i32>(&mut second),
    );
    let unlock = async {
        eventually("both are sent", || wire.outstanding() >= Some(2)).await;
        run(&mut other.connection, "SELECT pg_advisory_unlock(4711)").await
    };
    let (answers, unlocked) = future::join(both, unlock).await;
    unlocked.unwrap();
    assert_eq!(answers.unwrap(), (1, 2));
    eventually("the end", || wire.outstanding() == Some(0)).await;
    let commands = before + 1..=wire.sent().unwrap();
    let rows = commands.map(|number| wire.outcome(number).unwrap().1);
    assert_eq!(rows.filter(|rows| *rows == 1).count(), 2);
}

#[tokio::test]
async fn notices_and_notifications_do_not_count_as_answers() {
    let mut connected = plain().await.connect().await;
    let (connection, wire) = (&mut connected.connection, connected.wire.unwrap());
    run(connection, "LISTEN news").await.unwrap();
    run(
        connection,
        "DO $$ BEGIN RAISE WARNING 'FATAL'; NOTIFY news, 'x'; END $$",
    )
    .await
    .unwrap();
    eventually("the end", || wire.outstanding() == Some(0)).await;
    assert_eq!((wire.last_sqlstate(), wire.is_closed()), (None, false));
    assert_eq!(wire.transaction(), Some(TransactionState::Idle));
}

#[tokio::test]
async fn a_large_row_counts_as_one_row() {
    let mut connected = plain().await.connect().await;
    let (connection, wire) = (&mut connected.connection, connected.wire.unwrap());
    let text: String = diesel::select(sql::<Text>("repeat('Z', 1048576)"))
        .get_result(connection)
        .await
        .unwrap();
    assert_eq!(text.len(), 1 << 20);
    let last = wire.sent().unwrap();
    assert_eq!(wire.outcome(last), Some((None, 1)));
    let echoed: i32 = diesel::select(
        diesel::dsl::sql::<Integer>("length(")
            .bind::<Text, _>(text)
            .sql(")"),
    )
    .get_result(connection)
    .await
    .unwrap();
    assert_eq!(echoed, 1 << 20);
    eventually("the end", || wire.outstanding() == Some(0)).await;
}

#[tokio::test]
async fn the_server_is_busy_until_the_last_row() {
    let mut connected = plain().await.connect().await;
    let (connection, wire) = (&mut connected.connection, connected.wire.unwrap());
    let before = wire.busy().unwrap();
    let start = Instant::now();
    let query =
        sql::<Integer>("g FROM generate_series(1, 5) g, LATERAL (SELECT pg_sleep(0.06 + 0 * g)) s");
    let numbers: Vec<i32> = diesel::select(query).load(connection).await.unwrap();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    // Shortly afterwards, diesel-async closes a statement that it does not cache, which is one more
    // command. From then on, two readings are the same.
    let mut last = None;
    eventually("the end of the work", || {
        let busy = wire.busy();
        last.replace(busy) == Some(busy)
    })
    .await;
    let busy = wire.busy().unwrap() - before;
    assert!(
        (Duration::from_millis(300)..=start.elapsed()).contains(&busy),
        "{busy:?}"
    );
}

#[tokio::test]
async fn a_slow_reader_keeps_the_server_busy() {
    let mut connected = plain().await.connect().await;
    let (connection, wire) = (&mut connected.connection, connected.wire.unwrap());
    let before = wire.busy().unwrap();
    // More rows than fit into the buffers of the client and the server.
    let query = sql::<Text>("repeat('x', 10000) FROM generate_series(1, 3000)");
    let mut rows = diesel::select(query)
        .load_stream::<String>(connection)
        .await
        .unwrap();
    let mut count = 0;
    while let Some(row) = rows.next().await {
        row.unwrap();
        count += 1;
        if count % 300 == 0 {
            // The reader is slow.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    drop(rows);
    assert_eq!(count, 3000);
    let busy = wire.busy().unwrap() - before;
    assert!(busy > Duration::from_millis(100), "{busy:?}");
}

#[tokio::test]
async fn a_connection_closed_by_the_server_is_detected_without_a_query() {
    let server = plain().await;
    let (victim, mut other) = (server.connect().await, server.connect().await);
    let wire = victim.wire.unwrap();
    let pid = wire.process_id().unwrap();
    run(
        &mut other.connection,
        &format!("SELECT pg_terminate_backend({pid})"),
    )
    .await
    .unwrap();
    eventually("the end", || wire.is_closed()).await;
    assert_eq!(wire.last_sqlstate(), Some(*b"57P01"));
    let busy = wire.busy();
    assert!(!other.wire.unwrap().is_closed());
    assert_eq!(wire.busy(), busy);
    drop(victim.connection);
}

#[tokio::test]
async fn dropping_the_connection_closes_it() {
    let connected = plain().await.connect().await;
    let wire = connected.wire.unwrap();
    drop(connected.connection);
    eventually("the end", || wire.is_closed()).await;
}
