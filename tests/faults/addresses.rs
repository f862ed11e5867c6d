//! A URL with several hosts, of which some are silent, gone, or not what is asked for.

use diesel_async::AsyncPgConnection;
use poolscope::{Pool, PoolError};
use tokio::net::TcpListener;

use crate::databases::{Database, Tested};
use crate::load::Load;
use crate::lost::{nothing_is_lost, within_patience};
use crate::monitor_client::until;
use crate::outages::{is_refused, is_served_again, pool};
use crate::support::PASSWORD;
use crate::support::ports::free_port;
use crate::support::postgres::{self, Options, Postgres};

type Pg = AsyncPgConnection;

/// A URL of these ports of this machine.
fn url(ports: &[u16], rest: &str) -> String {
    let hosts: Vec<_> = ports
        .iter()
        .map(|port| format!("127.0.0.1:{port}"))
        .collect();
    format!("postgres://poolscope:{PASSWORD}@{}/{rest}", hosts.join(","))
}

async fn is_served_by_the_second(first: u16, parameters: &str) {
    let second = postgres::shared().port();
    let pool: Pool<Pg> = pool(&url(&[first, second], &format!("poolscope{parameters}")));
    let load = Load::start(&pool, 16);
    load.is_served(200).await;
    let seen = load.end().await;
    assert_eq!((seen.failed, seen.refusals()), (0, 0), "{seen:?}");
    nothing_is_lost(&pool).await;
}

/// It takes connections, and never says a word.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_of_two_hosts_is_silent() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    // Without the parameter, the time of the pool is divided.
    for parameters in ["?connect_timeout=4", ""] {
        is_served_by_the_second(port, parameters).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_of_two_hosts_refuses_connections() {
    is_served_by_the_second(free_port(), "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_error_names_each_host_that_was_tried() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (silent, gone) = (listener.local_addr().unwrap().port(), free_port());
    let url = url(
        &[silent, gone],
        "shop?connect_timeout=1&target_session_attrs=primary",
    );
    let pool: Pool<Pg> = Database::at(&url).pool().build().unwrap();
    let error = within_patience("the cause", pool.get()).await.unwrap_err();
    let PoolError::ConnectFailed(error) = error else {
        panic!("{error}");
    };
    for host in [silent, gone] {
        let host = format!("(127.0.0.1:{host})");
        assert!(error.message().contains(&host), "{error}");
    }
    assert!(!error.message().contains(PASSWORD), "{error}");
}

/// Each value of `target_session_attrs` finds its server, also after a failover.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_promoted() {
    let mut primary = Postgres::start(Options::new());
    let mut standby = Postgres::start(Options::new());
    tokio::task::block_in_place(|| standby.make_standby());
    let ports = [standby.port(), primary.port()];
    let of = |role: &str| -> Pool<Pg> {
        pool(&url(
            &ports,
            &format!("poolscope?target_session_attrs={role}"),
        ))
    };
    for (role, port) in [
        ("any", standby.port()),
        ("read-only", standby.port()),
        ("standby", standby.port()),
        ("prefer-standby", standby.port()),
        ("read-write", primary.port()),
        ("primary", primary.port()),
    ] {
        let mut conn = of(role).get().await.unwrap();
        let found = conn.number("SELECT inet_server_port() AS n").await.unwrap();
        assert_eq!(found, i32::from(port), "{role}");
    }

    let pool = of("read-write");
    let load = Load::start(&pool, 16);
    load.is_served(200).await;
    tokio::task::block_in_place(|| primary.kill9());
    is_refused(&load, &["unreachable", "starting"]).await;
    let error = load.ask().await.expect_err("nobody may write").to_string();
    let says = format!(
        "the server is read-only, expected target_session_attrs=read-write (127.0.0.1:{}); \
         connection refused (127.0.0.1:{})",
        ports[0], ports[1]
    );
    assert!(error.contains(&says), "{error}");
    tokio::task::block_in_place(|| standby.psql("SELECT pg_promote()"));
    is_served_again(&load).await;
    load.end().await;
    nothing_is_lost(&pool).await;

    // Nobody is a standby now.
    let mut conn = of("prefer-standby").get().await.unwrap();
    let found = conn.number("SELECT inet_server_port() AS n").await.unwrap();
    assert_eq!(found, i32::from(standby.port()));
    let pool = of("standby");
    let refused = async || {
        pool.get()
            .await
            .err()
            .map(|error| error.error_type().to_owned())
    };
    until("no standby", refused, |kind| {
        kind.as_deref() == Some("unreachable")
    })
    .await;
}
