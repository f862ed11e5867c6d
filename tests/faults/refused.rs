//! The server runs, but accepts no new connections.

use futures_util::future::try_join_all;

use crate::databases::{Database, Tested};
use crate::load::Load;
use crate::lost::nothing_is_lost;
use crate::outages::{is_refused, is_served_again, pool};
use crate::servers::{Faulty, on_each_server};
use crate::support::PASSWORD;
use crate::support::mariadb::{self, MariaDb};
use crate::support::postgres::{self, Postgres};

on_each_server!(a_changed_password_fails_only_new_connections);

/// Open connections remain usable; new ones fail at once until the password is right.
async fn a_changed_password_fails_only_new_connections<S: Faulty>(name: &str) {
    let server = S::shared();
    let pool = pool::<S::Connection>(&server.create_user(name));
    let load = Load::start(&pool, 8);
    load.is_served(100).await;
    server.set_password(name, "another");
    let since = load.since_now();
    load.is_served(100).await;
    assert_eq!(since.outcomes().refusals(), 0);

    tokio::task::block_in_place(|| server.end_sessions(name));
    is_refused(&load, &["authentication"]).await;
    tokio::task::block_in_place(|| server.set_password(name, PASSWORD));
    is_served_again(&load).await;
    load.end().await;
    nothing_is_lost(&pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_fails_only_new_connections() {
    let server = Postgres::start(postgres::Options::new().max_connections(10));
    without_a_slot::<Postgres>(&server.url(), 10).await;
    let server = MariaDb::start(mariadb::Options::new().max_connections(10));
    without_a_slot::<MariaDb>(&server.create_user("app"), 10).await;
}

/// Without open connections, checkouts fail at once; with some, the pool serves with those.
async fn without_a_slot<S: Faulty>(url: &str, slots: u32) {
    let theirs = Database::at(url)
        .pool::<S::Connection>()
        .pool_size(slots)
        .build()
        .unwrap();
    let take = async |slots| {
        try_join_all((0..slots).map(|_| theirs.get()))
            .await
            .unwrap()
    };
    let mut taken = take(slots).await;
    let ours = pool::<S::Connection>(url);
    let load = Load::start(&ours, 32);
    is_refused(&load, &["too_many_connections"]).await;

    // Frees two slots, where eight are wanted: a connection returned dirty is closed.
    for mut conn in taken.drain(..2) {
        conn.run("BEGIN").await.unwrap();
    }
    is_served_again(&load).await;
    let since = load.since_now();
    load.is_served(200).await;
    assert_eq!(since.outcomes().refusals(), 0);

    drop(taken);
    assert!(theirs.close(crate::monitor_client::PATIENCE).await);
    load.is_served(200).await;
    load.end().await;
    nothing_is_lost(&ours).await;
}
