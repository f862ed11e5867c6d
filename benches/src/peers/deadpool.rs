use std::time::Duration;

use deadpool::Runtime;
use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod,
};

use super::{Peer, Ping};
use crate::CONNECTIONS;

pub type Deadpool = diesel_async::pooled_connection::deadpool::Pool<AsyncPgConnection>;

/// deadpool over diesel-async's manager: `Fast` or `Verified`.
pub fn deadpool(url: &str, ping: Ping, timeout: Duration) -> Deadpool {
    let mut config = ManagerConfig::default();
    config.recycling_method = match ping {
        Ping::Always => RecyclingMethod::Verified,
        Ping::Never => RecyclingMethod::Fast,
    };
    let manager = AsyncDieselConnectionManager::new_with_config(url, config);
    Deadpool::builder(manager)
        .max_size(CONNECTIONS as usize)
        .wait_timeout(Some(timeout))
        .runtime(Runtime::Tokio1)
        .build()
        .expect("a deadpool")
}

impl Peer for Deadpool {
    type Guard = diesel_async::pooled_connection::deadpool::Object<AsyncPgConnection>;

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
