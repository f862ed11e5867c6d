//! `QUICKSTART_TRAFFIC=trouble`: each trouble comes by itself, and the reports name it.

use serde_json::Value;

use crate::app::App;
use crate::databases::sqlite;

#[tokio::test]
async fn each_trouble_comes_and_is_named() {
    let database = sqlite();
    let app = App::start(
        "quickstart",
        &[
            ("DATABASE_URL", &database.url),
            ("QUICKSTART_TRAFFIC", "trouble"),
            ("DB_POOL_SIZE", "4"),
            ("DB_MAX_OVERFLOW", "0"),
        ],
    );
    let health = async |list: &str, route: &str| {
        let named = |report: &Value| {
            let entries = report[list].as_array().into_iter().flatten();
            entries.into_iter().any(|entry| entry["route"] == route)
        };
        app.until("health", |answer| named(&answer.json())).await
    };
    health("n_plus_one", "/n-plus-one").await;
    health("longest_holders", "/report").await;
    // A peak has more clients than connections.
    app.until("status", |answer| {
        answer.json()["pending"].as_u64() > Some(2)
    })
    .await;
    health("longest_holders", "/leak").await;
}

#[test]
fn the_address_of_the_page_is_printed_first() {
    let app = App::quiet(&[]);
    let output = app.example.output();
    let page = output.find(&format!("{}/api/v1/monitoring/pool/\n", app.url));
    assert!(
        page.is_some() && page < output.find("listening on "),
        "{output}"
    );
}
