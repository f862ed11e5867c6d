use std::time::Duration;

use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod,
};

use super::{Peer, Ping};
use crate::CONNECTIONS;

pub type Bb8 = diesel_async::pooled_connection::bb8::Pool<AsyncPgConnection>;

/// bb8 with diesel-async's manager: with its default ping at each checkout, or without.
pub async fn bb8(url: &str, ping: Ping, timeout: Duration) -> Bb8 {
    let mut config = ManagerConfig::default();
    if ping == Ping::Never {
        config.recycling_method = RecyclingMethod::Fast;
    }
    let manager = AsyncDieselConnectionManager::new_with_config(url, config);
    Bb8::builder()
        .max_size(CONNECTIONS)
        .test_on_check_out(ping == Ping::Always)
        .connection_timeout(timeout)
        .build(manager)
        .await
        .expect("a bb8 pool")
}

impl Peer for Bb8 {
    type Guard = diesel_async::pooled_connection::bb8::PooledConnection<'static, AsyncPgConnection>;

    async fn checkout(&self) -> Option<Self::Guard> {
        self.get_owned().await.ok()
    }

    async fn select(guard: &mut Self::Guard) {
        super::select(guard).await;
    }

    async fn sleep(guard: &mut Self::Guard, time: Duration) {
        super::sleep(guard, time).await;
    }
}
