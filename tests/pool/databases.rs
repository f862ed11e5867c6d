//! The three databases behind one trait, so that each behaviour is tested on all.

use diesel::sql_types::{Integer, Text};
use diesel::{QueryResult, QueryableByName, define_sql_function, sql_query};
use diesel_async::{AsyncMysqlConnection, AsyncPgConnection, RunQueryDsl};
use poolscope::backend::{AsyncSqliteConnection, Backend};
use poolscope::{Pool, PoolBuilder, Settings};

use crate::support::folder::Folder;
use crate::support::{mariadb, postgres};

/// A separate database for one test, and a way to build pools on it.
pub struct Database {
    pub url: String,
    /// Holds the SQLite file.
    _folder: Option<Folder>,
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = Integer)]
    n: i32,
}

/// A kind of connection that tests run on.
pub trait Tested: Backend {
    /// A new database, named after the test.
    fn database(name: &str) -> Database;

    /// The database system.
    fn database_name() -> &'static str;

    /// The number of rows in a table.
    fn count(&mut self, table: &str) -> impl Future<Output = QueryResult<i32>> + Send;

    /// `SELECT n`, as a number.
    fn select(&mut self, n: i32) -> impl Future<Output = QueryResult<i32>> + Send;

    /// The number that a statement returns in a column `n`.
    fn number(&mut self, statement: &str) -> impl Future<Output = QueryResult<i32>> + Send;

    /// A statement with a bind value that must not be shown.
    fn select_bound(&mut self, word: &str) -> impl Future<Output = QueryResult<usize>> + Send;

    /// A statement with these two bind values, `$1` and `$2`.
    fn bound(
        &mut self,
        statement: &str,
        number: i32,
        word: &str,
    ) -> impl Future<Output = QueryResult<usize>> + Send;

    /// A statement without a result.
    fn run(&mut self, statement: &str) -> impl Future<Output = QueryResult<usize>> + Send;
}

impl Database {
    /// An existing database.
    pub fn at(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            _folder: None,
        }
    }

    pub fn pool<C: Tested>(&self) -> PoolBuilder<C> {
        Pool::builder(Settings::new(self.url.as_str()))
    }
}

macro_rules! tested {
    ($connection:ty, $kind:literal, $name:ident => $database:expr) => {
        impl Tested for $connection {
            fn database_name() -> &'static str {
                $kind
            }

            async fn count(&mut self, table: &str) -> QueryResult<i32> {
                // Postgres counts in 64 bits.
                let integer = if $kind == "mariadb" {
                    "SIGNED"
                } else {
                    "INTEGER"
                };
                let query = format!("SELECT CAST(count(*) AS {integer}) AS n FROM {table}");
                let row: Number = sql_query(query).get_result(self).await?;
                Ok(row.n)
            }

            fn database($name: &str) -> Database {
                $database
            }

            async fn select(&mut self, n: i32) -> QueryResult<i32> {
                let row: Number = sql_query(format!("SELECT {n} AS n"))
                    .get_result(self)
                    .await?;
                Ok(row.n)
            }

            async fn number(&mut self, statement: &str) -> QueryResult<i32> {
                let row: Number = sql_query(statement).get_result(self).await?;
                Ok(row.n)
            }

            async fn select_bound(&mut self, word: &str) -> QueryResult<usize> {
                let mark = if $kind == "postgres" { "$1" } else { "?" };
                sql_query(format!("SELECT {mark} AS word"))
                    .bind::<Text, _>(format!("bind-of-{word}"))
                    .execute(self)
                    .await
            }

            async fn bound(
                &mut self,
                statement: &str,
                number: i32,
                word: &str,
            ) -> QueryResult<usize> {
                let statement = match $kind {
                    "postgres" => statement.to_owned(),
                    _ => statement.replace("$1", "?").replace("$2", "?"),
                };
                sql_query(statement)
                    .bind::<Integer, _>(number)
                    .bind::<Text, _>(word.to_owned())
                    .execute(self)
                    .await
            }

            async fn run(&mut self, statement: &str) -> QueryResult<usize> {
                sql_query(statement).execute(self).await
            }
        }
    };
}

tested!(AsyncPgConnection, "postgres", name => Database { url: postgres::shared().create_database(name), _folder: None });
tested!(AsyncMysqlConnection, "mariadb", name => Database { url: mariadb::shared().create_database(name), _folder: None });
tested!(AsyncSqliteConnection, "sqlite", name => {
    let folder = Folder::new(name, None, "KILL");
    let url = format!("sqlite://{}", folder.join("test.db").display());
    Database { url, _folder: Some(folder) }
});

/// Returns a row after `seconds`, on MariaDB, by a cached prepared statement.
pub trait SelectAfter {
    fn select_after(
        &mut self,
        n: i32,
        seconds: i32,
    ) -> impl Future<Output = QueryResult<i32>> + Send;
}

impl SelectAfter for AsyncMysqlConnection {
    async fn select_after(&mut self, n: i32, seconds: i32) -> QueryResult<i32> {
        diesel::select(sleep(seconds) + n).get_result(self).await
    }
}

define_sql_function! {
    fn sleep(seconds: Integer) -> Integer;
}

/// Makes a test for each database of an `async fn test<C: Tested>(name: &str)`.
macro_rules! on_each_database {
    ($($test:ident),+ $(,)?) => { $(
        mod $test {
            #[tokio::test(flavor = "multi_thread")]
            async fn postgres() {
                super::$test::<diesel_async::AsyncPgConnection>(concat!(stringify!($test), "_pg")).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn mariadb() {
                super::$test::<diesel_async::AsyncMysqlConnection>(concat!(stringify!($test), "_my")).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn sqlite() {
                super::$test::<poolscope::backend::AsyncSqliteConnection>(concat!(stringify!($test), "_lite")).await;
            }
        }
    )+ };
}
pub(crate) use on_each_database;
