//! The names of a pool's sessions on the server.

use std::env;

use diesel::sql_types::Text;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use poolscope::{Pool, Settings};
use serde_json::json;

use crate::connections_report::exactly;
use crate::databases::Tested;
use crate::monitor_client::{get, patient};
use crate::support::postgres::{Options, Postgres};

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

/// The name that `pg_stat_activity` shows.
async fn name_of(connection: &mut AsyncPgConnection, session: &str) -> String {
    let query =
        format!("SELECT application_name AS name FROM pg_stat_activity WHERE pid = {session}");
    let row: Name = sql_query(query).get_result(connection).await.unwrap();
    row.name
}

async fn own_name(connection: &mut AsyncPgConnection) -> String {
    name_of(connection, "pg_backend_pid()").await
}

/// The session of the monitoring connection.
async fn monitoring_session_of(pool: &Pool<AsyncPgConnection>) -> String {
    let report = get(pool.monitor(), "connections").await.json();
    report["monitoring_process_id"].to_string()
}

/// `service@instance`, the identity that telemetry uses too.
fn assert_names_this_process(name: &str) {
    let (service, instance) = name.split_once('@').unwrap_or_else(|| panic!("{name}"));
    let program = env::current_exe().unwrap();
    let program = program.file_stem().unwrap().to_string_lossy();
    // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES may set both from outside.
    let service_is_set = ["OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"]
        .iter()
        .any(|variable| env::var_os(variable).is_some());
    assert!(service_is_set || program.starts_with(service), "{name}");
    assert!(!service.is_empty() && !instance.is_empty(), "{name}");
    assert!(name.len() <= 63, "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_session_names_the_service_and_its_instance() {
    let database = AsyncPgConnection::database("session_names");
    let pool = patient(database.pool::<AsyncPgConnection>())
        .build()
        .unwrap();
    let mut held = pool.get().await.unwrap();
    let name = own_name(&mut held).await;
    assert_names_this_process(&name);

    assert_eq!(own_name(&mut pool.get().await.unwrap()).await, name);
    let mut dedicated = pool.dedicated_connection().await.unwrap();
    assert_eq!(own_name(&mut dedicated).await, name);
    let monitor = monitoring_session_of(&pool).await;
    assert_eq!(name_of(&mut held, &monitor).await, name);

    // A second pool of this process has the same instance.
    let other = AsyncPgConnection::database("session_names_too");
    let other = other.pool::<AsyncPgConnection>().build().unwrap();
    assert_eq!(own_name(&mut other.get().await.unwrap()).await, name);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_in_the_url_is_kept() {
    let database = AsyncPgConnection::database("named_sessions");
    for (parameter, expected) in [
        ("application_name=orders", "orders"),
        ("application_name=", ""),
        ("options=-c%20application_name%3Dorders", "orders"),
    ] {
        let url = format!("{}?{parameter}", database.url);
        let pool = Pool::<AsyncPgConnection>::builder(Settings::new(url));
        let pool = patient(pool).build().unwrap();
        let mut held = pool.get().await.unwrap();
        assert_eq!(own_name(&mut held).await, expected, "{parameter}");
        let monitor = monitoring_session_of(&pool).await;
        assert_eq!(name_of(&mut held, &monitor).await, expected, "{parameter}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_not_named_when_turned_off() {
    let database = AsyncPgConnection::database("nameless_sessions");
    let pool = patient(database.pool::<AsyncPgConnection>())
        .settings(|settings| settings.application_name = false)
        .build()
        .unwrap();
    let mut held = pool.get().await.unwrap();
    assert_eq!(own_name(&mut held).await, "");
    let monitor = monitoring_session_of(&pool).await;
    assert_eq!(name_of(&mut held, &monitor).await, "");
}

/// Over a Unix socket the server's session ids are unknown, and sessions are recognised by name.
#[tokio::test(flavor = "multi_thread")]
async fn without_ids_sessions_are_recognised_by_process_name() {
    let server = Postgres::start(Options::new().unix_socket());
    let user_at_socket = server
        .url()
        .replace(&format!("127.0.0.1:{}", server.port()), "");
    let url = format!(
        "{user_at_socket}?host={}&port={}",
        server.socket_folder().display(),
        server.port()
    );
    let _other_client = AsyncPgConnection::establish(&server.url()).await.unwrap();
    let pool = Pool::<AsyncPgConnection>::builder(Settings::new(url.as_str()));
    let pool = exactly(2, patient(pool));
    let _held = [pool.get().await.unwrap(), pool.get().await.unwrap()];
    let report = get(pool.monitor(), "connections").await.json();
    assert_eq!(report["error"], json!(null));
    assert_eq!(report["scope"], json!("application_name"));
    assert_eq!(report["total_connections"], json!(2));
    assert_eq!(report["other_connections"], json!(1));

    // Without names, all sessions of the same user are taken for the pool's.
    let pool = Pool::<AsyncPgConnection>::builder(Settings::new(url));
    let pool = patient(pool).settings(|settings| settings.application_name = false);
    let pool = exactly(1, pool);
    let _held = pool.get().await.unwrap();
    let report = get(pool.monitor(), "connections").await.json();
    assert_eq!(report["scope"], json!("user_and_database"));
    // This pool's own session, two of the other pool, its monitoring connection, and the other client's.
    assert_eq!(report["total_connections"], json!(5));
}
