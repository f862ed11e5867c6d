//! Callers that give up while the server works on their queries. The sessions at the server stay bounded.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use poolscope::{Pool, Settings};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::databases::Tested;
use crate::lost::nothing_is_lost;
use crate::monitor_client::until;
use crate::network::proxied;
use crate::servers::{Faulty, on_each_server};
use crate::support::mariadb::MariaDb;
use crate::support::postgres::Postgres;
use crate::support::proxy::Proxy;

const SIZE: u32 = 4;

/// The pool's connections, and the one that sends `KILL`.
const MOST_SESSIONS: i32 = SIZE as i32 + 1;

on_each_server!(
    callers_that_give_up_occupy_no_more_sessions_than_the_size,
    a_query_that_cannot_be_cancelled_keeps_its_place,
);

/// A server whose statements may be impossible to cancel.
trait Stubborn: Faulty {
    /// What ends the statement.
    type End;

    /// A statement that runs for as long as nobody ends it, and ends when it is cancelled.
    const LONG: &str;
    /// The number of the sessions of a database.
    const SESSIONS: &str;
    /// The same without those that are idle, because they are about to close.
    const BUSY: &str;

    /// A statement that runs on when it is cancelled, and what ends it.
    fn uncancellable(proxy: &Proxy) -> (String, Self::End);
    fn end(proxy: &Proxy, end: &Self::End);
}

impl Stubborn for Postgres {
    type End = ();

    const LONG: &str = "SELECT pg_sleep(3000)";
    const SESSIONS: &str = "SELECT count(*)::int AS n FROM pg_stat_activity WHERE datname = '{}'";
    const BUSY: &str = "SELECT count(*)::int AS n FROM pg_stat_activity \
                        WHERE datname = '{}' AND state = 'active'";

    /// Requests to cancel get lost.
    fn uncancellable(proxy: &Proxy) -> (String, ()) {
        proxy.lose_cancel_requests(true);
        (Self::LONG.to_owned(), ())
    }

    fn end(proxy: &Proxy, (): &()) {
        proxy.lose_cancel_requests(false);
    }
}

impl Stubborn for MariaDb {
    type End = (tempfile::TempDir, String);

    const LONG: &str = "SELECT sleep(3000)";
    const SESSIONS: &str =
        "SELECT CAST(count(*) AS SIGNED) AS n FROM information_schema.PROCESSLIST WHERE DB = '{}'";
    const BUSY: &str = "SELECT CAST(count(*) AS SIGNED) AS n FROM information_schema.PROCESSLIST \
                        WHERE DB = '{}' AND INFO IS NOT NULL";

    /// The statement waits for a writer of a pipe, and does not listen to `KILL`.
    fn uncancellable(_: &Proxy) -> (String, Self::End) {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let pipe = folder.path().join("pipe").display().to_string();
        let made = Command::new("mkfifo").args(["--mode=666", &pipe]).status();
        assert!(made.unwrap().success());
        (format!("SELECT LOAD_FILE('{pipe}')"), (folder, pipe))
    }

    fn end(_: &Proxy, (_, pipe): &Self::End) {
        // Opened for both, it waits for nobody. It is kept open for those who come later.
        let pipe = fs::File::options().read(true).write(true).open(pipe);
        std::mem::forget(pipe.unwrap());
    }
}

/// A full pool behind a proxy, with callers that give up soon, and the number of sessions at the server.
struct GivingUp<S: Faulty> {
    proxy: Proxy,
    pool: Pool<S::Connection>,
    watcher: Pool<S::Connection>,
    sessions: String,
    callers: JoinSet<()>,
    given_up: Arc<AtomicU32>,
    with_connection: Arc<AtomicU32>,
}

impl<S: Stubborn> GivingUp<S> {
    async fn new(name: &str, sessions: &str) -> Self {
        let server = S::shared();
        let (proxy, url) = proxied::<S>(name).await;
        let pool = |url: String, size| {
            let builder = Pool::<S::Connection>::builder(Settings::new(url));
            builder.pool_size(size).max_overflow(0).build().unwrap()
        };
        Self {
            proxy,
            pool: pool(url, SIZE),
            watcher: pool(server.url(), 1),
            sessions: sessions.replace("{}", name),
            callers: JoinSet::new(),
            given_up: Arc::default(),
            with_connection: Arc::default(),
        }
    }

    fn start(&mut self, statement: &str) {
        for _ in 0..16 {
            let (pool, statement) = (self.pool.clone(), statement.to_owned());
            let (given_up, with) = (self.given_up.clone(), self.with_connection.clone());
            self.callers.spawn(async move {
                loop {
                    let mut has_connection = false;
                    let work = async {
                        let mut conn = pool.get().await.unwrap();
                        has_connection = true;
                        conn.run(&statement).await
                    };
                    let outcome = timeout(Duration::from_millis(200), work).await;
                    assert!(outcome.is_err(), "the statement runs on");
                    given_up.fetch_add(1, Ordering::Relaxed);
                    with.fetch_add(u32::from(has_connection), Ordering::Relaxed);
                }
            });
        }
    }

    /// Watches the sessions until this number of callers has given up.
    async fn watch(&mut self, counter: fn(&Self) -> &AtomicU32, count: u32) {
        let from = counter(self).load(Ordering::Relaxed);
        let mut conn = self.watcher.get().await.unwrap();
        let look = async || {
            let sessions = conn.number(&self.sessions).await.unwrap();
            assert!(
                sessions <= MOST_SESSIONS,
                "{sessions}: {:?}",
                self.pool.status()
            );
            counter(self).load(Ordering::Relaxed) - from
        };
        until("they give up", look, |&n| n >= count).await;
        assert!(self.callers.try_join_next().is_none(), "a caller failed");
    }
}

async fn callers_that_give_up_occupy_no_more_sessions_than_the_size<S: Stubborn>(name: &str) {
    let mut giving_up = GivingUp::<S>::new(name, S::BUSY).await;
    giving_up.start(S::LONG);
    // The server ends what nobody waits for, so others get a connection.
    giving_up.watch(|it| &it.with_connection, 10 * SIZE).await;
    giving_up.callers.shutdown().await;
    nothing_is_lost(&giving_up.pool).await;
}

async fn a_query_that_cannot_be_cancelled_keeps_its_place<S: Stubborn>(name: &str) {
    let mut giving_up = GivingUp::<S>::new(name, S::SESSIONS).await;
    let (statement, end) = S::uncancellable(&giving_up.proxy);
    giving_up.start(&statement);
    giving_up.watch(|it| &it.with_connection, SIZE).await;
    giving_up.watch(|it| &it.given_up, 200).await;
    let status = giving_up.pool.status();
    assert_eq!(
        (status.total_connections, status.idle),
        (SIZE, 0),
        "{status:?}"
    );
    giving_up.callers.shutdown().await;
    S::end(&giving_up.proxy, &end);
    nothing_is_lost(&giving_up.pool).await;
}
