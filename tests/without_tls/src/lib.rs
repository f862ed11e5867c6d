//! Without the feature `tls`, a URL that requires TLS is refused instead of used in plain text.
#![cfg(test)]

use diesel_async::{AsyncMysqlConnection, AsyncPgConnection};
use poolscope::backend::Backend;
use poolscope::{Pool, Settings};

fn refused<C: Backend>(url: &str) -> String {
    match Pool::<C>::builder(Settings::new(url)).build() {
        Ok(_) => panic!("{url} is accepted"),
        Err(error) => error.to_string(),
    }
}

fn accepted<C: Backend>(url: &str) {
    if let Err(error) = Pool::<C>::builder(Settings::new(url)).build() {
        panic!("{url}: {error}");
    }
}

#[tokio::test]
async fn a_postgres_url_that_requires_tls_is_refused() {
    for parameters in [
        "sslmode=require",
        "sslmode=verify-ca",
        "sslmode=verify-full",
        "sslmode=verify-full&sslrootcert=system",
        "sslrootcert=system",
        "ssl=true",
    ] {
        let reason = refused::<AsyncPgConnection>(&format!("postgres://u:p@h/d?{parameters}"));
        assert!(reason.contains("feature `tls`"), "{parameters}: {reason}");
    }
}

#[tokio::test]
async fn a_mysql_url_that_requires_tls_is_refused() {
    for parameters in [
        "require_ssl=true",
        "require_ssl=true&verify_ca=false",
        "require_ssl=true&verify_identity=true",
    ] {
        let reason = refused::<AsyncMysqlConnection>(&format!("mysql://u:p@h/d?{parameters}"));
        assert!(reason.contains("feature `tls`"), "{parameters}: {reason}");
    }
    let reason = refused::<AsyncMysqlConnection>("mysql://u:p@h/d?verify_ca=true");
    assert!(reason.contains("verify_ca"), "{reason}");
}

#[tokio::test]
async fn a_url_with_optional_tls_is_accepted() {
    for parameters in ["", "?sslmode=disable", "?sslmode=prefer"] {
        accepted::<AsyncPgConnection>(&format!("postgres://u:p@h/d{parameters}"));
    }
    for parameters in ["", "?require_ssl=false"] {
        accepted::<AsyncMysqlConnection>(&format!("mysql://u:p@h/d{parameters}"));
    }
}
