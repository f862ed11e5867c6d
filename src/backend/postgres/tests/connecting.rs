//! Connect errors without TLS, and cancelling.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::server::{eventually, plain, refused, run, target};
use crate::backend::connect_error::ConnectErrorKind;
use crate::backend::postgres::application_name::joined;
use crate::backend::postgres::connect::connect;
use crate::backend::postgres::role::query;
use crate::backend::postgres::url::Target;

#[tokio::test]
async fn each_connect_error_has_its_kind_and_message() {
    let server = plain().await;
    let port = server.port;

    let error = refused(&format!("postgres://scram:wrong@127.0.0.1:{port}/offers")).await;
    assert_eq!(
        (error.kind(), error.code()),
        (ConnectErrorKind::Authentication, Some("28P01"))
    );
    assert_eq!(
        error.message(),
        "password authentication failed for user \"scram\""
    );

    let error = refused(&format!("postgres://scram@127.0.0.1:{port}/offers")).await;
    assert_eq!(error.kind(), ConnectErrorKind::Authentication);
    assert!(error.message().contains("password missing"), "{error}");

    let error = refused(&server.url("127.0.0.1", "nowhere")).await;
    assert_eq!(
        (error.kind(), error.code()),
        (ConnectErrorKind::Authentication, Some("28000")),
        "{error}"
    );

    let error = refused(&format!(
        "postgres://scram:it's%40secret@127.0.0.1:{port}/nowhere"
    ))
    .await;
    assert_eq!(
        (error.kind(), error.code()),
        (ConnectErrorKind::Database, Some("3D000"))
    );
    assert_eq!(error.message(), "database \"nowhere\" does not exist");

    for method in ["ldap", "pam"] {
        let error = refused(&format!("postgres://{method}:x@127.0.0.1:{port}/offers")).await;
        assert_eq!(
            (error.kind(), error.code()),
            (ConnectErrorKind::Authentication, Some("28000")),
            "{error}"
        );
        let failed = format!("{} authentication failed", method.to_uppercase());
        assert!(error.message().starts_with(&failed), "{error}");
    }

    let error = refused(&format!("postgres://full@127.0.0.1:{port}/postgres")).await;
    assert_eq!(
        (error.kind(), error.code()),
        (ConnectErrorKind::TooManyConnections, Some("53300"))
    );

    let error = refused(&server.url("127.0.0.1", "postgres?options=-cno_such_setting%3D1")).await;
    assert_eq!(error.kind(), ConnectErrorKind::Configuration, "{error}");

    let error = refused("postgres://127.0.0.1:1/postgres").await;
    assert_eq!(
        (error.kind(), error.code()),
        (ConnectErrorKind::Unreachable, None)
    );
    assert_eq!(error.message(), "connection refused (127.0.0.1:1)");

    let error = refused("postgres://no-such-host.invalid/postgres").await;
    assert_eq!(error.kind(), ConnectErrorKind::Unreachable);
    assert!(
        error.message().ends_with("(no-such-host.invalid:5432)"),
        "{error}"
    );
}

#[tokio::test]
async fn an_error_of_another_kind_of_server_names_its_address() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(
                &mut stream,
                b"HTTP/1.1 400 Bad Request\r\n\r\n",
            )
            .await;
        }
    });
    for mode in ["disable", "prefer"] {
        let error = refused(&format!("postgres://127.0.0.1:{port}/db?sslmode={mode}")).await;
        assert!(
            error.message().ends_with(&format!("(127.0.0.1:{port})")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn only_the_wire_of_the_host_that_connects_is_kept() {
    let server = plain().await;
    let url = format!(
        "postgres://postgres@127.0.0.1:1,127.0.0.1:{}/postgres",
        server.port
    );
    let connected = connect(&target(&url)).await.unwrap();
    let wire = connected.wire.unwrap();
    assert!(!wire.is_closed());
    assert_eq!(wire.outstanding(), Some(0));
}

/// A name with these addresses, which no resolver has to know.
fn named(addresses: &'static [&str], port: u16, parameters: &str) -> Target {
    let url = format!("postgres://postgres@db.example:{port}/postgres?{parameters}");
    let mut target = target(&url);
    target.set_resolver(move |_| Ok(addresses.iter().map(|it| it.parse().unwrap()).collect()));
    target
}

/// Takes connections and never answers.
async fn silent(address: &str, port: u16) -> tokio::net::TcpListener {
    tokio::net::TcpListener::bind((address, port))
        .await
        .unwrap()
}

#[tokio::test]
async fn each_address_of_a_name_gets_its_turn() {
    let server = plain().await;
    let port = server.port;
    let listener = silent("127.0.0.2", port).await;
    let addresses = &["127.0.0.2", "127.0.0.1"];
    // Without the parameter, the time of the pool is divided.
    for (parameters, limit) in [("connect_timeout=3", 3600), ("", 6)] {
        let mut target = named(addresses, port, parameters);
        target.limit = Duration::from_secs(limit);
        let mut connected = connect(&target).await.unwrap();
        run(&mut connected.connection, "SELECT 1").await.unwrap();
        connected.cancel.cancel().await.unwrap();
        // The silent address is remembered and not tried again at once.
        drop(listener.accept().await.unwrap());
        connect(&target).await.unwrap();
        tokio::select! {
            biased;
            _ = listener.accept() => panic!("tried again"),
            () = tokio::task::yield_now() => {}
        }
    }
}

#[tokio::test]
async fn the_error_names_each_address_and_why_it_failed() {
    let server = plain().await;
    let port = server.port;
    let _listener = silent("127.0.0.5", port).await;
    let addresses = &["127.0.0.3", "127.0.0.5", "127.0.0.4"];
    let error = connect(&named(addresses, port, "connect_timeout=1"))
        .await
        .expect_err("nobody is there");
    assert_eq!(
        error.message(),
        format!(
            "connection refused (db.example:{port}, 127.0.0.3); \
             no connection within 1s (db.example:{port}, 127.0.0.5); \
             connection refused (db.example:{port}, 127.0.0.4)"
        )
    );
    assert_eq!(error.kind(), ConnectErrorKind::Unreachable);
}

/// As in libpq: the next one would count another failed login.
#[tokio::test]
async fn a_refused_login_is_not_tried_at_the_next_host() {
    let port = plain().await.port;
    let url = format!("postgres://scram:wrong@127.0.0.1:{port},127.0.0.1:1/offers");
    let error = refused(&url).await;
    assert_eq!(
        (error.kind(), error.code()),
        (ConnectErrorKind::Authentication, Some("28P01"))
    );
    assert_eq!(
        error.message(),
        format!("password authentication failed for user \"scram\" (127.0.0.1:{port})")
    );
}

#[tokio::test]
async fn a_resolver_that_hangs_has_one_thread_and_is_named() {
    let begun = Arc::new(AtomicUsize::new(0));
    let mut target = target("postgres://db.example/postgres");
    target.limit = Duration::from_millis(1);
    target.set_resolver({
        let begun = Arc::clone(&begun);
        move |_| {
            begun.fetch_add(1, Ordering::SeqCst);
            loop {
                std::thread::park();
            }
        }
    });
    for _ in 0..20 {
        let error = connect(&target).await.expect_err("nothing is found");
        assert_eq!(error.kind(), ConnectErrorKind::TimedOut);
        let message = error.message();
        assert!(
            message.starts_with("looking up db.example: no answer within"),
            "{message}"
        );
    }
    eventually("begun", || begun.load(Ordering::SeqCst) == 1).await;
}

/// Servers before Postgres 14 do not report what they are.
#[tokio::test]
async fn a_server_that_does_not_report_what_it_is_is_queried() {
    let mut opened = plain().await.open().await;
    for (set, statement, is) in [
        ("SELECT 1", "SHOW transaction_read_only", false),
        (
            "SET default_transaction_read_only = on",
            "SHOW transaction_read_only",
            true,
        ),
        ("SELECT 1", "SELECT pg_catalog.pg_is_in_recovery()", false),
    ] {
        let (client, connection) = (&opened.client, &mut opened.connection);
        query(client, connection, set).await.unwrap();
        let found = query(client, connection, statement).await;
        assert_eq!(found.unwrap(), is, "{statement}");
    }
    assert!(
        query(&opened.client, &mut opened.connection, "SELECT 1/0")
            .await
            .is_err()
    );
}

#[tokio::test]
async fn hosts_are_tried_in_their_order_or_in_a_random_one() {
    for (order, orders) in [("disable", 1), ("random", 2)] {
        let url = format!("postgres://a.example,b.example/db?load_balance_hosts={order}");
        let mut target = target(&url);
        target.set_resolver(|_| Ok(Vec::new()));
        let mut seen = BTreeSet::new();
        // The chance that all are the same is one in 2^199.
        for _ in 0..200 {
            let error = connect(&target).await.expect_err("no address");
            seen.insert(error.message().to_owned());
        }
        assert_eq!(seen.len(), orders, "{seen:?}");
        assert!(
            seen.first()
                .unwrap()
                .starts_with("looking up a.example: no address"),
            "{seen:?}"
        );
    }
}

#[tokio::test]
async fn a_unix_socket_works_without_a_wire() {
    let server = plain().await;
    let url = format!(
        "postgres://postgres@/postgres?host={}&port={}",
        server.folder().path().display(),
        server.port
    );
    let mut connected = connect(&target(&url)).await.unwrap();
    assert!(connected.wire.is_none());
    run(&mut connected.connection, "SELECT 1").await.unwrap();
    connected.cancel.cancel().await.unwrap();
}

/// The server shows the name of a session unchanged, for any service and instance.
#[tokio::test]
async fn the_server_shows_the_application_name_unchanged() {
    use diesel::sql_types::Text;
    use diesel_async::RunQueryDsl;

    let server = plain().await;
    let uuid = "0f4c9a52-7d1e-4b8a-9c3f-2e6d5b1a8c70";
    for (service, instance) in [
        ("orders", uuid),
        (
            "a service with a name that is longer than there is room for",
            uuid,
        ),
        ("\u{e9}\u{1f980} it's \"odd\"\t\\ %s", "pod-7"),
        ("orders", &"i".repeat(80)),
    ] {
        let name = joined(service, instance);
        let mut target = target(&server.url("127.0.0.1", "postgres"));
        target.set_application_name(&name);
        let mut connected = connect(&target).await.unwrap();
        let shown = diesel::dsl::sql::<Text>(
            "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()",
        );
        let shown: String = shown.get_result(&mut connected.connection).await.unwrap();
        assert_eq!(shown, name);
    }
}

#[tokio::test]
async fn cancelling_ends_the_running_query() {
    let server = plain().await;
    let (mut connected, mut other) = (server.connect().await, server.connect().await);
    let wire = connected.wire.unwrap();
    // The future is dropped, as in a request that exceeds its time limit. The server goes on, and
    // the wire shows it.
    let sleeps = format!(
        "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND pid = {}",
        wire.process_id().unwrap()
    );
    tokio::select! {
        ended = run(&mut connected.connection, "SELECT pg_sleep(3600)") => panic!("{ended:?}"),
        () = async { while run(&mut other.connection, &sleeps).await != Ok(1) {} } => {}
    }
    assert_eq!(wire.outstanding(), Some(1));
    let busy = wire.busy().unwrap();
    eventually("busy for longer", || wire.busy().unwrap() > busy).await;
    connected.cancel.clone().cancel().await.unwrap();
    eventually("the query's end", || wire.outstanding() == Some(0)).await;
    assert_eq!(wire.last_sqlstate(), Some(*b"57014"));
    assert!(!wire.is_closed());
    run(&mut connected.connection, "SELECT 1").await.unwrap();
}
