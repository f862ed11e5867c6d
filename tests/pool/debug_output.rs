//! `Debug` output: enough to identify a value in a log, and never the password.
//! never the password.

use std::fmt::Debug;
use std::time::Duration;

use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use diesel_async::pooled_connection::bb8::Pool as Bb8Pool;
use diesel_async::{AsyncMysqlConnection, AsyncPgConnection};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use poolscope::backend::AsyncSqliteConnection;
use poolscope::service::{AdmitLayer, PooledGuard, SourceLayer};
use poolscope::{Checkout, ObserveLayer, PoolService};
use tower::{Layer, Service};

use crate::databases::{Tested, on_each_database};
use crate::support::PASSWORD;

#[track_caller]
fn shows(value: &dyn Debug, what: &str) {
    let shown = format!("{value:?} {value:#?}");
    assert!(shown.contains(what), "{what} in {shown}");
    assert!(!shown.contains(PASSWORD), "{shown}");
}

on_each_database!(every_type_is_debug_and_none_shows_the_password);

async fn every_type_is_debug_and_none_shows_the_password<C: Tested>(name: &str) {
    let database = C::database(name);
    let builder = database
        .pool::<C>()
        .name("orders")
        .echo(false)
        .thresholds(poolscope::settings::Thresholds::default())
        .meter_provider(SdkMeterProvider::builder().build())
        .tracer_provider(SdkTracerProvider::builder().build());
    shows(&builder, "PoolBuilder");
    let mut pool = builder.build().unwrap();
    shows(&pool, "orders");
    shows(pool.as_service(), "orders");
    shows(pool.as_service().get_ref(), "Stack");
    shows(pool.as_service().get_ref().gate(), "Gate");
    shows(&pool.monitor(), "Monitor");
    shows(pool.settings(), "pool_size");
    shows(&pool.state(), "State");
    assert_eq!(pool.name(), "orders");
    let _ = pool.ready_now().await;
    let future = pool.call(Checkout::new());
    shows(&future, "ResponseFuture");
    let mut conn = future.await.unwrap();
    shows(&conn, "orders");
    shows(conn.get_ref(), "Admitted");
    shows(conn.get_ref().get_ref(), "Lease");
    shows(&pool, "checked_out: 1");

    let facts = conn.facts().unwrap();
    shows(&facts, "EntryState");
    assert!(facts.age().is_some() && facts.queries_in_flight() == Some(0));
    // The guards give access to the guards inside them.
    assert_eq!(conn.get_mut().get_mut().select(5).await.unwrap(), 5);
    let known = C::database_name() != "sqlite";
    assert_eq!(facts.process_id().is_some(), known);
    assert!(facts.busy().is_some());
}

/// Calls `poll_ready` as a tower user does.
trait ReadyNow {
    async fn ready_now(&mut self) -> bool;
}

impl<C: Tested> ReadyNow for poolscope::Pool<C> {
    async fn ready_now(&mut self) -> bool {
        std::future::poll_fn(|cx| self.poll_ready(cx)).await.is_ok()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_existing_pool_is_debug() {
    let database = AsyncSqliteConnection::database("faces_existing");
    let path = database.url.trim_start_matches("sqlite://");
    let manager = AsyncDieselConnectionManager::<AsyncSqliteConnection>::new(path);
    let theirs = Bb8Pool::builder().max_size(1).build(manager).await.unwrap();
    let service = PoolService::from(theirs);
    shows(&service, "PoolService");
    shows(&SourceLayer::new(service.clone()), "SourceLayer");
    shows(&ObserveLayer::new("orders"), "orders");
    let admit = AdmitLayer::new(1, Duration::MAX);
    shows(&admit, "AdmitLayer");
    let mut admitted = admit.layer(service);
    let gate = std::sync::Arc::clone(admitted.gate());
    assert_eq!((gate.admitted(), gate.timeout()), (0, Duration::MAX));
    shows(&admitted, "Admit");
    let future = admitted.call(Checkout::default());
    shows(&future, "ResponseFuture");
    let conn = future.await.unwrap();
    shows(&conn, "ExistingLease");
    assert!(conn.facts().is_none());
    assert_eq!(gate.admitted(), 1);
    // Waiting without a deadline times out as usual.
    let mut waiting = Box::pin(admitted.call(Checkout::new()));
    assert!(futures_util::FutureExt::now_or_never(waiting.as_mut()).is_none());
}

/// Apps bring custom managers with secrets in their errors.
#[tokio::test(flavor = "multi_thread")]
async fn errors_of_a_custom_manager_are_classified() {
    use crate::support::{mariadb, ports, postgres};
    use poolscope::backend::{Backend, ConnectErrorKind};
    use poolscope::{Pool, PoolError, Settings};

    async fn kind<C: Backend>(url: &str) -> (ConnectErrorKind, String)
    where
        AsyncDieselConnectionManager<C>: bb8::ManageConnection<
                Connection = C,
                Error = diesel_async::pooled_connection::PoolError,
            >,
    {
        let manager = AsyncDieselConnectionManager::<C>::new(url);
        let pool = Pool::<C>::builder(Settings::new(url))
            .manager(manager)
            .build()
            .unwrap();
        let PoolError::ConnectFailed(error) = pool.get().await.unwrap_err() else {
            panic!()
        };
        assert!(!error.to_string().contains("wrong-secret"), "{error}");
        (error.kind(), error.to_string())
    }

    let port = ports::free_port();
    for (got, expected) in [
        (
            kind::<AsyncPgConnection>(&postgres::shared().url_with_password("wrong-secret")).await,
            ConnectErrorKind::Authentication,
        ),
        (
            kind::<AsyncPgConnection>(&postgres::shared().url_of("nowhere")).await,
            ConnectErrorKind::Database,
        ),
        (
            kind::<AsyncPgConnection>(&format!("postgres://u:wrong-secret@127.0.0.1:{port}/d"))
                .await,
            ConnectErrorKind::Unreachable,
        ),
        (
            kind::<AsyncMysqlConnection>(&mariadb::shared().url_with_password("wrong-secret"))
                .await,
            ConnectErrorKind::Authentication,
        ),
        (
            kind::<AsyncMysqlConnection>(&mariadb::shared().url_of("nowhere")).await,
            ConnectErrorKind::Database,
        ),
        (
            kind::<AsyncMysqlConnection>(&format!("mysql://u:wrong-secret@127.0.0.1:{port}/d"))
                .await,
            ConnectErrorKind::Unreachable,
        ),
    ] {
        assert_eq!(got.0, expected, "{}", got.1);
    }
}
