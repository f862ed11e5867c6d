//! Shutdown of the quickstart.

use http::StatusCode;
use rustix::process::Signal;

use crate::app::{App, assert_is_retriable};
use crate::support::http as client;

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_flight_are_served_and_new_ones_rejected() {
    let mut app = App::quiet(&[]);
    let slow = app.begin("/slow?ms=5000");
    app.until("status", |answer| answer.json()["checked_out"] == 1)
        .await;

    app.example.signal(Signal::TERM);
    let check = app
        .until("healthcheck", |answer| answer.status == 503)
        .await;
    assert!(check.text().contains("draining"), "{}", check.text());
    assert_is_retriable(&app.get("/users").await);
    assert_eq!(app.report("status").await["state"], "draining");
    assert_eq!(
        app.ask("health").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );

    let slow = slow.await.expect("no panic");
    assert_eq!(slow.status, StatusCode::OK, "{}", slow.text());
    assert!(app.example.wait().success(), "{}", app.example.output());
    let request = http::Request::get(app.url_of("/users")).body(Default::default());
    assert!(client::try_send(request.expect("a request")).await.is_err());
}

#[tokio::test]
async fn an_idle_quickstart_ends_at_once_and_leaves_no_file() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut app = App::start("quickstart", &[]);
        app.get("/users").await;
        assert_eq!(databases(&app), 1);
        app.example.signal(signal);
        assert!(app.example.wait().success(), "{}", app.example.output());
        assert_eq!(databases(&app), 0);
    }
}

fn databases(app: &App) -> usize {
    let files = std::fs::read_dir(app.example.folder()).expect("its folder");
    let names = files.map(|file| file.expect("an entry").file_name());
    names
        .filter(|name| name.to_string_lossy().starts_with("quickstart-"))
        .count()
}
