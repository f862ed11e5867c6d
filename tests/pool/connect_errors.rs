//! Errors of checkouts that get no connection: the cause, not a timeout.

use std::time::Duration;

use diesel_async::{AsyncMysqlConnection, AsyncPgConnection};
use futures_util::future::{join_all, try_join_all};
use poolscope::backend::{AsyncSqliteConnection, ConnectErrorKind};
use poolscope::{Pool, PoolError, Settings};

use crate::databases::{Tested, on_each_database};
use crate::support::mariadb::{self, MariaDb};
use crate::support::postgres::{self, Postgres, Stop};
use crate::support::waiting::{found, until, within_patience};
use crate::support::{PASSWORD, ports};

/// A pool timeout that no test waits for.
const AN_HOUR: Duration = Duration::from_secs(3600);

async fn connect_error<C: Tested>(url: &str) -> poolscope::backend::ConnectError {
    let builder = Pool::<C>::builder(Settings::new(url));
    let pool = builder.pool_timeout(AN_HOUR).build().unwrap();
    let error = within_patience("the cause", pool.get()).await.unwrap_err();
    assert!(!format!("{error} {error:?} {pool:?}").contains("wrong-secret"));
    let totals = pool.status().totals;
    assert_eq!((totals.errors, totals.timeouts), (1, 0));
    // More if the pool has retried in the background.
    assert!(totals.connect_failures >= Some(1));
    match error {
        PoolError::ConnectFailed(error) => error,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_reported_at_once() {
    let error =
        connect_error::<AsyncPgConnection>(&postgres::shared().url_with_password("wrong-secret"))
            .await;
    assert_eq!(
        (error.kind(), error.code()),
        (ConnectErrorKind::Authentication, Some("28P01"))
    );
    let error =
        connect_error::<AsyncMysqlConnection>(&mariadb::shared().url_with_password("wrong-secret"))
            .await;
    assert_eq!(
        (error.kind(), error.code()),
        (ConnectErrorKind::Authentication, Some("1045"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_port_is_reported_at_once() {
    let port = ports::free_port();
    let error = connect_error::<AsyncPgConnection>(&format!(
        "postgres://u:wrong-secret@127.0.0.1:{port}/d"
    ))
    .await;
    assert_eq!(error.kind(), ConnectErrorKind::Unreachable);
    assert!(
        error.to_string().contains(&format!("127.0.0.1:{port}")),
        "{error}"
    );
    let error = connect_error::<AsyncMysqlConnection>(&format!(
        "mysql://u:wrong-secret@127.0.0.1:{port}/d"
    ))
    .await;
    assert_eq!(error.kind(), ConnectErrorKind::Unreachable);
    assert!(
        error.to_string().contains(&format!("127.0.0.1:{port}")),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_database_is_reported_at_once() {
    let error = connect_error::<AsyncPgConnection>(&postgres::shared().url_of("nowhere")).await;
    assert_eq!(
        (error.kind(), error.code()),
        (ConnectErrorKind::Database, Some("3D000"))
    );
    let error = connect_error::<AsyncMysqlConnection>(&mariadb::shared().url_of("nowhere")).await;
    assert_eq!(
        (error.kind(), error.code()),
        (ConnectErrorKind::Database, Some("1049"))
    );
    let error = connect_error::<AsyncSqliteConnection>("sqlite:///no/such/folder/app.db").await;
    assert!(
        error.to_string().to_lowercase().contains("unable to open"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_waiter_gets_the_cause() {
    let url = postgres::shared().url_with_password("wrong-secret");
    let pool = Pool::<AsyncPgConnection>::builder(Settings::new(url))
        .pool_size(4)
        .max_overflow(0)
        .pool_timeout(AN_HOUR)
        .build()
        .unwrap();
    let errors = join_all((0..64).map(|_| pool.get()));
    let errors = within_patience("the cause", errors).await;
    for error in errors {
        let error = error.unwrap_err();
        assert_eq!(error.error_type(), "authentication", "{error}");
    }
    let status = pool.status();
    assert_eq!(
        (status.checked_out, status.pending, status.total_connections),
        (0, 0, 0)
    );
    // Not every checkout connects during an outage.
    assert!(
        status.totals.connect_failures < Some(32),
        "{:?}",
        status.totals
    );
    assert_eq!(pool.as_service().get_ref().gate().admitted(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_is_no_error_while_connections_come_back() {
    let server = Postgres::start(postgres::Options::new().max_connections(6));
    all_are_served::<AsyncPgConnection>(&server.url()).await;
    let server = MariaDb::start(mariadb::Options::new().max_connections(10));
    all_are_served::<AsyncMysqlConnection>(&server.create_user("app")).await;
}

/// Twenty users of a pool of twenty on a server with fewer slots.
async fn all_are_served<C: Tested>(url: &str) {
    let pool = Pool::<C>::builder(Settings::new(url))
        .pool_size(20)
        .build()
        .unwrap();
    let users = (0..20).map(|n| {
        let pool = pool.clone();
        async move {
            let mut conn = pool.get().await.unwrap();
            let failures = async || pool.status().totals.connect_failures;
            until("the slots run out", failures, |failures| {
                *failures > Some(0)
            })
            .await;
            conn.select(n).await.unwrap()
        }
    });
    let answers = join_all(users).await;
    assert_eq!(answers, (0..20).collect::<Vec<_>>());
    let totals = pool.status().totals;
    assert_eq!((totals.errors, totals.timeouts), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_is_an_error_for_a_pool_without_connections() {
    let server = Postgres::start(postgres::Options::new().max_connections(5));
    no_slot_is_left::<AsyncPgConnection>(&server.url(), 5, "53300").await;
    let server = MariaDb::start(mariadb::Options::new().max_connections(10));
    no_slot_is_left::<AsyncMysqlConnection>(&server.create_user("app"), 10, "1040").await;
}

async fn no_slot_is_left<C: Tested>(url: &str, slots: u32, code: &str) {
    let theirs = Pool::<C>::builder(Settings::new(url))
        .pool_size(slots)
        .build()
        .unwrap();
    let held = try_join_all((0..slots).map(|_| theirs.get()))
        .await
        .unwrap();
    let error = connect_error::<C>(url).await;
    assert_eq!(
        (error.kind(), error.code()),
        (ConnectErrorKind::TooManyConnections, Some(code))
    );
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_starts_without_its_database() {
    let mut server = Postgres::start(postgres::Options::new());
    server.stop(Stop::Fast);
    let pool = Pool::<AsyncPgConnection>::builder(Settings::new(server.url()))
        .build()
        .unwrap();
    let check = pool.healthcheck().await;
    assert!(
        check
            .reason
            .as_deref()
            .unwrap()
            .contains("can't be reached"),
        "{check:?}"
    );
    assert!(matches!(pool.get().await, Err(PoolError::ConnectFailed(_))));
    let health = pool.health().await;
    assert!(!health.can_serve() && health.database.last_connect_error.is_some());

    server.start_again();
    let get = async || pool.get().await.map_err(|error| error.to_string());
    let mut conn = found("a connection", get).await;
    assert_eq!(conn.select(6).await.unwrap(), 6);
    let check = async || pool.healthcheck().await;
    until("healthy", check, |check| check.is_ok()).await;
    assert_eq!(pool.health().await.database.last_connect_error, None);
}

on_each_database!(
    an_invalid_setting_is_an_error_at_build,
    no_output_shows_the_password,
);

async fn an_invalid_setting_is_an_error_at_build<C: Tested>(name: &str) {
    let database = C::database(name);
    let error = database
        .pool::<C>()
        .pool_size(0)
        .pool_timeout(Duration::ZERO)
        .build()
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("pool_size=\"0\"") && text.contains("pool_timeout"),
        "{text}"
    );
    let elsewhere = match C::database_name() {
        "sqlite" => "postgres://u:p@localhost/d",
        _ => "sqlite://a.db",
    };
    let error = Pool::<C>::builder(Settings::new(elsewhere))
        .build()
        .unwrap_err();
    assert!(error.to_string().contains("this is a pool of"), "{error}");
}

async fn no_output_shows_the_password<C: Tested>(name: &str) {
    let database = C::database(name);
    let pool = database.pool::<C>().build().unwrap();
    let conn = pool.get().await.unwrap();
    let seen = format!(
        "{pool:?} {conn:?} {:?} {:?} {} {} {} {}",
        pool.settings(),
        pool.monitor(),
        serde_json::to_string(&pool.status()).unwrap(),
        serde_json::to_string(&pool.health().await).unwrap(),
        serde_json::to_string(&pool.connections().await).unwrap(),
        serde_json::to_string(&pool.optimize().await).unwrap(),
    );
    assert!(!seen.contains(PASSWORD), "{seen}");
}
