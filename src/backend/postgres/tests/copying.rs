//! Tests the count of commands with `COPY`, whose answers do not match its commands one to one.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use std::pin::pin;
use std::sync::Arc;
use tokio_postgres::Client;

use super::server::{eventually, plain};
use crate::backend::postgres::wire::Wire;
use crate::checkout::TransactionState;

async fn client_with_a_table() -> (Client, Arc<Wire>) {
    let opened = plain().await.open().await;
    tokio::spawn(opened.connection);
    opened
        .client
        .batch_execute("CREATE TEMP TABLE t (n int PRIMARY KEY)")
        .await
        .unwrap();
    (opened.client, opened.wire.unwrap())
}

/// Asserts that the wire is still on, that nothing is outstanding, and that the next command is
/// counted correctly.
async fn assert_clean(client: &Client, wire: &Wire) {
    eventually("the copy's end", || wire.outstanding() == Some(0)).await;
    client.query_one("SELECT 1", &[]).await.unwrap();
    eventually("the query's end", || wire.outstanding() == Some(0)).await;
    assert_eq!(wire.transaction(), Some(TransactionState::Idle));
    assert!(!wire.is_closed());
}

#[tokio::test]
async fn a_copy_from_the_client_counts_as_one_command() {
    let (client, wire) = client_with_a_table().await;
    let mut sink = pin!(
        client
            .copy_in::<_, Bytes>("COPY t FROM STDIN")
            .await
            .unwrap()
    );
    for n in 0..1000 {
        sink.send(Bytes::from(format!("{n}\n"))).await.unwrap();
    }
    assert_eq!(wire.outstanding(), Some(1));
    assert_eq!(sink.finish().await.unwrap(), 1000);
    assert_clean(&client, &wire).await;
    assert_eq!(wire.last_sqlstate(), None);
}

#[tokio::test]
async fn an_abandoned_copy_counts_as_one_command() {
    let (client, wire) = client_with_a_table().await;
    {
        let mut sink = pin!(
            client
                .copy_in::<_, Bytes>("COPY t FROM STDIN")
                .await
                .unwrap()
        );
        sink.send(Bytes::from_static(b"1\n")).await.unwrap();
    }
    assert_clean(&client, &wire).await;
    assert_eq!(wire.last_sqlstate(), Some(*b"57014"));
}

#[tokio::test]
async fn a_copy_of_invalid_data_counts_as_one_command() {
    let (client, wire) = client_with_a_table().await;
    let mut sink = pin!(
        client
            .copy_in::<_, Bytes>("COPY t FROM STDIN")
            .await
            .unwrap()
    );
    sink.send(Bytes::from_static(b"1\n1\n")).await.unwrap();
    sink.finish().await.unwrap_err();
    assert_clean(&client, &wire).await;
    assert_eq!(wire.last_sqlstate(), Some(*b"23505"));
}

#[tokio::test]
async fn a_copy_abandoned_before_the_server_answered_counts_as_one_command() {
    for _ in 0..20 {
        let (client, wire) = client_with_a_table().await;
        let statement = client.prepare("COPY t FROM STDIN").await.unwrap();
        let copy = Box::pin(client.copy_in::<_, Bytes>(&statement));
        // The future is polled once, so the command is queued, and dropped before any answer.
        drop(futures_util::future::select(copy, std::future::ready(())).await);
        assert_clean(&client, &wire).await;
    }
}

#[tokio::test]
async fn a_copy_by_simple_query_stays_outstanding() {
    // tokio-postgres does not support this kind of copy: it treats the server's response as an
    // error. The wire still shows the real state.
    let (client, wire) = client_with_a_table().await;
    client.batch_execute("COPY t FROM STDIN").await.unwrap_err();
    assert!(wire.outstanding() != Some(0) || wire.is_closed());
}

#[tokio::test]
async fn a_copy_to_the_client_works() {
    let (client, wire) = client_with_a_table().await;
    client
        .execute("INSERT INTO t SELECT generate_series(1, 5000)", &[])
        .await
        .unwrap();
    let before = wire.sent().unwrap();
    let stream = client.copy_out("COPY t TO STDOUT").await.unwrap();
    let pieces = pin!(stream).collect::<Vec<_>>().await;
    assert_eq!(pieces.into_iter().filter(Result::is_ok).count(), 5000);
    assert_clean(&client, &wire).await;
    let commands = before + 1..=wire.sent().unwrap();
    let rows: u64 = commands.map(|number| wire.outcome(number).unwrap().1).sum();
    assert_eq!(rows, 1, "pieces of a copy are not rows");
}
