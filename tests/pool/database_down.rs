//! A database that is down: the error of each checkout, how soon it comes, and when the database is
//! found again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use diesel_async::{AsyncMysqlConnection, AsyncPgConnection};
use poolscope::backend::{ConnectError, ConnectErrorKind};
use poolscope::{Pool, PoolError, Settings};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use crate::databases::{Database, Tested};
use crate::support::mariadb::{self, MariaDb};
use crate::support::postgres::{self, Postgres, Stop};
use crate::support::waiting::{found, soon, until, within_patience};

/// More than twice what [`soon`] allows, so that no wait for a connect counts as a quick answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(25);

async fn cause<C: Tested>(pool: &Pool<C>) -> ConnectError {
    match pool.get().await {
        Err(PoolError::ConnectFailed(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// Waits until a checkout succeeds.
async fn is_up<C: Tested>(pool: &Pool<C>) {
    let get = async || pool.get().await.map_err(|error| error.to_string());
    let mut conn = found("a connection", get).await;
    assert_eq!(conn.select(1).await.unwrap(), 1);
}

/// A proxy in front of a server that can fall silent: it accepts connections and never answers.
struct Silence {
    port: u16,
    silent: Arc<AtomicBool>,
}

impl Silence {
    async fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let silent = Arc::new(AtomicBool::new(false));
        let is_silent = Arc::clone(&silent);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let silent = is_silent.load(Ordering::SeqCst);
                tokio::spawn(async move {
                    if silent {
                        let mut taken = [0; 1024];
                        while client.read(&mut taken).await.is_ok_and(|read| read > 0) {}
                        return;
                    }
                    let mut upstream = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
                });
            }
        });
        Self { port, silent }
    }

    fn is(&self, silent: bool) {
        self.silent.store(silent, Ordering::SeqCst);
    }
}

/// The first checkout waits for the whole connect. Later ones fail quickly, until the server answers.
async fn checkouts_fail_quickly_until_a_silent_server_answers<C: Tested>(
    url: String,
    silence: Silence,
) {
    let pool = Database::at(&url)
        .pool::<C>()
        .settings(|settings| settings.connect_timeout = CONNECT_TIMEOUT)
        .build()
        .unwrap();
    silence.is(true);
    let error = cause(&pool).await;
    assert_eq!(error.kind(), ConnectErrorKind::TimedOut, "{error}");
    for _ in 0..5 {
        let error = soon("half a second", cause(&pool)).await;
        assert_eq!(error.kind(), ConnectErrorKind::TimedOut);
        // The first error may come before the outage has a duration.
        let text = error.to_string();
        assert!(text.starts_with("no connection within 25s"), "{text}");
    }
    let text = cause(&pool).await.to_string();
    assert!(text.contains("; the database has been down for"), "{text}");
    silence.is(false);
    soon("a second", is_up(&pool)).await;
    // A connect that still hangs does no harm when it ends.
    for _ in 0..20 {
        drop(pool.get().await.unwrap());
    }
    assert_eq!(pool.status().pending, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn checkouts_fail_quickly_until_a_silent_postgres_answers() {
    let server = postgres::shared();
    let silence = Silence::before(server.port()).await;
    let port = format!(":{}/", silence.port);
    let url = server.url().replace(&format!(":{}/", server.port()), &port);
    checkouts_fail_quickly_until_a_silent_server_answers::<AsyncPgConnection>(url, silence).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn checkouts_fail_quickly_until_a_silent_mariadb_answers() {
    let server = mariadb::shared();
    let silence = Silence::before(server.port()).await;
    let port = format!(":{}/", silence.port);
    let url = server.url().replace(&format!(":{}/", server.port()), &port);
    checkouts_fail_quickly_until_a_silent_server_answers::<AsyncMysqlConnection>(url, silence)
        .await;
}

/// The whole server is frozen: open connections hang, and so do new ones.
#[tokio::test(flavor = "multi_thread")]
async fn checkouts_fail_quickly_while_a_server_is_frozen() {
    let mut server = Postgres::start(postgres::Options::new());
    let pool = Pool::<AsyncPgConnection>::builder(Settings::new(server.url()))
        .pool_size(4)
        .max_overflow(4)
        .pre_ping_bypass(Duration::ZERO)
        .settings(|settings| {
            settings.connect_timeout = CONNECT_TIMEOUT;
            settings.pre_ping_timeout = Duration::from_secs(1);
        })
        .build()
        .unwrap();
    is_up(&pool).await;
    let held = pool.get().await.unwrap();
    server.pause();
    // It pings, connects, and notices the outage.
    cause(&pool).await;
    // One connection is in use, and shows no sign of life.
    for _ in 0..5 {
        soon("half a second", cause(&pool)).await;
    }
    server.resume();
    soon("a second", is_up(&pool)).await;
    drop(held);
}

/// A server that is stopped and started again.
trait Stopped {
    fn stop(&mut self);
    fn start_again(&mut self);
}

impl Stopped for Postgres {
    fn stop(&mut self) {
        self.stop(Stop::Immediate);
    }

    fn start_again(&mut self) {
        self.start_again();
    }
}

impl Stopped for MariaDb {
    fn stop(&mut self) {
        self.stop();
    }

    fn start_again(&mut self) {
        self.start_again();
    }
}

/// The server stops for a while under load: no checkout waits for a timeout, each fails with the cause,
/// and afterwards nothing is lost.
async fn an_outage_under_load<C: Tested>(url: String, mut server: impl Stopped) {
    let pool = Database::at(&url)
        .pool::<C>()
        .pool_size(4)
        .max_overflow(4)
        .pool_timeout(Duration::from_secs(3600))
        .build()
        .unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let users: Vec<_> = (0..24)
        .map(|_| {
            let (pool, over) = (pool.clone(), Arc::clone(&over));
            tokio::spawn(async move {
                while !over.load(Ordering::SeqCst) {
                    match pool.get().await {
                        // A connection may die during its query.
                        Ok(mut conn) => drop(conn.select(1).await),
                        Err(PoolError::ConnectFailed(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    let totals = async || pool.status().totals;
    until("they are served", totals, |totals| totals.checkouts > 100).await;
    server.stop();
    until("they fail", totals, |totals| totals.errors > 100).await;
    server.start_again();
    is_up(&pool).await;
    over.store(true, Ordering::SeqCst);
    let users = futures_util::future::try_join_all(users);
    within_patience("no checkout waits for its timeout", users)
        .await
        .unwrap();
    let status = pool.status();
    assert_eq!((status.checked_out, status.pending), (0, 0));
    assert!(status.total_connections <= 8 && status.idle == status.total_connections);
    assert_eq!(status.totals.timeouts, 0);
    let closed = status.totals.connections_closed;
    let closed = closed.recycle + closed.overflow + closed.broken + closed.ping_failed;
    assert_eq!(
        status.totals.connections_opened - closed,
        u64::from(status.total_connections)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_postgres_under_load() {
    let server = Postgres::start(postgres::Options::new());
    an_outage_under_load::<AsyncPgConnection>(server.url(), server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_mariadb_under_load() {
    let server = MariaDb::start(mariadb::Options::new());
    an_outage_under_load::<AsyncMysqlConnection>(server.url(), server).await;
}

/// Without any checkout the pool notices that the database is back, and holds the connection.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_an_outage_is_noticed_without_a_checkout() {
    let mut server = Postgres::start(postgres::Options::new());
    server.stop(Stop::Fast);
    let pool = Pool::<AsyncPgConnection>::builder(Settings::new(server.url()))
        .build()
        .unwrap();
    assert_eq!(cause(&pool).await.kind(), ConnectErrorKind::Unreachable);
    server.start_again();
    let status = async || pool.status();
    until("it is noticed", status, |status| status.idle > 0).await;
    assert_eq!(pool.get().await.unwrap().select(1).await.unwrap(), 1);
}

/// The setting opens the connections when the pool is built, and this is logged.
#[tokio::test(flavor = "multi_thread")]
async fn a_pool_is_warmed_up_when_it_is_built() {
    let log = crate::log_capture::capture();
    let database = AsyncPgConnection::database("warmed_up");
    let pool = database
        .pool::<AsyncPgConnection>()
        .name("warmed")
        .pool_size(5)
        .settings(|settings| settings.warm_up = Some(Duration::from_secs(30)))
        .build()
        .unwrap();
    let logged = async |words: &str| {
        let line = async || {
            let mut lines = log.lines_with("poolscope").into_iter();
            let line = lines.find(|line| line.contains(words));
            line.ok_or_else(|| "not logged".to_owned())
        };
        found(words, line).await
    };
    let line = logged("pool warmed up").await;
    assert!(line.contains("opened=5"), "{line}");
    assert_eq!(pool.status().idle, 5);

    let port = crate::support::ports::free_port();
    let nowhere = Settings::new(format!("postgres://u:p@127.0.0.1:{port}/d"));
    let _pool = Pool::<AsyncPgConnection>::builder(nowhere)
        .settings(|settings| settings.warm_up = Some(Duration::from_millis(300)))
        .build()
        .unwrap();
    let line = logged("pool not warmed up").await;
    assert!(
        line.contains("WARN") && line.contains("connection refused"),
        "{line}"
    );
}

/// A firewall drops silent connections: the keepalive keeps them from being silent too long.
#[tokio::test(flavor = "multi_thread")]
async fn the_keepalive_pings_idle_connections() {
    let database = AsyncPgConnection::database("kept_alive");
    let pool = database
        .pool::<AsyncPgConnection>()
        .pool_size(3)
        .settings(|settings| settings.keepalive = Some(Duration::from_millis(200)))
        .build()
        .unwrap();
    let warm_up = pool.warm_up(Duration::from_secs(30)).await;
    assert_eq!((warm_up.opened, warm_up.failed), (3, 0), "{warm_up:?}");
    let pinged = "SELECT count(DISTINCT pid) FROM pg_stat_activity WHERE datname = 'kept_alive' \
                  AND state_change > backend_start + interval '150 ms'";
    let pinged = async || postgres::shared().psql(pinged);
    until("all are pinged", pinged, |count| count == "3").await;
    let totals = pool.status().totals;
    assert_eq!((totals.checkouts, totals.connections_opened), (0, 3));
}
