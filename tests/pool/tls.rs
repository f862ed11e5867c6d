//! TLS through the pool. The unit tests cover every `sslmode` against every kind of server.

use diesel_async::{AsyncMysqlConnection, AsyncPgConnection};
use poolscope::backend::{Backend, ConnectErrorKind};
use poolscope::{Pool, PoolError, Settings};

use crate::databases::Tested;
use crate::support::Tls;
use crate::support::mariadb::{self, MariaDb};
use crate::support::postgres::{self, Postgres};

fn pool<C: Backend>(url: &str) -> Pool<C> {
    Pool::builder(Settings::new(url)).build().unwrap()
}

async fn connect_error<C: Backend>(url: &str) -> poolscope::backend::ConnectError {
    match pool::<C>(url).get().await.unwrap_err() {
        PoolError::ConnectFailed(error) => error,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_a_postgres_that_requires_tls() {
    let server = Postgres::start(postgres::Options::new().tls(Tls::Require));
    let (ca, wrong) = (
        &server.certificates().authority,
        &server.certificates().wrong_authority,
    );
    let url = |mode: &str| format!("{}?sslmode={mode}", server.url());
    for url in [
        server.url(),
        url("prefer"),
        url("require"),
        format!("{}&sslrootcert={}", url("verify-ca"), ca.display()),
        format!("{}&sslrootcert={}", url("verify-full"), ca.display()),
    ] {
        let pool = pool::<AsyncPgConnection>(&url);
        let mut conn = pool.get().await.unwrap();
        assert_eq!(conn.select(1).await.unwrap(), 1);
        let encrypted = "SELECT ssl::int AS n FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        assert_eq!(conn.number(encrypted).await.unwrap(), 1, "{url}");
        // The wire reads inside the TLS stream.
        let health = pool.health().await;
        assert!(health.longest_holders[0].process_id.is_some());
        assert!(health.can_serve());
    }
    let error = connect_error::<AsyncPgConnection>(&url("disable")).await;
    assert!(error.to_string().contains("no encryption"), "{error}");
    let wrong = format!("{}&sslrootcert={}", url("verify-full"), wrong.display());
    assert_eq!(
        connect_error::<AsyncPgConnection>(&wrong).await.kind(),
        ConnectErrorKind::Tls
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_a_postgres_without_tls() {
    let server = postgres::shared();
    assert!(pool::<AsyncPgConnection>(&server.url()).get().await.is_ok());
    let error =
        connect_error::<AsyncPgConnection>(&format!("{}?sslmode=require", server.url())).await;
    assert_eq!(error.kind(), ConnectErrorKind::Tls, "{error}");
    let error =
        Pool::<AsyncPgConnection>::builder(Settings::new("postgres://h/d?sslmode=sometimes"))
            .build()
            .unwrap_err();
    assert!(
        error.to_string().contains("sslmode=\"sometimes\""),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_a_mariadb_that_requires_tls() {
    let server = MariaDb::start(mariadb::Options::new().tls(Tls::Require));
    let lenient = "require_ssl=true&verify_ca=false&verify_identity=false";
    let pool = pool::<AsyncMysqlConnection>(&format!("{}?{lenient}", server.url()));
    assert_eq!(pool.get().await.unwrap().select(1).await.unwrap(), 1);
    // Verified against the public authorities, which did not sign the test's certificate.
    let error =
        connect_error::<AsyncMysqlConnection>(&format!("{}?require_ssl=true", server.url())).await;
    assert_eq!(error.kind(), ConnectErrorKind::Tls, "{error}");
    connect_error::<AsyncMysqlConnection>(&server.url()).await;
    let meant = format!("{}?verify_ca=true", server.url());
    let error = Pool::<AsyncMysqlConnection>::builder(Settings::new(meant))
        .build()
        .unwrap_err();
    assert!(error.to_string().contains("require_ssl=true"), "{error}");
}
