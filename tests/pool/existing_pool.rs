//! Observing a bb8 pool that the app already has.

use std::time::Duration;

use diesel_async::pooled_connection::bb8::Pool as Bb8Pool;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, PoolError as DieselPoolError};
use http::StatusCode;
use poolscope::service::{Availability, Observe};
use poolscope::{Checkout, ObserveLayer, PoolError, PoolService};
use serde_json::{Value, json};
use tower::{Service, ServiceBuilder, ServiceExt};

use crate::databases::{Tested, on_each_database};
use crate::in_memory_exporters::{Meters, Spans};
use crate::monitor_client::{ROUTES, get, strings, until};

type Manager<C> = AsyncDieselConnectionManager<C>;
type Orders<C> = Observe<PoolService<Manager<C>>>;

/// `on_each_database!` with the trait bounds that such a pool needs.
macro_rules! on_each_existing_pool {
    ($(async fn $test:ident<C>($name:ident: &str) $body:block)+) => {
        on_each_database!($($test),+);
        $(
            async fn $test<C: Tested>($name: &str)
            where
                Manager<C>: bb8::ManageConnection<Connection = C, Error = DieselPoolError>,
            $body
        )+
    };
}

async fn existing<C: Tested>(url: &str) -> Bb8Pool<C>
where
    Manager<C>: bb8::ManageConnection<Connection = C, Error = DieselPoolError>,
{
    let builder = Bb8Pool::builder().max_size(2).max_lifetime(None);
    let builder = builder.connection_timeout(Duration::from_secs(5));
    builder.build(Manager::<C>::new(url)).await.unwrap()
}

fn observed<C: Tested>(existing: &Bb8Pool<C>) -> Orders<C>
where
    Manager<C>: bb8::ManageConnection<Connection = C, Error = DieselPoolError>,
{
    ServiceBuilder::new()
        .layer(ObserveLayer::new("orders"))
        .service(PoolService::from(existing.clone()))
}

on_each_existing_pool! {
    async fn reports_show_unknown_values_as_null<C>(name: &str) {
        let database = C::database(name);
        let existing = existing::<C>(&database.url).await;
        let orders = observed(&existing);
        let (mut held, line) = (orders.get().await.unwrap(), line!());
        assert_eq!(held.select(5).await.unwrap(), 5);
        // The app also uses the pool directly: these connections are counted, but their holders are unknown.
        let bypassing = existing.get().await.unwrap();

        let status = orders.status();
        assert_eq!((&*status.pool, status.state), ("orders", Availability::Open));
        assert_eq!((status.pool_size, status.max_connections, status.overflow), (2, 2, 0));
        assert_eq!((status.checked_out, status.total_connections, status.idle), (2, 2, 0));
        assert_eq!((status.totals.checkouts, status.pending), (1, 0));

        let health = orders.health().await;
        assert_eq!(
            serde_json::to_value(health.configuration).unwrap(),
            json!({
                "pool_size": 2,
                "max_overflow": 0,
                "pool_timeout": 5.0,
                "pool_recycle": -1.0,
                "pool_pre_ping": true,
            })
        );
        assert!(health.can_serve() && health.database.reachable);
        let [holder] = &health.longest_holders[..] else { panic!("{health:#?}") };
        assert_eq!(holder.caller, format!("{}:{line}", file!()));
        assert_eq!((holder.process_id, holder.transaction), (None, None));

        let connections = async || orders.connections().await;
        let report = until("both", connections, |report| report.total_connections == 2).await;
        let scope = match C::database_name() {
            "sqlite" => "pool_view",
            _ => "user_and_database",
        };
        assert_eq!((report.scope, report.error), (scope, None));
        assert!(orders.healthcheck().await.is_ok());
        drop((held, bypassing));
        assert_eq!(orders.status().idle, 2);
    }

    async fn the_monitoring_routes_are_the_same<C>(name: &str) {
        let database = C::database(name);
        let existing = existing::<C>(&database.url).await;
        let orders = observed(&existing);
        let _held = orders.get().await.unwrap();
        for route in ROUTES {
            let answer = get(orders.monitor(), route).await;
            assert_eq!(answer.status, StatusCode::OK, "{route}: {}", answer.text());
        }
        let said = get(orders.monitor(), "optimize").await.json();
        assert_eq!(said["recommended_pool_size"], Value::Null);
        let status = get(orders.monitor(), "status").await.json();
        let mut same = serde_json::to_value(orders.status()).unwrap();
        same["uptime_seconds"] = status["uptime_seconds"].clone();
        assert_eq!(status, same);
    }

    async fn a_timeout_names_the_holders<C>(name: &str) {
        let database = C::database(name);
        let builder = Bb8Pool::builder().max_size(1);
        let builder = builder.connection_timeout(Duration::from_millis(300));
        let existing: Bb8Pool<C> = builder.build(Manager::<C>::new(&*database.url)).await.unwrap();
        let orders = observed(&existing);
        let held = loop {
            // On a busy machine connecting may take longer than that.
            if let Ok(held) = orders.checkout(Checkout::new().label("report")).await {
                break held;
            }
        };
        let before = orders.status().totals.timeouts;
        let error = orders.get().await.unwrap_err();
        let PoolError::TimedOut(timeout) = &error else { panic!("{error}") };
        assert!(timeout.waited() >= Duration::from_millis(300), "{error}");
        let scene = timeout.scene().unwrap();
        assert_eq!((scene.pool_size, scene.max_overflow, scene.checked_out), (1, 0, 1));
        let holder = scene.longest_holder.unwrap();
        assert_eq!((holder.caller.file(), holder.label), (file!(), Some("report")));
        assert_eq!(orders.status().totals.timeouts, before + 1);

        let waiting = tokio::spawn(orders.get());
        let health = async || get(orders.monitor(), "health").await.json();
        let exhausted = until("exhausted", health, |said| {
            strings(&said["warnings"]).iter().any(|w| w.starts_with("pool exhausted: all 1"))
        });
        tokio::select! {
            said = exhausted => {
                let said = said.to_string();
                assert!(said.contains("(report) for"), "{said}");
                // Such a pool has no environment variables.
                assert!(said.contains("or raise max_size if") && !said.contains("DB_"), "{said}");
            }
            // The timeout may pass before a slow machine has looked.
            Err(_) = async { waiting.await.unwrap() } => {}
        }
        drop(held);
        assert!(orders.get().await.is_ok());
    }
}

#[tokio::test]
async fn telemetry_has_the_name_of_the_layer() {
    let database = poolscope::backend::AsyncSqliteConnection::database("their_telemetry");
    let existing = existing::<poolscope::backend::AsyncSqliteConnection>(&database.url).await;
    let (meters, spans) = (Meters::new(), Spans::new());
    let orders = ObserveLayer::new("orders")
        .meter_provider(meters.provider.clone())
        .tracer_provider(spans.provider.clone());
    let mut orders = ServiceBuilder::new()
        .layer(orders)
        .service(PoolService::from(existing));
    assert_eq!(
        meters.number("db.client.connection.max", "orders", None),
        Some(2)
    );
    assert_eq!(
        meters.number("db.client.connection.timeouts", "orders", None),
        Some(0)
    );
    // Also as a tower service.
    let held = orders
        .ready()
        .await
        .unwrap()
        .call(Checkout::new())
        .await
        .unwrap();
    let used = meters.number("db.client.connection.count", "orders", Some("used"));
    assert_eq!(used, Some(1));
    drop(held);
    assert_eq!(
        meters
            .histogram("db.client.connection.use_time", "orders")
            .0,
        1
    );
    assert_eq!(spans.checkouts().len(), 1);
}

/// The queue of a bb8 pool is not visible, and it has no overflow. Advice and the suggested settings use
/// the names of bb8's builder.
#[tokio::test(start_paused = true)]
async fn the_advice_names_bb8s_settings() {
    type Sqlite = poolscope::backend::AsyncSqliteConnection;
    let database = Sqlite::database("their_size");
    let path = database.url.trim_start_matches("sqlite://");
    let manager = Manager::<Sqlite>::new(path);
    let existing = Bb8Pool::builder().max_size(30).build(manager);
    let orders = observed(&existing.await.unwrap());
    // Eight users, each holding half of the time.
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    let users: Vec<_> = (0..8)
        .map(|user| {
            let orders = orders.clone();
            tokio::spawn(async move {
                // The users are not in step.
                tokio::time::sleep(Duration::from_millis(user * 13)).await;
                while tokio::time::Instant::now() < end {
                    let held = orders
                        .checkout(Checkout::new().label("work"))
                        .await
                        .unwrap();
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    drop(held);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            })
        })
        .collect();
    for user in users {
        user.await.unwrap();
    }

    let advice = orders.optimize().await;
    let five_minutes = advice.evidence.windows.last_5m;
    let needed = five_minutes.mean_connections_needed.unwrap();
    assert!((3.8..4.4).contains(&needed), "{five_minutes:#?}");
    assert!(
        (4..=8).contains(&five_minutes.peak_checked_out),
        "{five_minutes:#?}"
    );
    let size = advice.recommended_pool_size.unwrap();
    assert!((5..=12).contains(&size), "{advice:#?}");
    assert_eq!(advice.recommended_max_overflow, Some(0));
    assert_eq!(advice.paste, Some(format!("max_size({size})")));
    let first = &advice.recommendations[0];
    assert!(first.starts_with("The pool is oversized"), "{first}");
    let fewer = format!("Set max_size({size}): this frees {} connections", 30 - size);
    assert!(first.contains(&fewer), "{first}");
    let own = &advice.call_sites[0];
    assert_eq!((own.label, own.share_of_held_pct), (Some("work"), 100.0));
    assert_eq!(own.checkouts, five_minutes.samples);

    let asked = get(orders.monitor(), "optimize?pool_size=2").await.json();
    assert_eq!(asked["paste"], json!(advice.paste));
    // Half of the needed size is an overload.
    assert_eq!(asked["asked"]["p95_ms"], Value::Null, "{asked:#}");
}
