//! Each trouble is brought about on a real server. The visible text names the cause and the source line.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::app::{App, at, run};
use crate::browser::Browser;
use crate::support::postgres::{Options, Postgres};

/// What an app does between two queries.
async fn slow_call() {
    tokio::time::sleep(Duration::from_millis(200)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leak() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let mut app = App::start("page_leak", |settings| {
        settings.leak_threshold = Some(Duration::from_secs(1));
    })
    .await;
    static LINE: AtomicU32 = AtomicU32::new(0);
    app.serves(1, "/export", async |pool| {
        LINE.store(line!() + 1, Ordering::Relaxed);
        let _held = pool.get().await.unwrap();
        std::future::pending().await
    });
    browser.open(&app.page).await;
    browser.sees(&["Possible connection leak", "/export"]).await;
    let line = at(LINE.load(Ordering::Relaxed));
    browser.sees(&["Possible connection leak", &line]).await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hot_row() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let mut app = App::start("page_hot_row", |settings| settings.pool_size = 3).await;
    run(
        &mut app.pool.get().await.unwrap(),
        "CREATE TABLE stock AS SELECT 1 AS id, 5 AS left_over",
    )
    .await;
    static LINE: AtomicU32 = AtomicU32::new(0);
    app.serves(1, "/reprice", async |pool| {
        LINE.store(line!() + 1, Ordering::Relaxed);
        let mut conn = pool.get().await.unwrap();
        run(&mut conn, "BEGIN").await;
        run(&mut conn, "UPDATE stock SET left_over = 5 WHERE id = 1").await;
        std::future::pending().await
    });
    browser.open(&app.page).await;
    let line = || at(LINE.load(Ordering::Relaxed));
    browser
        .sees(&["idle in transaction", "/reprice", &line()])
        .await;
    app.serves(6, "/sell", async |pool| {
        let Ok(mut conn) = pool.get().await else {
            return;
        };
        run(&mut conn, "UPDATE stock SET left_over = 4 WHERE id = 1").await;
    });
    // The first one named is the one that has held longest: the transaction that has the row.
    let named = format!("held longest by /reprice at tests/page/{}", line());
    browser
        .sees(&["All 3 connections are in use", &named])
        .await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_too_small() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let mut app = App::start("page_too_small", |settings| settings.pool_size = 1).await;
    static LINE: AtomicU32 = AtomicU32::new(0);
    app.serves(6, "/search", async |pool| {
        LINE.store(line!() + 1, Ordering::Relaxed);
        let Ok(mut conn) = pool.get().await else {
            return;
        };
        run(&mut conn, "SELECT pg_sleep(0.1)").await;
    });
    browser.open(&app.page).await;
    browser
        .sees(&["All 1 connections are in use", "/search"])
        .await;
    let line = at(LINE.load(Ordering::Relaxed));
    browser.sees(&["raise DB_POOL_SIZE", &line]).await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_route_that_holds_without_using() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let mut app = App::start("page_slow_route", |_| ()).await;
    static LINE: AtomicU32 = AtomicU32::new(0);
    app.serves(6, "/report", async |pool| {
        LINE.store(line!() + 1, Ordering::Relaxed);
        let Ok(mut conn) = pool.get().await else {
            return;
        };
        run(&mut conn, "SELECT 1").await;
        slow_call().await;
    });
    browser.open(&app.page).await;
    browser.sees(&["low hold efficiency: /report at"]).await;
    let line = at(LINE.load(Ordering::Relaxed));
    browser
        .sees(&[&format!(
            "low hold efficiency: /report at tests/page/{line}"
        )])
        .await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_statement_many_times() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let mut app = App::start("page_n_plus_one", |settings| settings.n_plus_one = Some(5)).await;
    static LINE: AtomicU32 = AtomicU32::new(0);
    app.serves(1, "/orders", async |pool| {
        LINE.store(line!() + 1, Ordering::Relaxed);
        let mut conn = pool.get().await.unwrap();
        for _ in 0..20 {
            run(&mut conn, "SELECT relname FROM pg_class WHERE oid = 1259").await;
        }
        drop(conn);
        slow_call().await;
    });
    browser.open(&app.page).await;
    browser.sees(&["N+1: /orders", "SELECT pg_class"]).await;
    let line = at(LINE.load(Ordering::Relaxed));
    browser.sees(&["N+1: /orders", &line]).await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_database() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let mut server = Postgres::start(Options::new());
    let mut app = App::at(&server.url(), |settings| {
        settings.pool_timeout = Duration::from_secs(2);
        settings.thresholds.average_wait = Duration::from_secs(60);
    })
    .await;
    app.serves(2, "/search", async |pool| {
        if let Ok(mut conn) = pool.get().await {
            let _ =
                diesel_async::RunQueryDsl::execute(diesel::sql_query("SELECT 1"), &mut *conn).await;
        }
        slow_call().await;
    });
    browser.open(&app.page).await;
    browser.sees(&["Nothing is wrong"]).await;
    server.kill9();
    browser.sees(&["The database can't be reached"]).await;
    server.start_again();
    browser.sees(&["connections can be opened again"]).await;
    let verdict = "return document.getElementById('sentence').innerText";
    crate::support::waiting::until(
        "the outage is over",
        async || browser.run(verdict).await.to_string(),
        |sentence| !sentence.contains("reached"),
    )
    .await;
    browser.close().await;
}
