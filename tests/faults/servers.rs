//! One interface to both servers, so that each fault is written once.

use diesel_async::{AsyncMysqlConnection, AsyncPgConnection};

use crate::databases::Tested;
use crate::support::mariadb::{self, MariaDb};
use crate::support::postgres::{self, Postgres, Stop};

/// A database server that a test can harm.
pub trait Faulty: Sized + Send + 'static {
    type Connection: Tested;

    /// Starts a server for this test only.
    fn start() -> Self;
    /// Returns the server that all tests share.
    fn shared() -> &'static Self;
    fn port(&self) -> u16;
    fn url(&self) -> String;
    fn log(&self) -> String;
    fn create_database(&self, name: &str) -> String;
    fn create_user(&self, name: &str) -> String;
    fn set_password(&self, user: &str, password: &str);
    /// Ends every session of this user or on this database, and returns their number.
    fn end_sessions(&self, of: &str) -> u64;
    fn kill(&mut self);
    fn stop(&mut self);
    fn start_again(&mut self);

    /// The same URL with another port.
    fn url_by(&self, url: &str, port: u16) -> String {
        let own = format!(":{}/", self.port());
        assert!(url.contains(&own), "{url}");
        url.replace(&own, &format!(":{port}/"))
    }
}

macro_rules! faulty {
    ($server:ident, $module:ident, $connection:ty, $stop:expr, $set_password:expr, $end_sessions:expr) => {
        impl Faulty for $server {
            type Connection = $connection;

            fn start() -> Self {
                $server::start($module::Options::new())
            }

            fn shared() -> &'static Self {
                $module::shared()
            }

            fn port(&self) -> u16 {
                $server::port(self)
            }

            fn url(&self) -> String {
                $server::url(self)
            }

            fn log(&self) -> String {
                $server::log(self)
            }

            fn create_database(&self, name: &str) -> String {
                $server::create_database(self, name)
            }

            fn create_user(&self, name: &str) -> String {
                $server::create_user(self, name)
            }

            fn set_password(&self, user: &str, password: &str) {
                $set_password(self, user, password);
            }

            fn end_sessions(&self, of: &str) -> u64 {
                $end_sessions(self, of)
            }

            fn kill(&mut self) {
                // Waiting for processes must not block the other tasks of its thread.
                tokio::task::block_in_place(|| self.kill9());
            }

            fn stop(&mut self) {
                tokio::task::block_in_place(|| $stop(self));
            }

            fn start_again(&mut self) {
                tokio::task::block_in_place(|| $server::start_again(self));
            }
        }
    };
}

faulty!(
    Postgres,
    postgres,
    AsyncPgConnection,
    |server: &mut Postgres| server.stop(Stop::Fast),
    |server: &Postgres, user, password| server
        .psql(&format!("ALTER ROLE {user} PASSWORD '{password}'")),
    |server: &Postgres, of| {
        let ended = server.psql(&format!(
            "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE '{of}' IN (datname, usename) AND pid <> pg_backend_pid()"
        ));
        ended.parse::<u64>().expect("a count")
    }
);

faulty!(
    MariaDb,
    mariadb,
    AsyncMysqlConnection,
    MariaDb::stop,
    |server: &MariaDb, user, password| server
        .sql(&format!("ALTER USER {user}@'%' IDENTIFIED BY '{password}'")),
    |server: &MariaDb, of| {
        let ids = server.sql(&format!(
            "SELECT ID FROM information_schema.PROCESSLIST WHERE '{of}' IN (DB, USER)"
        ));
        let killed = ids.split_whitespace().map(|id| {
            // The session may be gone already.
            let killed = server.try_query_in("poolscope", &format!("KILL {id}"));
            u64::from(killed.is_ok())
        });
        killed.sum()
    }
);

/// Makes a test of an `async fn test<S: Faulty>(name: &str)` for each server.
macro_rules! on_each_server {
    ($($test:ident),+ $(,)?) => { $(
        mod $test {
            #[tokio::test(flavor = "multi_thread")]
            async fn postgres() {
                super::$test::<crate::support::postgres::Postgres>(concat!(stringify!($test), "_pg")).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn mariadb() {
                super::$test::<crate::support::mariadb::MariaDb>(concat!(stringify!($test), "_my")).await;
            }
        }
    )+ };
}
pub(crate) use on_each_server;
