//! A database that is down: what callers are told meanwhile, how soon, and when it is found again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use diesel_async::{AsyncMysqlConnection, AsyncPgConnection};
use poolscope::backend::ConnectErrorKind;
use poolscope::{Pool, PoolError, Settings};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use crate::databases::{Database, Tested};
use crate::support::mariadb::{self, MariaDb};
use crate::support::postgres::{self, Postgres, Stop};

/// Of a failure that is promised within half a second, on a machine that does other things too.
const SOON: Duration = Duration::from_secs(3);
/// Far below what anybody would wait for who has to wait for a dial's end.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

async fn cause<C: Tested>(pool: &Pool<C>) -> (poolscope::backend::ConnectError, Duration) {
    let start = Instant::now();
    match pool.get().await {
        Err(PoolError::ConnectFailed(error)) => (error, start.elapsed()),
        other => panic!("{other:?}"),
    }
}

/// Until a checkout succeeds; how long that took.
async fn found<C: Tested>(pool: &Pool<C>) -> Duration {
    let start = Instant::now();
    loop {
        match pool.get().await {
            Ok(mut conn) => {
                assert_eq!(conn.select(1).await.unwrap(), 1);
                return start.elapsed();
            }
            Err(error) => assert!(start.elapsed() < Duration::from_secs(60), "{error}"),
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// A port in front of a server, which can fall silent: it takes connections and answers nothing.
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

/// The first pays for the dial's whole time; from then on everybody is told soon, until it answers.
async fn a_silent_server_is_told_soon_and_found_again<C: Tested>(url: String, silence: Silence) {
    let pool = Database::at(&url)
        .pool::<C>()
        .settings(|settings| settings.connect_timeout = CONNECT_TIMEOUT)
        .build()
        .unwrap();
    silence.is(true);
    let (error, _) = cause(&pool).await;
    assert_eq!(error.kind(), ConnectErrorKind::TimedOut, "{error}");
    for _ in 0..5 {
        let (error, took) = cause(&pool).await;
        assert!(took < SOON, "{took:?}");
        assert_eq!(error.kind(), ConnectErrorKind::TimedOut);
        // The first may come so soon that there is nothing more to tell.
        let text = error.to_string();
        assert!(text.starts_with("no connection within 10s"), "{text}");
    }
    let text = cause(&pool).await.0.to_string();
    assert!(text.contains("; the database has been down for"), "{text}");
    silence.is(false);
    let took = found(&pool).await;
    assert!(took < SOON, "{took:?}");
    // What still hung does no harm when it ends.
    for _ in 0..20 {
        drop(pool.get().await.unwrap());
    }
    assert_eq!(pool.status().pending, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_postgres_is_told_soon_and_found_again() {
    let server = postgres::shared();
    let silence = Silence::before(server.port()).await;
    let port = format!(":{}/", silence.port);
    let url = server.url().replace(&format!(":{}/", server.port()), &port);
    a_silent_server_is_told_soon_and_found_again::<AsyncPgConnection>(url, silence).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_mariadb_is_told_soon_and_found_again() {
    let server = mariadb::shared();
    let silence = Silence::before(server.port()).await;
    let port = format!(":{}/", silence.port);
    let url = server.url().replace(&format!(":{}/", server.port()), &port);
    a_silent_server_is_told_soon_and_found_again::<AsyncMysqlConnection>(url, silence).await;
}

/// The whole machine is frozen: connections that are open hang, and so do new ones.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_is_told_soon() {
    let mut server = Postgres::start(postgres::Options::new());
    let pool = Pool::<AsyncPgConnection>::builder(Settings::new(server.url()))
        .pool_size(4)
        .max_overflow(4)
        .pre_ping_bypass(Duration::ZERO)
        .settings(|settings| {
            settings.connect_timeout = Duration::from_secs(3);
            settings.pre_ping_timeout = Duration::from_secs(1);
        })
        .build()
        .unwrap();
    found(&pool).await;
    let held = pool.get().await.unwrap();
    server.pause();
    // Pings, dials, and finds out.
    let (error, took) = cause(&pool).await;
    assert!(took < Duration::from_secs(15), "{error} after {took:?}");
    // One is out, and gives no sign of life.
    for _ in 0..5 {
        let (error, took) = cause(&pool).await;
        assert!(took < SOON, "{error} after {took:?}");
    }
    server.resume();
    let took = found(&pool).await;
    assert!(took < SOON, "{took:?}");
    drop(held);
}

/// Stopped for a while, under load: nobody waits for a timeout, everybody is told the cause, and
/// afterwards nothing is lost.
async fn an_outage_under_load<C: Tested>(url: String, outage: impl AsyncFnOnce() + Send) {
    let pool = Database::at(&url)
        .pool::<C>()
        .pool_size(4)
        .max_overflow(4)
        .build()
        .unwrap();
    found(&pool).await;
    let over = Arc::new(AtomicBool::new(false));
    let users: Vec<_> = (0..24)
        .map(|_| {
            let (pool, over) = (pool.clone(), Arc::clone(&over));
            tokio::spawn(async move {
                let (mut longest, mut told) = (Duration::ZERO, 0);
                while !over.load(Ordering::SeqCst) {
                    let start = Instant::now();
                    match pool.get().await {
                        // What was handed out may die under its query.
                        Ok(mut conn) => drop(conn.select(1).await),
                        Err(PoolError::ConnectFailed(_)) => told += 1,
                        Err(error) => panic!("{error}"),
                    }
                    longest = longest.max(start.elapsed());
                }
                (longest, told)
            })
        })
        .collect();
    sleep(Duration::from_millis(300)).await;
    outage().await;
    found(&pool).await;
    over.store(true, Ordering::SeqCst);
    let mut all_told = 0;
    for user in users {
        let (longest, told) = user.await.unwrap();
        assert!(longest < Duration::from_secs(10), "{longest:?}");
        all_told += told;
    }
    assert!(all_told > 0);
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
    let mut server = Postgres::start(postgres::Options::new());
    an_outage_under_load::<AsyncPgConnection>(server.url(), async || {
        server.stop(Stop::Immediate);
        sleep(Duration::from_secs(2)).await;
        server.start_again();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_mariadb_under_load() {
    let mut server = MariaDb::start(mariadb::Options::new());
    an_outage_under_load::<AsyncMysqlConnection>(server.url(), async || {
        server.stop();
        sleep(Duration::from_secs(2)).await;
        server.start_again();
    })
    .await;
}

/// Nobody asks: the pool finds out by itself that the database is back, and has the connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_return_is_noticed_without_anybody_asking() {
    let mut server = Postgres::start(postgres::Options::new());
    server.stop(Stop::Fast);
    let pool = Pool::<AsyncPgConnection>::builder(Settings::new(server.url()))
        .build()
        .unwrap();
    let (error, _) = cause(&pool).await;
    assert_eq!(error.kind(), ConnectErrorKind::Unreachable);
    server.start_again();
    let noticed = async {
        while pool.status().idle == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(30), noticed).await.unwrap();
    let status = pool.status();
    assert_eq!((status.totals.connections_opened, status.idle), (1, 1));
    assert_eq!(pool.get().await.unwrap().select(1).await.unwrap(), 1);
}

/// The setting opens them when the pool is built, and the log tells it.
#[tokio::test(flavor = "multi_thread")]
async fn warmed_up_when_it_is_built() {
    let log = crate::log::capture();
    let database = AsyncPgConnection::database("warmed_up");
    let pool = database
        .pool::<AsyncPgConnection>()
        .name("warmed")
        .pool_size(5)
        .settings(|settings| settings.warm_up = Some(Duration::from_secs(30)))
        .build()
        .unwrap();
    let told = async |words: &str| {
        let line = async {
            loop {
                let lines = log.lines_with("poolscope");
                match lines.into_iter().find(|line| line.contains(words)) {
                    Some(line) => return line,
                    None => sleep(Duration::from_millis(5)).await,
                }
            }
        };
        timeout(Duration::from_secs(60), line).await.unwrap()
    };
    let line = told("pool warmed up").await;
    assert!(line.contains("opened=5"), "{line}");
    assert_eq!(pool.status().idle, 5);

    let port = crate::support::ports::free_port();
    let nowhere = Settings::new(format!("postgres://u:p@127.0.0.1:{port}/d"));
    let _pool = Pool::<AsyncPgConnection>::builder(nowhere)
        .settings(|settings| settings.warm_up = Some(Duration::from_millis(300)))
        .build()
        .unwrap();
    let line = told("pool not warmed up").await;
    assert!(
        line.contains("WARN") && line.contains("connection refused"),
        "{line}"
    );
}

/// A firewall that drops what is silent: with the keepalive nothing is silent for so long.
#[tokio::test(flavor = "multi_thread")]
async fn kept_alive_connections_are_used_on_the_server() {
    let database = AsyncPgConnection::database("kept_alive");
    let pool = database
        .pool::<AsyncPgConnection>()
        .pool_size(3)
        .settings(|settings| settings.keepalive = Some(Duration::from_millis(200)))
        .build()
        .unwrap();
    let warm_up = pool.warm_up(Duration::from_secs(30)).await;
    assert_eq!((warm_up.opened, warm_up.failed), (3, 0), "{warm_up:?}");
    sleep(Duration::from_millis(1000)).await;
    let start = Instant::now();
    let server = postgres::shared();
    let silent = || {
        server.psql(
            "SELECT count(*) FROM pg_stat_activity \
             WHERE datname = 'kept_alive' AND query_start = backend_start",
        )
    };
    let pinged = "SELECT count(DISTINCT pid) FROM pg_stat_activity WHERE datname = 'kept_alive' \
                  AND state_change > backend_start + interval '150 ms'";
    while server.psql(pinged) != "3" {
        assert!(start.elapsed() < Duration::from_secs(30), "{}", silent());
        sleep(Duration::from_millis(50)).await;
    }
    let status = pool.status();
    assert_eq!((status.totals.checkouts, status.idle), (0, 3));
    assert_eq!(status.totals.connections_opened, 3);
}
