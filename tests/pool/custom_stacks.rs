//! Stacks other than `Pool`: with tower's layers in between, and over services that are not pools of
//! this crate.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use diesel_async::pooled_connection::bb8::Pool as Bb8Pool;
use futures_util::FutureExt;
use poolscope::backend::AsyncSqliteConnection;
use poolscope::error::Rejection;
use poolscope::service::{
    CloseReason, ConnectionFacts, Counts, Inventory, PoolEvents, PooledGuard, SourceLayer,
};
use poolscope::{Checkout, ObserveLayer, PoolError, PoolService};
use tower::limit::ConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;
use tower::timeout::TimeoutLayer;
use tower::{Layer, Service, ServiceBuilder};

use crate::databases::Tested;

/// A service that returns the same number again and again.
#[derive(Clone)]
struct Own;

struct Number(i32);

impl Deref for Number {
    type Target = i32;

    fn deref(&self) -> &i32 {
        &self.0
    }
}

impl DerefMut for Number {
    fn deref_mut(&mut self) -> &mut i32 {
        &mut self.0
    }
}

impl PooledGuard for Number {}

impl Inventory for Own {
    fn counts(&self) -> Counts {
        Counts::new(3, 9, 1, 5)
    }
}

impl Service<Checkout> for Own {
    type Response = Number;
    type Error = std::io::Error;
    type Future = std::future::Ready<Result<Number, std::io::Error>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), std::io::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, checkout: Checkout) -> Self::Future {
        std::future::ready(match checkout.label_text() {
            Some("fails") => Err(std::io::Error::other("no more numbers")),
            _ => Ok(Number(41)),
        })
    }
}

#[tokio::test]
async fn any_service_of_checkouts_can_be_observed() {
    let observed = ObserveLayer::new("numbers").layer(Own);
    let mut number = observed.get().await.unwrap();
    *number += 1;
    assert_eq!(*number, 42);
    assert!(number.facts().is_none());
    let error = observed
        .checkout(Checkout::new().label("fails"))
        .await
        .err()
        .unwrap();
    assert_eq!(error.error_type(), "_OTHER");
    assert_eq!(
        std::error::Error::source(&error).unwrap().to_string(),
        "no more numbers"
    );
    // Inconsistent counts are clamped.
    let counts = observed.get_ref().counts();
    assert_eq!(
        (counts.idle, counts.checked_out(), counts.overflow()),
        (3, 0, 2)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn towers_layers_fit_between_the_crates() {
    let database = AsyncSqliteConnection::database("in_between");
    let path = database.url.trim_start_matches("sqlite://");
    let manager = AsyncDieselConnectionManager::<AsyncSqliteConnection>::new(path);
    let pool = PoolService::from(Bb8Pool::builder().max_size(1).build(manager).await.unwrap());
    let stack = ServiceBuilder::new()
        .layer(ObserveLayer::new("orders").slow_wait(Duration::from_secs(60)))
        .layer(SourceLayer::new(pool.clone()))
        .layer(TimeoutLayer::new(Duration::from_millis(50)))
        .service(pool.clone());
    let mut held = stack.get().await.unwrap();
    assert_eq!(held.select(3).await.unwrap(), 3);
    let error = stack.get().await.unwrap_err();
    let PoolError::TimedOut(timeout) = &error else {
        panic!("{error}")
    };
    assert!(timeout.waited() >= Duration::from_millis(50) && timeout.scene().is_some());
    let status = stack.status();
    assert_eq!(
        (
            status.checked_out,
            status.max_connections,
            status.totals.timeouts
        ),
        (1, 1, 1)
    );
    assert!(stack.health().await.can_serve());
    drop(held);

    let shed = ServiceBuilder::new()
        .layer(ObserveLayer::new("shed"))
        .layer(SourceLayer::new(pool.clone()))
        .layer(LoadShedLayer::new())
        .layer(ConcurrencyLimitLayer::new(1))
        .service(pool);
    let held = shed.get().await.unwrap();
    let waiting = Box::pin(shed.get());
    let mut waiting = waiting;
    assert!(waiting.as_mut().now_or_never().is_none());
    let error = shed.get().await.unwrap_err();
    assert!(
        matches!(error, PoolError::Rejected(Rejection::Overloaded)),
        "{error}"
    );
    drop(held);
    drop(waiting.await.unwrap());
}

/// A checkout that does not wait leaves bb8's ping to finish by itself.
#[tokio::test(flavor = "multi_thread")]
async fn an_existing_pool_supports_try_get() {
    let database = AsyncSqliteConnection::database("no_wait_existing");
    let path = database.url.trim_start_matches("sqlite://");
    let manager = AsyncDieselConnectionManager::<AsyncSqliteConnection>::new(path);
    let pool = PoolService::from(Bb8Pool::builder().max_size(1).build(manager).await.unwrap());
    let stack = ObserveLayer::new("orders").layer(pool);
    let held = stack.get().await.unwrap();
    let error = stack
        .checkout(Checkout::new().without_waiting())
        .await
        .unwrap_err();
    assert!(
        matches!(error, PoolError::Rejected(Rejection::WouldWait)),
        "{error}"
    );
    drop(held);
    // Idle or being pinged: the result is a connection or a refusal at once, never a broken connection.
    for n in 0..20 {
        if let Ok(mut conn) = stack.checkout(Checkout::new().without_waiting()).await {
            assert_eq!(conn.select(n).await.unwrap(), n);
        }
    }
    assert_eq!(stack.get().await.unwrap().select(7).await.unwrap(), 7);
    let status = stack.status();
    assert_eq!(
        (status.checked_out, status.pending, status.total_connections),
        (0, 0, 1)
    );
}

/// Implementors of the small traits override only what they know.
#[test]
fn the_small_traits_default_to_unknown() {
    #[derive(Debug)]
    struct Silent;
    impl ConnectionFacts for Silent {}
    impl PoolEvents for Silent {}
    assert_eq!(
        (Silent.process_id(), Silent.age(), Silent.busy()),
        (None, None, None)
    );
    assert_eq!(
        (Silent.transaction(), Silent.queries_in_flight()),
        (None, None)
    );
    Silent.opened(Duration::ZERO);
    Silent.closed(CloseReason::Recycle);
    Silent.connect_failed(&poolscope::backend::ConnectError::new(
        poolscope::backend::ConnectErrorKind::Other,
        "connection refused",
        None,
    ));
}
