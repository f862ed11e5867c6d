//! Tests which Postgres URLs are accepted, and the errors of those that are rejected.

use super::*;
use crate::backend::postgres::tls::TlsMode;

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
    assert_eq!(target.connect_timeout, Some(Duration::from_secs(3)));
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
    // As in libpq, a parameter replaces what stands before it.
    for (url, addresses) in [
        ("postgres://a:1,b:2/db?port=3", "a:3, b:3"),
        ("postgres://a/db?host=b&port=7", "b:7"),
        ("postgres://a/db?host=b&host=c", "c:5432"),
        ("postgres://a:1,b/db", "a:1, b:5432"),
        ("postgres:///db?host=a,b&port=,2", "a:5432, b:2"),
        ("postgres://a,b/db?hostaddr=10.0.0.1,", "a:5432, b:5432"),
    ] {
        assert_eq!(Target::parse(url).unwrap().addresses(), addresses, "{url}");
    }
    for (url, part) in [
        ("postgres://a:1,b:2/db?port=3,4,5", "wrong number of ports"),
        (
            "postgres://a,b/db?hostaddr=10.0.0.1",
            "wrong number of hostaddr",
        ),
        ("postgres://a,,b/db", "no host"),
        ("postgres://[::1/db", "unfinished"),
        ("postgres:///db?host=@abstract", "abstract"),
    ] {
        assert!(refused(url).contains(part), "{url}: {}", refused(url));
    }
}

/// libpq's words and units: each parameter with a value, and what comes of it.
#[test]
fn each_parameter_has_the_meaning_of_libpq_or_is_refused() {
    const IGNORED: &str = "accepted";
    let cases = [
        ("connect_timeout", "3", "Some(3s)"),
        ("connect_timeout", " 1 ", "Some(1s)"),
        ("connect_timeout", "0", "None"),
        ("connect_timeout", "-1", "None"),
        ("connect_timeout", "2.5", "! a whole number of seconds"),
        ("connect_timeout", "10s", "! a whole number of seconds"),
        ("connect_timeout", "", "! a whole number of seconds"),
        ("tcp_user_timeout", "10000", "Some(10s)"),
        ("tcp_user_timeout", "0", "Some(0ns)"),
        (
            "tcp_user_timeout",
            "10s",
            "! a whole number of milliseconds",
        ),
        ("keepalives", "1", "true"),
        ("keepalives", "0", "false"),
        ("keepalives", "on", "! 0 or 1"),
        ("keepalives_idle", "30", "30s"),
        (
            "keepalives_idle",
            "40000",
            "! a whole number of seconds, at most 32767",
        ),
        ("keepalives_interval", "5", "Some(5s)"),
        ("keepalives_interval", "0", "None"),
        ("keepalives_count", "4", "Some(4)"),
        ("keepalives_retries", "4", "Some(4)"),
        ("keepalives_count", "0", "None"),
        ("keepalives_count", "many", "! a whole number, at most 127"),
        ("target_session_attrs", "any", "Any"),
        ("target_session_attrs", "read-write", "ReadWrite"),
        ("target_session_attrs", "read-only", "ReadOnly"),
        ("target_session_attrs", "primary", "Primary"),
        ("target_session_attrs", "standby", "Standby"),
        ("target_session_attrs", "prefer-standby", "PreferStandby"),
        (
            "target_session_attrs",
            "master",
            "! any, read-write, read-only, primary, standby or prefer-standby",
        ),
        ("load_balance_hosts", "random", "true"),
        ("load_balance_hosts", "disable", "false"),
        ("load_balance_hosts", "on", "! disable or random"),
        ("channel_binding", "require", "Require"),
        ("channel_binding", "on", "! disable, prefer or require"),
        ("options", "-csearch_path=a", r#"Some("-csearch_path=a")"#),
        ("application_name", "orders", r#"Some("orders")"#),
        ("fallback_application_name", "orders", r#"Some("orders")"#),
        ("user", "app", r#"Some("app")"#),
        ("dbname", "shop", r#"Some("shop")"#),
        ("port", "6432", "h:6432"),
        ("port", "0", "! numbers from 1 to 65535 separated by commas"),
        (
            "port",
            "70000",
            "! numbers from 1 to 65535 separated by commas",
        ),
        ("hostaddr", "10.0.0.1", "h:5432"),
        (
            "hostaddr",
            "db.example",
            "! IP addresses separated by commas",
        ),
        ("client_encoding", "UTF8", IGNORED),
        ("client_encoding", "utf-8", IGNORED),
        ("client_encoding", "auto", IGNORED),
        (
            "client_encoding",
            "LATIN1",
            "! UTF8 or auto: diesel uses UTF-8",
        ),
        ("sslmode", "disable", "Disable"),
        (
            "sslmode",
            "on",
            "! disable, prefer, require, verify-ca or verify-full",
        ),
        ("sslnegotiation", "postgres", IGNORED),
        ("sslnegotiation", "direct", "! postgres"),
        ("gssencmode", "prefer", IGNORED),
        ("gssencmode", "require", "! disable or prefer"),
        ("sslcompression", "0", IGNORED),
        ("sslcompression", "1", "! 0"),
        ("sslsni", "0", "! 1"),
        ("sslcertmode", "require", "! disable or allow"),
        ("ssl_min_protocol_version", "TLSv1.2", IGNORED),
        ("ssl_min_protocol_version", "TLSv1.3", "! TLSv1.2"),
        ("ssl_max_protocol_version", "TLSv1.2", "! TLSv1.3"),
        ("min_protocol_version", "3.2", "! 3.0"),
        ("max_protocol_version", "latest", IGNORED),
        ("replication", "false", IGNORED),
        (
            "replication",
            "database",
            "! false: the pool has no replication connections",
        ),
        ("gssdelegation", "1", "! 0"),
        (
            "krbsrvname",
            "postgres",
            "! no value: GSSAPI is not supported",
        ),
        (
            "requirepeer",
            "postgres",
            "! no value: the owner of a Unix socket's server is not checked",
        ),
        (
            "passfile",
            "/etc/pgpass",
            "! no value: no password file is read, the password belongs into the URL",
        ),
        ("service", "shop", "! no value: no service file is read"),
    ];
    for (key, value, outcome) in cases {
        let parsed = Target::parse(&format!("postgres://h/db?{key}={value}"));
        let target = match (parsed, outcome.strip_prefix("! ")) {
            (Ok(target), None) => target,
            (Err(error), Some(allowed)) => {
                assert_eq!(
                    error,
                    format!("parameter {key}={value:?}: expected {allowed}")
                );
                continue;
            }
            (Ok(_), Some(_)) => panic!("{key}={value} is accepted"),
            (Err(error), None) => panic!("{error}"),
        };
        let config = target.config();
        let found = match key {
            "connect_timeout" => format!("{:?}", target.connect_timeout),
            "tcp_user_timeout" => format!("{:?}", config.get_tcp_user_timeout()),
            "keepalives" => config.get_keepalives().to_string(),
            "keepalives_idle" => format!("{:?}", config.get_keepalives_idle()),
            "keepalives_interval" => format!("{:?}", config.get_keepalives_interval()),
            "keepalives_count" | "keepalives_retries" => {
                format!("{:?}", config.get_keepalives_retries())
            }
            "target_session_attrs" => format!("{:?}", target.role),
            "load_balance_hosts" => target.shuffled.to_string(),
            "channel_binding" => format!("{:?}", config.get_channel_binding()),
            "options" => format!("{:?}", config.get_options()),
            "application_name" | "fallback_application_name" => {
                format!("{:?}", config.get_application_name())
            }
            "user" => format!("{:?}", target.user()),
            "dbname" => format!("{:?}", target.database()),
            "port" | "hostaddr" => target.addresses(),
            "sslmode" => format!("{:?}", target.tls().mode),
            _ => IGNORED.to_owned(),
        };
        assert_eq!(found, outcome, "{key}={value}");
    }
    let named = "postgres://h?application_name=a&fallback_application_name=b";
    assert_eq!(Target::parse(named).unwrap().application_name(), Some("a"));
}

/// tokio-postgres would replace the system's default by two hours.
#[cfg(target_os = "linux")]
#[test]
fn idle_connections_are_kept_alive_as_the_system_says() {
    let system = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_keepalive_time").unwrap();
    for url in ["postgres://h", "postgres://h?keepalives_idle=0"] {
        let target = Target::parse(url).unwrap();
        let idle = target.config().get_keepalives_idle().as_secs();
        assert_eq!(idle.to_string(), system.trim());
    }
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
    assert!(refused("postgres:///db?host=a,/run/postgresql").contains("mixes"));
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
        unknown.starts_with(
            "parameter sslcrl is not supported: expected sslmode, sslrootcert, sslcert, "
        ),
        "{unknown}"
    );
    assert_eq!(
        refused("postgres://h/db?sslnegotiation=direct"),
        r#"parameter sslnegotiation="direct": expected postgres"#
    );
    assert!(refused("postgres://h/db?gssencmode=require").contains("disable or prefer"));
    assert!(refused("postgres://h/db?sslmode").contains("name=value"));
    assert!(refused("postgres://h:many/db").contains("port"));
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
