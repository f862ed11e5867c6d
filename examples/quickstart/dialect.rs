//! The differences between the three databases.

use std::future::Future;
use std::thread;
use std::time::Duration;

use diesel::sql_types::Double;
use diesel::{QueryResult, sql_query};
use diesel_async::{AsyncMysqlConnection, AsyncPgConnection, RunQueryDsl};
use poolscope::backend::{AsyncSqliteConnection, Backend};

pub trait Dialect: Backend {
    /// Creates the tables. Safe to run twice, even at the same time.
    const SET_UP: &'static str;

    /// Runs a query that takes `duration` on the server.
    fn sleep(&mut self, duration: Duration) -> impl Future<Output = QueryResult<()>> + Send;
}

impl Dialect for AsyncPgConnection {
    const SET_UP: &'static str = include_str!("set_up/postgres.sql");

    async fn sleep(&mut self, duration: Duration) -> QueryResult<()> {
        let query = sql_query("SELECT pg_sleep($1)").bind::<Double, _>(duration.as_secs_f64());
        query.execute(self).await.map(drop)
    }
}

impl Dialect for AsyncMysqlConnection {
    const SET_UP: &'static str = include_str!("set_up/mysql.sql");

    async fn sleep(&mut self, duration: Duration) -> QueryResult<()> {
        let query = sql_query("SELECT SLEEP(?)").bind::<Double, _>(duration.as_secs_f64());
        query.execute(self).await.map(drop)
    }
}

#[diesel::declare_sql_function]
extern "SQL" {
    /// SQLite has no such function, so the app registers one.
    fn sleep(seconds: Double) -> Double;
}

impl Dialect for AsyncSqliteConnection {
    const SET_UP: &'static str = include_str!("set_up/sqlite.sql");

    async fn sleep(&mut self, duration: Duration) -> QueryResult<()> {
        let query = move |conn: &mut diesel::SqliteConnection| {
            sleep_utils::register_nondeterministic_impl(conn, |seconds: f64| {
                thread::sleep(Duration::from_secs_f64(seconds));
                seconds
            })?;
            let select = diesel::select(sleep(duration.as_secs_f64()));
            diesel::RunQueryDsl::get_result::<f64>(select, conn).map(drop)
        };
        self.spawn_blocking(query).await
    }
}
