//! Tests every `sslmode` with a server that requires TLS, one that offers it, and one without it.

use std::path::PathBuf;
use std::time::Duration;

use diesel::dsl::sql;
use diesel::sql_types::Bool;
use diesel_async::RunQueryDsl;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::sync::OnceCell;

use super::server::{Identity, Server, eventually, plain, refused, run, target};
use crate::backend::connect_error::{ConnectError, ConnectErrorKind};
use crate::backend::postgres::connect::connect;

/// A server with TLS, whose certificate is only for `localhost`, and root certificate files.
struct Secured {
    server: Server,
    /// The certificate of the authority that signed the server's certificate.
    root: PathBuf,
    /// The certificate of another authority with the same name.
    other: PathBuf,
}

async fn secured() -> &'static Secured {
    static SERVER: OnceCell<Secured> = OnceCell::const_new();
    SERVER.get_or_init(Secured::start).await
}

impl Secured {
    async fn start() -> Self {
        let (root, identity) = signed_identity();
        let (other_root, _) = signed_identity();
        let server = Server::start(Some(identity)).await;
        Self {
            root: server.folder().write("root.crt", root),
            other: server.folder().write("other.crt", other_root),
            server,
        }
    }
}

/// Creates the certificate of an authority, and an identity that it signed for `localhost`.
fn signed_identity() -> (String, Identity) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    let identity = Identity {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
        clients: None,
    };
    (root.pem(), identity)
}

/// Connects. Returns whether the server reports the session as encrypted, or the kind of the error.
pub(super) async fn attempt(
    server: &Server,
    host: &str,
    rest: &str,
) -> Result<bool, ConnectErrorKind> {
    let mut connected =
        connect(&target(&server.url(host, rest)))
            .await
            .map_err(|error: ConnectError| {
                assert!(
                    error.code().is_some() == (error.kind() == ConnectErrorKind::Authentication),
                    "{error}"
                );
                error.kind()
            })?;
    let query = sql::<Bool>("ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()");
    let encrypted = diesel::select(query)
        .get_result(&mut connected.connection)
        .await
        .unwrap();
    let wire = connected.wire.unwrap();
    assert!(
        wire.process_id().is_some(),
        "the wire reads messages over any transport"
    );
    eventually("the end", || wire.outstanding() == Some(0)).await;
    Ok(encrypted)
}

#[tokio::test]
async fn each_mode_works_with_each_kind_of_server() {
    let Secured {
        server,
        root,
        other,
    } = secured().await;
    let (root, other) = (root.display(), other.display());
    let no_tls = plain().await;
    let (encrypted, in_the_open) = (Ok(true), Ok(false));
    let (not_let_in, no_trust) = (
        Err(ConnectErrorKind::Authentication),
        Err(ConnectErrorKind::Tls),
    );
    // Parameters, host, and the results with a server that requires TLS, offers it, or lacks it.
    let table = [
        (
            "sslmode=disable",
            "localhost",
            not_let_in,
            in_the_open,
            in_the_open,
        ),
        ("", "localhost", encrypted, encrypted, in_the_open),
        (
            "sslmode=prefer",
            "127.0.0.1",
            encrypted,
            encrypted,
            in_the_open,
        ),
        (
            &format!("sslmode=prefer&sslrootcert={other}"),
            "localhost",
            encrypted,
            encrypted,
            in_the_open,
        ),
        (
            "sslmode=require",
            "localhost",
            encrypted,
            encrypted,
            no_trust,
        ),
        (
            &format!("sslmode=require&sslrootcert={root}"),
            "127.0.0.1",
            encrypted,
            encrypted,
            no_trust,
        ),
        (
            &format!("sslmode=require&sslrootcert={other}"),
            "localhost",
            no_trust,
            no_trust,
            no_trust,
        ),
        (
            &format!("sslmode=verify-ca&sslrootcert={root}"),
            "localhost",
            encrypted,
            encrypted,
            no_trust,
        ),
        (
            &format!("sslmode=verify-ca&sslrootcert={root}"),
            "127.0.0.1",
            encrypted,
            encrypted,
            no_trust,
        ),
        (
            &format!("sslmode=verify-ca&sslrootcert={other}"),
            "localhost",
            no_trust,
            no_trust,
            no_trust,
        ),
        (
            &format!("sslmode=verify-full&sslrootcert={root}"),
            "localhost",
            encrypted,
            encrypted,
            no_trust,
        ),
        (
            &format!("sslmode=verify-full&sslrootcert={root}"),
            "127.0.0.1",
            no_trust,
            no_trust,
            no_trust,
        ),
        (
            &format!("sslmode=verify-full&sslrootcert={other}"),
            "localhost",
            no_trust,
            no_trust,
            no_trust,
        ),
        (
            "sslmode=verify-full",
            "localhost",
            no_trust,
            no_trust,
            no_trust,
        ),
        (
            "sslmode=verify-full&sslrootcert=system",
            "localhost",
            no_trust,
            no_trust,
            no_trust,
        ),
    ];
    for (parameters, host, demands, offers, none) in table {
        let of = async |server, database| {
            attempt(server, host, &format!("{database}?{parameters}")).await
        };
        assert_eq!(
            of(server, "demands").await,
            demands,
            "{parameters} at {host}, TLS required"
        );
        assert_eq!(
            of(server, "offers").await,
            offers,
            "{parameters} at {host}, TLS offered"
        );
        assert_eq!(
            of(no_tls, "offers").await,
            none,
            "{parameters} at {host}, no TLS"
        );
    }
}

#[tokio::test]
async fn the_message_contains_the_cause() {
    let Secured {
        server,
        root,
        other,
    } = secured().await;
    let message =
        async |host, parameters: String| refused(&server.url(host, &parameters)).await.to_string();
    let wrong_root = message(
        "localhost",
        format!("offers?sslmode=verify-ca&sslrootcert={}", other.display()),
    )
    .await;
    assert!(
        wrong_root.starts_with("the TLS handshake failed: invalid peer certificate"),
        "{wrong_root}"
    );
    let wrong_name = message(
        "127.0.0.1",
        format!("offers?sslmode=verify-full&sslrootcert={}", root.display()),
    )
    .await;
    assert!(
        wrong_name.contains("not valid for name \"127.0.0.1\""),
        "{wrong_name}"
    );
    let none = refused(&plain().await.url("localhost", "offers?sslmode=require"))
        .await
        .to_string();
    assert!(
        none.starts_with("the server does not offer TLS (localhost:"),
        "{none}"
    );
    let demanded = message("localhost", "demands?sslmode=disable".to_owned()).await;
    assert!(demanded.contains("no encryption"), "{demanded}");
}

#[tokio::test]
async fn a_password_is_bound_to_the_certificate() {
    let Secured { server, .. } = secured().await;
    let url = |mode| {
        let place = format!(
            "postgres://scram:it's%40secret@127.0.0.1:{}/offers",
            server.port
        );
        format!("{place}?sslmode={mode}&channel_binding=require")
    };
    connect(&target(&url("require"))).await.unwrap();
    let error = refused(&url("disable")).await;
    assert_eq!(error.kind(), ConnectErrorKind::Authentication);
    assert!(error.message().contains("channel binding"), "{error}");
    assert!(!format!("{error:?}").contains("secret"));
}

#[tokio::test]
async fn cancelling_uses_the_same_tls_settings() {
    let Secured { server, root, .. } = secured().await;
    let url = server.url(
        "localhost",
        &format!("demands?sslmode=verify-full&sslrootcert={}", root.display()),
    );
    let mut connected = connect(&target(&url)).await.unwrap();
    let cancel = connected.cancel.clone();
    // The request takes its own path to the server and may arrive before the query. The server then
    // ignores it, and only a later request cancels the query.
    let requests = async {
        loop {
            cancel.clone().cancel().await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let cancelled = tokio::select! {
        outcome = run(&mut connected.connection, "SELECT pg_sleep(30)") => outcome,
        () = requests => unreachable!("requests are repeated until the query ends"),
    };
    assert!(
        cancelled
            .unwrap_err()
            .to_string()
            .contains("canceling statement")
    );
}
