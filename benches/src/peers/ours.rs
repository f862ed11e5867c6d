use std::time::Duration;

use diesel_async::AsyncPgConnection;
use poolscope::{Pool, PoolBuilder, PooledConnection, Settings};

use super::Peer;
use crate::CONNECTIONS;

pub type Ours = Pool<AsyncPgConnection>;

/// A builder with as many connections as the other pools, and no overflow.
pub fn ours(url: &str, timeout: Duration) -> PoolBuilder<AsyncPgConnection> {
    Ours::builder(Settings::new(url))
        .pool_size(CONNECTIONS)
        .max_overflow(0)
        .pool_timeout(timeout)
}

impl Peer for Ours {
    type Guard = PooledConnection<AsyncPgConnection>;

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
