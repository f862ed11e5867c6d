//! Connecting when some attempts fail, hang, or finish late.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use diesel::ConnectionError;
use diesel_async::AsyncConnection;
use diesel_async::pooled_connection::ManagerConfig;
use futures_util::FutureExt;
use poolscope::backend::AsyncSqliteConnection;
use poolscope::{Pool, Settings};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::databases::{Database, Tested};
use crate::support::waiting::{until, within_patience};

/// A pool whose n-th connect attempt (from 1) awaits the script before it opens its connection.
fn scripted<F, R>(database: &Database, script: F) -> poolscope::PoolBuilder<AsyncSqliteConnection>
where
    F: Fn(u32) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), &'static str>> + Send + 'static,
{
    let path = database.url.trim_start_matches("sqlite://").to_owned();
    let (dials, script) = (AtomicU32::new(0), Arc::new(script));
    let mut config = ManagerConfig::<AsyncSqliteConnection>::default();
    config.custom_setup = Box::new(move |_| {
        let number = dials.fetch_add(1, Ordering::Relaxed) + 1;
        let (path, script) = (path.clone(), Arc::clone(&script));
        async move {
            match script(number).await {
                Ok(()) => AsyncSqliteConnection::establish(&path).await,
                Err(why) => Err(ConnectionError::BadConnection(why.to_owned())),
            }
        }
        .boxed()
    });
    database.pool().manager_config(config)
}

/// One attempt fails while another succeeds: the connection may go to either waiter, and both are still
/// served soon.
#[tokio::test(flavor = "multi_thread")]
async fn no_waiter_is_left_without_a_connect_attempt() {
    let database = AsyncSqliteConnection::database("left_without");
    let (begun, failed) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let pool = scripted(&database, move |number| {
        let (begun, failed) = (Arc::clone(&begun), Arc::clone(&failed));
        async move {
            match number {
                2 => {
                    begun.acquire().await.unwrap().forget();
                    failed.add_permits(1);
                    Err("this one fails")
                }
                3 => {
                    begun.add_permits(1);
                    failed.acquire().await.unwrap().forget();
                    Ok(())
                }
                _ => Ok(()),
            }
        }
    })
    .pool_size(5)
    .pool_timeout(Duration::from_secs(3600))
    .build()
    .unwrap();
    let held = pool.get().await.unwrap();
    let both = async { tokio::join!(pool.get(), pool.get()) };
    let (first, second) = within_patience("both are served", both).await;
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
    drop(held);
}

/// Several check-ins come before the first waiter wakes: the connections go to the waiters and are not
/// closed as overflow.
#[tokio::test]
async fn connections_are_not_closed_while_a_checkout_waits() {
    let database = AsyncSqliteConnection::database("churn");
    let pool = database
        .pool::<AsyncSqliteConnection>()
        .pool_size(2)
        .max_overflow(6)
        .build()
        .unwrap();
    let tasks: Vec<_> = (0..40)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                for _ in 0..25 {
                    let held = pool.get().await.unwrap();
                    sleep(Duration::from_millis(1)).await;
                    drop(held);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let totals = pool.status().totals;
    assert_eq!(totals.checkouts, 1000);
    // Eight are needed; at the end some close as overflow, and a few of them may be opened again.
    assert!(totals.connections_opened <= 40, "{totals:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connect_that_ends_after_the_close_leaves_nothing_open() {
    let database = AsyncSqliteConnection::database("late_dial");
    let (go, begun) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (hold, say) = (Arc::clone(&go), Arc::clone(&begun));
    let pool = scripted(&database, move |_| {
        let (hold, say) = (Arc::clone(&hold), Arc::clone(&say));
        async move {
            say.add_permits(1);
            let _ = hold.acquire().await;
            Ok(())
        }
    })
    .build()
    .unwrap();
    let mut get = Box::pin(pool.get());
    assert!(get.as_mut().now_or_never().is_none());
    let _ = begun.acquire().await.unwrap();
    drop(get);
    assert!(pool.close(Duration::from_secs(10)).await);
    go.add_permits(10);
    let status = async || pool.status();
    until("it is closed", status, |status| {
        status.totals.connections_closed.shutdown > 0
    })
    .await;
    assert_eq!(pool.status().total_connections, 0);
}

/// Parameters like `PRAGMA key` are secrets, and so is what an app's set-up repeats of the URL.
#[tokio::test(flavor = "multi_thread")]
async fn no_error_shows_secrets_of_the_url() {
    let url = "sqlite:///no/such/folder/a.db?key=hunter2-secret&mode=rw";
    let pool = Pool::<AsyncSqliteConnection>::builder(Settings::new(url))
        .build()
        .unwrap();
    let error = pool.get().await.unwrap_err();
    let health = serde_json::to_string(&pool.health().await).unwrap();
    let seen = format!("{error} {error:?} {health} {pool:?}");
    assert!(seen.contains("/no/such/folder/a.db"), "{seen}");
    assert!(!seen.contains("hunter2-secret"), "{seen}");

    let database = AsyncSqliteConnection::database("own_secret");
    let url = format!("{}?key=hunter2-secret", database.url);
    let mut config = ManagerConfig::<AsyncSqliteConnection>::default();
    config.custom_setup = Box::new(|url| {
        let why = format!("can't open {url}");
        async move { Err(ConnectionError::BadConnection(why)) }.boxed()
    });
    let pool = Pool::<AsyncSqliteConnection>::builder(Settings::new(url))
        .manager_config(config)
        .build()
        .unwrap();
    let error = pool.get().await.unwrap_err();
    assert!(
        !format!("{error} {error:?}").contains("hunter2-secret"),
        "{error}"
    );
}

/// SQLite queries may not be dropped half-way on a current-thread runtime, but a checkout may.
#[tokio::test]
async fn a_checkout_can_be_dropped_while_it_pings_on_a_current_thread_runtime() {
    let database = AsyncSqliteConnection::database("current_thread");
    let pool = database
        .pool::<AsyncSqliteConnection>()
        .pool_size(1)
        .max_overflow(0)
        .pre_ping_bypass(Duration::ZERO)
        .build()
        .unwrap();
    drop(pool.get().await.unwrap());
    let mut get = Box::pin(pool.get());
    assert!(get.as_mut().now_or_never().is_none());
    drop(get);
    assert_eq!(pool.get().await.unwrap().select(1).await.unwrap(), 1);
    assert_eq!(pool.status().totals.connections_opened, 1);
}
