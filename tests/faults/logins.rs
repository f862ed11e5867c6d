//! Logins: passwords that change, passwords that are wrong, and a provider that does not give any.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use diesel_async::AsyncPgConnection;
use futures_util::future::{join_all, try_join_all};
use poolscope::backend::{ConnectError, ConnectErrorKind, Credentials};
use poolscope::settings::Secret;
use poolscope::{PoolBuilder, PoolError};
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep};

use crate::databases::{Database, Tested};
use crate::load::Load;
use crate::lost::nothing_is_lost;
use crate::outages::pool;
use crate::servers::{Faulty, on_each_server};
use crate::support::PASSWORD;
use crate::support::mariadb;
use crate::support::mariadb::MariaDb;
use crate::support::postgres::Postgres;
use crate::support::waiting::{SOON, soon, until};

on_each_server!(
    a_rotated_password_fails_no_checkout,
    a_wrong_password_is_tried_once_a_second,
);

/// A pool whose password is that of the mutex.
fn rotating<C: Tested>(url: &str) -> (PoolBuilder<C>, Arc<Mutex<Secret>>) {
    let password = Arc::new(Mutex::new(Secret::from(PASSWORD)));
    let current = Arc::clone(&password);
    let builder = Database::at(&url.replace(PASSWORD, "not-used")).pool();
    let builder = builder.credentials(move || {
        let current = current.lock().unwrap().clone();
        async move { Ok::<_, io::Error>(Credentials::new(current)) }
    });
    (builder, password)
}

/// Connections are opened all the time, and only the latest password is right.
async fn a_rotated_password_fails_no_checkout<S: Faulty>(name: &str) {
    let server = S::shared();
    let (builder, password) = rotating::<S::Connection>(&server.create_user(name));
    let pool = builder
        .pool_size(4)
        .max_overflow(4)
        .pool_recycle(Duration::from_millis(100))
        .build()
        .unwrap();
    let load = Load::start(&pool, 8);
    load.is_served(100).await;
    for number in 0..6 {
        let next = format!("rotated-{number}");
        let change = || block_in_place(|| server.set_password(name, &next));
        // The server's is changed first, or the app's.
        if number % 2 == 0 {
            change();
            *password.lock().unwrap() = Secret::from(&*next);
        } else {
            let mut password = block_in_place(|| password.lock().unwrap());
            *password = Secret::from(&*next);
            change();
        }
        let opened = pool.status().totals.connections_opened;
        let totals = async || pool.status().totals;
        until("others are opened", totals, |totals| {
            totals.connections_opened >= opened + 8
        })
        .await;
        assert!(pool.health().await.can_serve());
    }
    let seen = load.end().await;
    assert_eq!(seen.refusals(), 0, "{seen:?}");
    nothing_is_lost(&pool).await;
}

/// How many logins with a wrong password the server has counted.
fn failed_logins(log: &str, user: &str) -> usize {
    let lines = log.lines();
    let failed = lines.filter(|line| {
        line.contains(&format!(
            "FATAL:  password authentication failed for user \"{user}\""
        )) || line.contains(&format!("Access denied for user '{user}'"))
    });
    failed.count()
}

/// A checkout that has to connect gets the error although other connections are held. Checkouts, reports
/// and a warm-up together try one login a second at most, so that the account is not locked.
async fn a_wrong_password_is_tried_once_a_second<S: Faulty>(name: &str) {
    let server = S::shared();
    let pool = pool::<S::Connection>(&server.create_user(name));
    let held = try_join_all((0..3).map(|_| pool.get())).await.unwrap();
    block_in_place(|| server.set_password(name, "another"));
    let (start, enough) = (Instant::now(), AtomicBool::new(false));
    let checkouts = (0..16).map(async |_| {
        while !enough.load(Ordering::Relaxed) {
            let refused = soon("a refusal", pool.get()).await;
            let error = refused.expect_err("five more need a login");
            assert_eq!(error.error_type(), "authentication", "{error}");
        }
    });
    let reports = async {
        while !enough.load(Ordering::Relaxed) {
            drop(pool.health().await);
            drop(pool.warm_up(Duration::from_millis(10)).await);
        }
    };
    let watch = async {
        let count = async || failed_logins(&server.log(), name);
        until("logins fail", count, |failed| *failed >= 4).await;
        enough.store(true, Ordering::Relaxed);
    };
    tokio::join!(join_all(checkouts), reports, watch);
    let (failed, seconds) = (failed_logins(&server.log(), name), start.elapsed());
    assert!(
        failed as u64 <= seconds.as_secs() + 1,
        "{failed} in {seconds:?}"
    );
    // A checkout that waits gets a connection that is returned.
    let waiting = pool.get();
    let returning = async {
        sleep(Duration::from_millis(50)).await;
        drop(held);
    };
    let (served, ()) = tokio::join!(waiting, returning);
    drop(served.unwrap());
    block_in_place(|| server.set_password(name, PASSWORD));
    let load = Load::start(&pool, 8);
    load.is_served(100).await;
    load.end().await;
    nothing_is_lost(&pool).await;
}

/// The login that cancels a query has the newest password, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_cancelled_after_a_rotation() {
    let server = mariadb::shared();
    let name = "cancelled_after_rotation";
    let (builder, password) =
        rotating::<<MariaDb as Faulty>::Connection>(&server.create_user(name));
    let pool = builder.build().unwrap();
    let mut conn = pool.get().await.unwrap();
    let running = async || {
        server.sql(&format!(
            "SELECT count(*) FROM information_schema.PROCESSLIST WHERE USER = '{name}' AND INFO LIKE '%SLEEP(300)%'"
        ))
    };
    {
        let asleep = conn.number("SELECT SLEEP(300) AS n");
        tokio::select! {
            answer = asleep => panic!("{answer:?}"),
            _ = until("it runs", running, |count| count == "1") => {}
        }
    }
    server.set_password(name, "rotated");
    *password.lock().unwrap() = Secret::from("rotated");
    drop(conn);
    until("it is cancelled", running, |count| count == "0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_or_expired_account_is_an_authentication_error() {
    let server =
        MariaDb::start(mariadb::Options::new().argument("--disconnect-on-expired-password=ON"));
    for (name, change, code) in [
        ("locked", "ACCOUNT LOCK", "4151"),
        ("expired", "PASSWORD EXPIRE", "1862"),
    ] {
        let url = server.create_user(name);
        server.sql(&format!("ALTER USER {name}@'%' {change}"));
        let pool = pool::<<MariaDb as Faulty>::Connection>(&url);
        let error = soon("a refusal", pool.get()).await.unwrap_err();
        match error {
            PoolError::ConnectFailed(error) => assert_eq!(
                (error.kind(), error.code()),
                (ConnectErrorKind::Authentication, Some(code)),
                "{error}"
            ),
            other => panic!("{other}"),
        }
    }
}

/// The text of the provider's error may contain a secret. Only that of a `ConnectError` is shown.
#[tokio::test(flavor = "multi_thread")]
async fn a_failing_credentials_provider_is_an_authentication_error() {
    let server = Postgres::shared();
    let secret = "hunter2-secret";
    let url = server.create_user("without_credentials");
    let builder = || {
        Database::at(&url)
            .pool::<AsyncPgConnection>()
            .pool_timeout(SOON)
    };
    let credentials = move || Credentials::new(secret);
    let fails = builder().credentials(move || async move {
        Err::<Credentials, _>(io::Error::other(format!(
            "no answer with the token {secret}"
        )))
    });
    let says = builder().credentials(|| async {
        let why = ConnectError::new(ConnectErrorKind::Unreachable, "the vault is sealed", None);
        Err::<Credentials, _>(why)
    });
    // Only here: on a busy machine a login takes longer.
    let limit = Duration::from_millis(300);
    let hangs = builder()
        .connect_timeout(limit)
        .credentials(std::future::pending::<Result<Credentials, io::Error>>);
    let panics = builder().credentials(|| async {
        let nothing: Result<Credentials, io::Error> = match SOON.is_zero() {
            true => Ok(Credentials::new("")),
            false => panic!("it has no password"),
        };
        nothing
    });
    let wrong = builder().credentials(move || async move { Ok::<_, io::Error>(credentials()) });
    for (builder, text) in [
        (fails, "the credentials provider failed"),
        (says, "the credentials provider failed: the vault is sealed"),
        (
            hangs,
            "the credentials provider did not answer within 300ms",
        ),
        (panics, "the credentials provider panicked"),
        (
            wrong,
            "password authentication failed for user \"without_credentials\"",
        ),
    ] {
        let pool = builder.build().unwrap();
        let error = soon("a refusal", pool.get()).await.unwrap_err();
        let health = serde_json::to_string(&pool.health().await).unwrap();
        assert!(!format!("{error} {error:?} {health} {pool:?}").contains(secret));
        match error {
            PoolError::ConnectFailed(error) => assert_eq!(
                (error.kind(), error.message()),
                (ConnectErrorKind::Authentication, text)
            ),
            other => panic!("{other}"),
        }
        nothing_is_lost_without_a_login(&pool);
    }
}

fn nothing_is_lost_without_a_login(pool: &poolscope::Pool<AsyncPgConnection>) {
    let status = pool.status();
    assert_eq!(
        (status.checked_out, status.pending, status.total_connections),
        (0, 0, 0)
    );
}
