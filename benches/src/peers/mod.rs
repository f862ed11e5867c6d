//! The compared pools, behind one trait.

use std::future::Future;
use std::time::Duration;

mod bb8;
#[cfg(feature = "peers")]
mod deadpool;
mod layered;
mod ours;
#[cfg(feature = "peers")]
mod sqlx;

pub use self::bb8::{Bb8, bb8};
#[cfg(feature = "peers")]
pub use self::deadpool::{Deadpool, deadpool};
pub use self::layered::{Layered, layered};
pub use self::ours::{Ours, ours};
#[cfg(feature = "peers")]
pub use self::sqlx::{Sqlx, sqlx};

/// Whether a pool pings a connection at each checkout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ping {
    Always,
    Never,
}

/// A pool under load.
pub trait Peer: Clone + Send + Sync + 'static {
    type Guard: Send;

    /// Returns a connection; `None` on timeout or refusal.
    fn checkout(&self) -> impl Future<Output = Option<Self::Guard>> + Send;

    /// Runs `SELECT 1` as a prepared statement.
    fn select(guard: &mut Self::Guard) -> impl Future<Output = ()> + Send;

    /// Runs a query that sleeps in the server.
    fn sleep(guard: &mut Self::Guard, time: Duration) -> impl Future<Output = ()> + Send;
}

/// Opens all connections before a measurement.
pub async fn warm_up<P: Peer>(pool: &P) {
    let mut guards = Vec::new();
    for _ in 0..crate::CONNECTIONS {
        guards.push(pool.checkout().await.expect("a connection"));
    }
    for guard in &mut guards {
        P::select(guard).await;
    }
}

async fn select(connection: &mut diesel_async::AsyncPgConnection) {
    use diesel::IntoSql;
    use diesel_async::RunQueryDsl;

    let one = diesel::select(1.into_sql::<diesel::sql_types::Integer>());
    let answer: i32 = one.get_result(connection).await.expect("a result");
    assert_eq!(answer, 1);
}

async fn sleep(connection: &mut diesel_async::AsyncPgConnection, time: Duration) {
    use diesel_async::RunQueryDsl;

    let sleep = diesel::sql_query("SELECT pg_sleep($1)")
        .bind::<diesel::sql_types::Double, _>(time.as_secs_f64());
    sleep.execute(connection).await.expect("a result");
}
