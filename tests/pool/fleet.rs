//! How many replicas share a server, counted from its sessions.

use std::net::{Ipv4Addr, SocketAddr};

use diesel::sql_types::Text;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncConnection, AsyncMysqlConnection, AsyncPgConnection, RunQueryDsl};
use poolscope::Pool;
use poolscope::backend::AsyncSqliteConnection;
use poolscope::report::{Fleet, Optimization, WhatIf};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket};

use crate::databases::{Database, Tested};
use crate::monitor_client::until;
use crate::support::mariadb::{self, MariaDb};
use crate::support::postgres::{self, Postgres};

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

fn pool<C: Tested>(url: &str, name: &str) -> Pool<C> {
    let builder = Database::at(url).pool::<C>().name(name);
    builder.pool_size(2).max_overflow(0).build().unwrap()
}

fn fleet(advice: &Optimization) -> &Fleet {
    advice.fleet.as_ref().expect("a server with a limit")
}

/// Waits until the counted sessions match.
async fn fleet_of<C: Tested>(pool: &Pool<C>, is_so: impl Fn(&Fleet) -> bool) -> Fleet {
    let ask = async || fleet(&pool.optimize().await).clone();
    until("counted", ask, is_so).await
}

/// The name of this process's sessions.
async fn own_name(pool: &Pool<AsyncPgConnection>) -> String {
    let mut connection = pool.get().await.unwrap();
    let name = sql_query("SELECT current_setting('application_name') AS name");
    let row: Name = name.get_result(&mut *connection).await.unwrap();
    row.name
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_are_counted_from_postgres_sessions() {
    let server = Postgres::start(postgres::Options::new().max_connections(40));
    let ours = pool::<AsyncPgConnection>(&server.url(), "ours");
    let name = own_name(&ours).await;
    let (service, _) = name.split_once('@').unwrap();
    let alone = fleet_of(&ours, |fleet| fleet.other_connections == 0).await;
    assert_eq!((alone.replicas, alone.counted_from), (1, "sessions"));
    assert_eq!(alone.server_max_connections, 40);
    assert_eq!(alone.grantable, 40 - alone.reserved);
    assert_eq!(
        alone.share,
        alone.grantable - 1,
        "the monitoring connection has one of them"
    );

    // Two replicas with two connections each, and another application.
    let mut sessions = Vec::new();
    for replica in ["replica-2", "replica-3"] {
        let url = format!("{}?application_name={service}@{replica}", server.url());
        for _ in 0..2 {
            sessions.push(AsyncPgConnection::establish(&url).await.unwrap());
        }
    }
    let others = format!("{}?application_name=nightly@replica-9", server.url());
    let other = AsyncPgConnection::establish(&others).await.unwrap();
    let three = fleet_of(&ours, |fleet| fleet.replicas == 3).await;
    assert_eq!(
        (three.counted_from, three.other_connections),
        ("sessions", 1)
    );
    assert_eq!(three.grantable, 40 - three.reserved - 1);
    assert_eq!(three.share, three.grantable / 3 - 1);

    // A second pool of this process: each replica is assumed to have two pools.
    let second = pool::<AsyncPgConnection>(&server.url(), "second");
    let _held = [second.get().await.unwrap(), second.get().await.unwrap()];
    let with_two = fleet_of(&ours, |fleet| fleet.other_pools == 2).await;
    assert_eq!(with_two.share, three.share - 2);

    let what_if = WhatIf::new().replicas(10);
    let ten = ours.optimize_for(&what_if).await.unwrap();
    assert_eq!(
        (fleet(&ten).replicas, fleet(&ten).counted_from),
        (10, "what_if")
    );
    assert_eq!(
        fleet(&ten).share,
        0,
        "three each, less the monitoring connection and those of the other pool"
    );
    drop((sessions, other));
}

#[tokio::test(flavor = "multi_thread")]
async fn nameless_sessions_are_one_replica_unless_replicas_is_set() {
    let server = Postgres::start(postgres::Options::new().max_connections(40));
    let nameless = Database::at(&server.url())
        .pool::<AsyncPgConnection>()
        .settings(|settings| settings.application_name = false);
    let ours = nameless.pool_size(2).max_overflow(0).build().unwrap();
    let held = ours.get().await.unwrap();
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(AsyncPgConnection::establish(&server.url()).await.unwrap());
    }
    let assumed = fleet_of(&ours, |fleet| fleet.other_connections == 3).await;
    assert_eq!((assumed.replicas, assumed.counted_from), (1, "assumed"));
    assert!(assumed.counted.contains("DB_POOL_REPLICAS"), "{assumed:?}");
    assert_eq!(assumed.share, 40 - assumed.reserved - 3 - 1);
    drop(held);

    let set = Database::at(&server.url())
        .pool::<AsyncPgConnection>()
        .settings(|settings| {
            settings.application_name = false;
            settings.replicas = Some(4);
        });
    let set = set
        .name("set")
        .pool_size(2)
        .max_overflow(0)
        .build()
        .unwrap();
    let _held = set.get().await.unwrap();
    let configured = fleet_of(&set, |fleet| fleet.other_connections == 0).await;
    assert_eq!(
        (configured.replicas, configured.counted_from),
        (4, "setting")
    );
    assert_eq!(configured.share, (40 - configured.reserved) / 4 - 1);
}

/// A proxy whose connections come from another address of this machine.
async fn from_another_host(to: u16) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let socket = TcpSocket::new_v4().unwrap();
            let host = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 0));
            socket.bind(host).unwrap();
            let server = SocketAddr::from((Ipv4Addr::LOCALHOST, to));
            let mut server = socket.connect(server).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_are_counted_from_the_hosts_of_mariadb_sessions() {
    let server = MariaDb::start(mariadb::Options::new().max_connections(40));
    let ours = pool::<AsyncMysqlConnection>(&server.url(), "ours");
    let _held = ours.get().await.unwrap();
    let alone = fleet_of(&ours, |fleet| fleet.other_connections == 0).await;
    assert_eq!((alone.replicas, alone.counted_from), (1, "sessions"));
    assert_eq!(alone.share, 40 - 1);

    let port = from_another_host(server.port()).await;
    // By default the driver would use the server's Unix socket.
    let elsewhere = server
        .url()
        .replace(&format!(":{}/", server.port()), &format!(":{port}/"));
    let elsewhere = format!("{elsewhere}?prefer_socket=false");
    let theirs = pool::<AsyncMysqlConnection>(&elsewhere, "theirs");
    let _theirs = [theirs.get().await.unwrap(), theirs.get().await.unwrap()];
    let two = fleet_of(&ours, |fleet| fleet.replicas == 2).await;
    assert_eq!((two.other_connections, two.share), (0, 40 / 2 - 1));
    // The other replica counts the same.
    let same = fleet_of(&theirs, |fleet| fleet.replicas == 2).await;
    assert_eq!((same.other_connections, same.share), (0, two.share));
}

#[tokio::test]
async fn sqlite_has_no_fleet() {
    let database = AsyncSqliteConnection::database("no_fleet");
    let pool = database.pool::<AsyncSqliteConnection>().build().unwrap();
    let what_if = WhatIf::new().replicas(4);
    assert_eq!(pool.optimize_for(&what_if).await.unwrap().fleet, None);
}
