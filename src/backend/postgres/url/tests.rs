//! Tests which Postgres URLs are accepted, and the errors of those that are rejected.

use super::*;

fn refused(url: &str) -> String {
    Target::parse(url).expect_err(url)
}

#[cfg(feature = "tls")]
fn mode(url: &str) -> TlsMode {
    Target::parse(url).expect(url).tls().mode
}

#[test]
fn a_full_url_is_parsed_and_the_rest_passed_to_tokio_postgres() {
    let target = Target::parse(
        "postgresql://app:s%40cret@db.example:6432/shop?sslmode=disable&application_name=orders&connect_timeout=3",
    )
    .unwrap();
    assert_eq!(target.host(), Some("db.example"));
    assert_eq!(target.port(), 6432);
    assert_eq!(target.user(), Some("app"));
    assert_eq!(target.database(), Some("shop"));
    assert_eq!(target.application_name(), Some("orders"));
    assert_eq!(target.config().get_password(), Some(&b"s@cret"[..]));
    assert_eq!(target.config().get_connect_timeout().unwrap().as_secs(), 3);
    assert_eq!(target.tls().mode, TlsMode::Disable);
}

#[test]
fn the_application_name_can_be_set() {
    let mut target = Target::parse("postgres://localhost").unwrap();
    assert_eq!(
        (target.port(), target.user(), target.database()),
        (5432, None, None)
    );
    assert!(!target.has_application_name());
    target.set_application_name("poolscope");
    assert_eq!(target.application_name(), Some("poolscope"));
}

#[test]
fn an_application_name_is_found_in_both_parameters() {
    for (parameter, named) in [
        ("application_name=orders", true),
        ("application_name=", true),
        ("options=-c%20Application_Name%3Dorders", true),
        ("options=--application-name%3Dorders", true),
        ("options=-c%20search_path%3Dorders", false),
        ("dbname=application_name", false),
    ] {
        let target = Target::parse(&format!("postgres://localhost?{parameter}")).unwrap();
        assert_eq!(target.has_application_name(), named, "{parameter}");
    }
}

#[test]
fn several_hosts_are_kept() {
    let target = Target::parse("postgres://a:1,b:2/db").unwrap();
    assert_eq!(target.addresses(), "a:1, b:2");
    let target = Target::parse("postgres:///db?host=a,b&port=1,2").unwrap();
    assert_eq!(target.addresses(), "a:1, b:2");
    let target = Target::parse("postgres://[::1]:7/db").unwrap();
    assert_eq!(target.addresses(), "[::1]:7");
    let target = Target::parse("postgres:///db?hostaddr=127.0.0.1").unwrap();
    assert_eq!(target.host(), Some("127.0.0.1"));
}

#[test]
fn a_unix_socket_never_uses_tls() {
    for url in [
        "postgres://%2Frun%2Fpostgresql/db",
        "postgres:///db?host=/run/postgresql&sslmode=verify-full",
    ] {
        let target = Target::parse(url).unwrap();
        assert!(target.is_unix());
        assert_eq!(target.host(), Some("/run/postgresql"));
        assert_eq!(target.tls().mode, TlsMode::Disable);
    }
    assert!(refused("postgres://a/db?host=/run/postgresql").contains("mixes"));
}

#[test]
fn errors_name_the_parameter_its_value_and_the_allowed_values() {
    assert_eq!(
        refused("postgres://h/db?sslmode=verify"),
        r#"parameter sslmode="verify": expected disable, prefer, require, verify-ca or verify-full"#
    );
    assert!(refused("postgres://h/db?sslmode=allow").contains("allow is not supported"));
    assert_eq!(
        refused("postgres://h/db?connect_timeout=soon"),
        r#"parameter connect_timeout="soon": expected a whole number of seconds"#
    );
    let unknown = refused("postgres://h/db?sslcrl=them.crl");
    assert!(
        unknown
            .starts_with("parameter sslcrl is not supported: expected sslmode, sslrootcert, sslcert, sslkey, user"),
        "{unknown}"
    );
    assert_eq!(
        refused("postgres://h/db?sslnegotiation=direct"),
        r#"parameter sslnegotiation="direct": expected postgres"#
    );
    assert!(refused("postgres://h/db?gssencmode=require").contains("disable or prefer"));
    assert!(refused("postgres://h/db?sslmode").contains("name=value"));
    assert!(refused("postgres://h:many/db").contains("port"));
    assert!(refused("postgres://h:1,h:2/db?port=3").contains("wrong number of ports"));
    assert!(refused("postgres://h/db?application_name=%ff").contains("UTF-8"));
    for url in [
        "postgres:///db",
        "postgres://",
        "postgres://u:p@/db",
        "postgres://:5432/db",
    ] {
        assert!(refused(url).contains("has no host"), "{url}");
    }
    for url in ["mysql://h/db", "host=localhost", ""] {
        assert!(refused(url).contains("postgres://"), "{url}");
    }
    // These parameters have no effect and are accepted.
    Target::parse("postgres://h/db?sslmode=disable&gssencmode=disable&sslnegotiation=postgres&")
        .unwrap();
}

#[test]
fn a_password_is_never_shown() {
    let target = Target::parse("postgres://app:hunter2@h/db?options=-csearch_path%3Da@b").unwrap();
    let shown = format!("{target:?}");
    assert!(shown.contains("h:5432") && !shown.contains("hunter2"));
    assert_eq!(target.config().get_options(), Some("-csearch_path=a@b"));
    let target =
        Target::parse("postgres://h/db?user=app&password=hun@ter2&sslmode=disable").unwrap();
    assert_eq!(target.config().get_password(), Some(&b"hun@ter2"[..]));
    assert!(!format!("{target:?}").contains("ter2"));

    // Unescaped characters in a password break the URL. The error must not quote the pieces.
    for url in [
        "postgres://app:hun@ter2@h/db",
        "postgres://app:hun?ter2@h/db",
        "postgres://app:hun?ter2=1@h/db",
        "postgres://app:hun?port=ter2@h/db",
        "postgres://app:hun@h?ter2=x@h/db",
        "postgres://app:ter2/db",
        "postgres://app:ter2",
        "postgres://h/db?password=%ffter2",
    ] {
        let reason = refused(url);
        assert!(!reason.contains("ter2"), "{url}: {reason}");
    }
}

#[cfg(feature = "tls")]
#[test]
fn the_mode_follows_libpq() {
    assert_eq!(mode("postgres://h/db"), TlsMode::Prefer);
    assert_eq!(mode("postgres://h/db?sslmode=require"), TlsMode::Require);
    assert_eq!(mode("postgres://h/db?ssl=true"), TlsMode::Require);
    assert_eq!(mode("postgres://h/db?sslmode=verify-ca"), TlsMode::VerifyCa);
    assert_eq!(
        mode("postgres://h/db?sslrootcert=system"),
        TlsMode::VerifyFull
    );
    assert_eq!(
        mode("postgres://h/db?sslmode=verify-full&sslrootcert=system"),
        TlsMode::VerifyFull
    );
    assert!(
        refused("postgres://h/db?sslmode=require&sslrootcert=system")
            .contains("verify-full, because")
    );
}

#[cfg(feature = "tls")]
#[test]
fn an_unusable_root_certificate_is_rejected_at_once() {
    let missing = refused("postgres://h/db?sslmode=verify-full&sslrootcert=/nowhere/root.crt");
    assert!(
        missing.starts_with(r#"parameter sslrootcert="/nowhere/root.crt": "#),
        "{missing}"
    );
    let empty = refused("postgres://h/db?sslmode=verify-full&sslrootcert=/dev/null");
    assert!(empty.contains("no certificate"), "{empty}");
    // The file is ignored, as in libpq.
    assert_eq!(
        mode("postgres://h/db?sslmode=prefer&sslrootcert=/nowhere"),
        TlsMode::Prefer
    );
}
