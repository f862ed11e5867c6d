//! An app written for diesel-async's bb8 pool migrates by changing its `use` line and the place that
//! builds its pool. The same module is compiled and run with both.

use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use poolscope::Settings;

use crate::databases::Tested;

macro_rules! app {
    ($name:ident, $($path:ident)::+) => {
        mod $name {
            use diesel_async::{AsyncPgConnection, RunQueryDsl};
            use $($path)::+::{Pool, PooledConnection, RunError};

            pub struct App {
                pub pool: Pool<AsyncPgConnection>,
            }

            #[derive(Debug)]
            pub enum AppError {
                Pool(RunError),
                Query(diesel::result::Error),
            }

            impl From<RunError> for AppError {
                fn from(error: RunError) -> Self {
                    Self::Pool(error)
                }
            }

            impl From<diesel::result::Error> for AppError {
                fn from(error: diesel::result::Error) -> Self {
                    Self::Query(error)
                }
            }

            impl std::fmt::Display for AppError {
                fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    match self {
                        Self::Pool(error) => write!(f, "{error}"),
                        Self::Query(error) => write!(f, "{error}"),
                    }
                }
            }

            async fn count(conn: &mut AsyncPgConnection) -> Result<i64, AppError> {
                let query = diesel::dsl::sql::<diesel::sql_types::BigInt>("SELECT 42::bigint");
                Ok(query.get_result(conn).await?)
            }

            impl App {
                async fn connection(&self) -> Result<PooledConnection<'_, AsyncPgConnection>, RunError> {
                    self.pool.get().await
                }

                async fn owned(&self) -> Result<PooledConnection<'static, AsyncPgConnection>, RunError> {
                    self.pool.get_owned().await
                }

                pub async fn work(&self) -> Result<i64, AppError> {
                    let mut conn = self.connection().await?;
                    let first = count(&mut conn).await?;
                    drop(conn);
                    let mut owned = self.owned().await?;
                    let second = tokio::spawn(async move { count(&mut owned).await }).await.unwrap()?;
                    let _dedicated: AsyncPgConnection = self.pool.dedicated_connection().await.unwrap();
                    assert_eq!((self.pool.state().connections, self.pool.state().idle_connections), (1, 1));
                    Ok(first + second)
                }
            }
        }
    };
}

app!(before, diesel_async::pooled_connection::bb8);
app!(after, poolscope::bb8);

#[tokio::test(flavor = "multi_thread")]
async fn the_app_runs_on_both_pools() {
    let database = AsyncPgConnection::database("drop_in");
    let manager = AsyncDieselConnectionManager::<AsyncPgConnection>::new(database.url.as_str());
    let pool = diesel_async::pooled_connection::bb8::Pool::builder()
        .max_size(2)
        .build(manager)
        .await
        .unwrap();
    assert_eq!(before::App { pool }.work().await.unwrap(), 84);

    let pool = poolscope::Pool::builder(Settings::new(database.url.as_str()))
        .pool_size(2)
        .build()
        .unwrap();
    assert_eq!(after::App { pool }.work().await.unwrap(), 84);
}
