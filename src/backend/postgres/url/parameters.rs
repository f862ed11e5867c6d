//! The parameters that are left to tokio-postgres.

use tokio_postgres::Config;

use super::{ENCODE, expected};

/// What the parameters that tokio-postgres reads may say.
const PARAMETERS: [(&str, &str); 17] = [
    ("user", "a name"),
    ("password", "a password"),
    ("dbname", "a name"),
    ("host", "a host name or the folder of a Unix socket"),
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

/// Tries a parameter by itself, so that the reason can name it.
pub(super) fn check(key: &str, value: &str, text: &str, mangled: bool) -> Result<(), String> {
    let Some((key, allowed)) = PARAMETERS.iter().find(|(name, _)| *name == key) else {
        if mangled {
            // The name may be a piece of a password with a raw ? in it.
            return Err(format!(
                "the URL has a parameter that is not supported; {ENCODE}"
            ));
        }
        let names: Vec<_> = PARAMETERS.iter().map(|(name, _)| *name).collect();
        let names = names.join(", ");
        return Err(format!(
            "parameter {key} is not supported: expected sslmode, sslrootcert, {names}"
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
