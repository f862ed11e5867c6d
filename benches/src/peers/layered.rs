use std::time::Duration;

use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use poolscope::service::{ExistingLease, Observe, Observed};
use poolscope::{ObserveLayer, PoolService};
use tower::Layer;

use super::{Bb8, Peer};
use crate::telemetry;

/// An existing bb8 pool, observed.
pub type Layered = Observe<PoolService<AsyncDieselConnectionManager<AsyncPgConnection>>>;

pub fn layered(pool: Bb8) -> Layered {
    let layer = ObserveLayer::new("layered").meter_provider(telemetry::metrics());
    layer.layer(PoolService::from(pool))
}

impl Peer for Layered {
    type Guard = Observed<ExistingLease<AsyncPgConnection>>;

    async fn checkout(&self) -> Option<Self::Guard> {
        self.get().await.ok()
    }

    async fn select(guard: &mut Self::Guard) {
        super::select(guard).await;
    }

    async fn sleep(guard: &mut Self::Guard, time: Duration) {
        super::sleep(guard, time).await;
    }
}
