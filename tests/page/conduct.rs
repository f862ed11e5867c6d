//! How the page behaves: what it asks for, in which sizes and colours, with a token, and without an app.

use serde_json::json;

use crate::app::{App, run};
use crate::browser::Browser;

const TOKEN: &str = "mW9xJ4cQ7tRb2VzK";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_asked_of_anybody_else_and_nothing_is_refused() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let app = App::start("page_requests", |_| ()).await;
    run(&mut app.pool.get().await.unwrap(), "SELECT 1").await;
    browser.open(&app.page).await;
    browser.sees(&["Nothing is wrong"]).await;
    // Open everything that can be opened, so that everything is asked for.
    browser
        .run("for (const it of document.querySelectorAll('details')) it.open = true")
        .await;
    browser.sees(&["Nothing is wrong", "DB_POOL_SIZE"]).await;
    let mut requests = Vec::new();
    while !requests
        .iter()
        .any(|url: &String| url.contains("connections"))
    {
        requests.extend(browser.requests().await);
    }
    assert!(
        requests.iter().any(|url| url.contains("live")),
        "{requests:?}"
    );
    let elsewhere = |url: &&String| !url.starts_with(&app.page) && !url.starts_with("data:");
    let elsewhere: Vec<_> = requests.iter().filter(elsewhere).collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
    let complaints = browser.complaints().await;
    assert!(complaints.is_empty(), "{complaints:?}");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_asks_for_the_token_once() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let app = App::start("page_token", |s| s.monitor_token = Some(TOKEN.into())).await;
    browser.open(&app.page).await;
    browser.sees(&["This page needs the monitor"]).await;
    browser.enter("#token", "not-the-right-token").await;
    browser.sees(&["refused"]).await;
    browser.enter("#token", TOKEN).await;
    browser.sees(&["Nothing is wrong"]).await;
    browser.reload().await;
    browser.sees(&["Nothing is wrong"]).await;
    assert_eq!(browser.address().await, app.page);
    let requests = browser.requests().await;
    assert!(
        requests.iter().all(|url| !url.contains(TOKEN)),
        "{requests:?}"
    );
    // A refused request is in the console of every browser, and nothing else is.
    let complaints = browser.complaints().await;
    let others = complaints.iter().filter(|line| !line.contains("401"));
    assert_eq!(others.count(), 0, "{complaints:?}");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_light_and_a_dark_theme_fit_a_phone() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let app = App::start("page_phone", |_| ()).await;
    let phone = json!({ "width": 360, "height": 760, "deviceScaleFactor": 2, "mobile": true });
    browser
        .devtools("Emulation.setDeviceMetricsOverride", phone)
        .await;
    let mut colours = Vec::new();
    for theme in ["light", "dark"] {
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": theme }] });
        browser.devtools("Emulation.setEmulatedMedia", media).await;
        browser.open(&app.page).await;
        browser.sees(&["Nothing is wrong"]).await;
        let width = browser.run("return document.documentElement.scrollWidth");
        assert_eq!(width.await, json!(360), "no scrolling to the side");
        let colour = browser.run("return getComputedStyle(document.body).backgroundColor");
        colours.push(colour.await);
    }
    assert_ne!(colours[0], colours[1]);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_without_its_app_says_so() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let app = App::start("page_gone", |_| ()).await;
    browser.open(&app.page).await;
    browser.sees(&["Nothing is wrong"]).await;
    app.stop_serving();
    browser.sees(&["no answer since"]).await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_script_the_page_can_be_read() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let app = App::start("page_no_script", |_| ()).await;
    let _held = app.pool.get().await.unwrap();
    let off = json!({ "value": true });
    browser
        .devtools("Emulation.setScriptExecutionDisabled", off)
        .await;
    browser.open(&app.page).await;
    let text = browser.text().await;
    for part in ["1 of 2 connections are in use", "tests/page/conduct.rs:"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    browser.close().await;
}
