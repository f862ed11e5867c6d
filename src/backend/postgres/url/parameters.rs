//! The URL parameters that are passed to tokio-postgres.

use tokio_postgres::Config;

use super::{ENCODE, expected};

/// The parameters that tokio-postgres reads, and their allowed values.
const PARAMETERS: [(&str, &str); 17] = [
    ("user", "a name"),
    ("password", "a password"),
    ("dbname", "a name"),
    ("host", "a host name or the directory of a Unix socket"),
    ("hostaddr", "IP addresses separated by commas"),
    ("port", "numbers from 0 to 65535 separated by commas"),
    ("application_name", "a name"),
    ("options", "command line options for the server"),
    ("connect_timeout", "a whole number of seconds"),
    ("tcp_user_timeout", "a whole number of seconds"),
    ("keepalives", "0 or 1"),
    ("keepalives_idle", "a whole number of seconds"),
    ("keepalives_interval", "a whole number of seconds"),
    ("keepalives_retries", "a whole number"),
    ("target_session_attrs", "any, read-write or read-only"),
    ("channel_binding", "disable, prefer or require"),
    ("load_balance_hosts", "disable or random"),
];

/// Parses one parameter alone, so that the error can name it.
///
/// `mangled` says that the parameter may be part of an unescaped password: an unknown name is then
/// not quoted.
pub(super) fn check(key: &str, value: &str, text: &str, mangled: bool) -> Result<(), String> {
    let Some((key, allowed)) = PARAMETERS.iter().find(|(name, _)| *name == key) else {
        if mangled {
            // The name may be part of a password with a raw ? in it.
            return Err(format!(
                "the URL has a parameter that is not supported; {ENCODE}"
            ));
        }
        let names: Vec<_> = PARAMETERS.iter().map(|(name, _)| *name).collect();
        let names = names.join(", ");
        return Err(format!(
            "parameter {key} is not supported: expected sslmode, sslrootcert, sslcert, sslkey, {names}"
        ));
    };
    let alone = format!("postgres:///?{key}={}", value.replace('@', "%40"));
    match alone.parse::<Config>() {
        Ok(_) => Ok(()),
        Err(_) if *key == "password" => {
            Err(format!("parameter password: expected {allowed}; {ENCODE}"))
        }
        Err(_) => Err(expected(key, text, allowed)),
    }
}
