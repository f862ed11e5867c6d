//! The addresses of a host, on a real server.

use tokio::net::TcpListener;

use super::*;
use crate::backend::support::mariadb;

/// A name with these addresses, which no resolver has to know.
fn named(addresses: &'static [&str], url: &str, limit: Duration) -> Target {
    let url = url.replace("127.0.0.1", "db.example");
    let opts = Opts::from_url(&url).unwrap();
    let mut target = Target::new(opts, &DatabaseUrl::from(url), limit);
    target.lookup = Lookup::by("db.example", |_| {
        Ok(addresses.iter().map(|it| it.parse().unwrap()).collect())
    });
    target
}

#[tokio::test]
async fn each_address_of_a_name_gets_its_turn() {
    let server = mariadb::shared();
    let port = server.port();
    // Takes connections and never answers.
    let _listener = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
    let addresses = &["127.0.0.2", "127.0.0.1"];
    let target = named(addresses, &server.url(), Duration::from_secs(6));
    for _ in 0..2 {
        let dialed = target.dial(None).await.unwrap();
        let session = dialed.session.unwrap();
        assert!(session.process_id() > Some(0));
        // By the same address.
        session.cancel().unwrap().await.unwrap();
    }

    let addresses = &["127.0.0.3", "127.0.0.2"];
    let target = named(addresses, &server.url(), Duration::from_secs(1));
    let error = target.dial(None).await.expect_err("nobody is there");
    let refused = format!("connection refused (db.example:{port}, 127.0.0.3)");
    let silent = format!("(db.example:{port}, 127.0.0.2)");
    let message = error.message();
    assert!(
        message.starts_with(&refused) && message.ends_with(&silent),
        "{message}"
    );
    assert_eq!(error.kind(), ConnectErrorKind::TimedOut);
}
