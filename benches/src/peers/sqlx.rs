use std::time::Duration;

use sqlx::Row;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgPoolOptions, Postgres};

use super::{Peer, Ping};
use crate::CONNECTIONS;

pub type Sqlx = sqlx::PgPool;

/// sqlx's pool and driver: with its default ping at each checkout, or without.
pub async fn sqlx(url: &str, ping: Ping, timeout: Duration) -> Sqlx {
    PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(timeout)
        .test_before_acquire(ping == Ping::Always)
        .connect(url)
        .await
        .expect("sqlx's pool")
}

impl Peer for Sqlx {
    type Guard = PoolConnection<Postgres>;

    async fn checkout(&self) -> Option<Self::Guard> {
        self.acquire().await.ok()
    }

    async fn select(guard: &mut Self::Guard) {
        let one = sqlx::query("SELECT $1").bind(1_i32);
        let row = one.fetch_one(&mut **guard).await.expect("a result");
        assert_eq!(row.get::<i32, _>(0), 1);
    }

    async fn sleep(guard: &mut Self::Guard, time: Duration) {
        let sleep = sqlx::query("SELECT pg_sleep($1)").bind(time.as_secs_f64());
        sleep.execute(&mut **guard).await.expect("a result");
    }
}
