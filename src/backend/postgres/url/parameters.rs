//! The URL parameters, with libpq's meaning and units.
//!
//! tokio-postgres reads some of them in other units, and reports only "invalid value". So they are
//! read here. One that poolscope cannot follow is an error, because without an effect it would
//! mislead.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::time::Duration;

use percent_encoding::percent_decode;
use tokio_postgres::Config;
use tokio_postgres::config::ChannelBinding;

use super::{ENCODE, decode, expected};
use crate::backend::postgres::role::Role;

/// What the parameters say, except for the hosts and TLS.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    pub(super) config: Config,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) role: Role,
    pub(super) shuffled: bool,
    fallback_application_name: Option<String>,
    keepalives_idle: Option<Duration>,
}

/// The parameters with an effect, as the message about an unknown one lists them.
const NAMES: &str = "sslmode, sslrootcert, sslcert, sslkey, sslcertmode, user, password, dbname, \
    host, hostaddr, port, application_name, fallback_application_name, options, connect_timeout, \
    tcp_user_timeout, keepalives, keepalives_idle, keepalives_interval, keepalives_count, \
    target_session_attrs, load_balance_hosts, channel_binding";

/// The parameters of libpq for which only the value that describes what the pool does is accepted;
/// other values would have no effect. The values are separated by spaces.
const FIXED: [(&str, &str, &str); 16] = [
    (
        "client_encoding",
        "UTF8 auto",
        "UTF8 or auto: diesel uses UTF-8",
    ),
    ("sslnegotiation", "postgres", "postgres"),
    ("gssencmode", "disable prefer", "disable or prefer"),
    ("sslcompression", "0", "0"),
    ("sslsni", "1", "1"),
    ("sslcertmode", "disable allow", "disable or allow"),
    ("ssl_min_protocol_version", "TLSv1.2", "TLSv1.2"),
    ("ssl_max_protocol_version", "TLSv1.3", "TLSv1.3"),
    ("min_protocol_version", "3.0", "3.0"),
    (
        "max_protocol_version",
        "3.0 3.2 latest",
        "3.0, 3.2 or latest",
    ),
    (
        "replication",
        "false off no 0",
        "false: the pool has no replication connections",
    ),
    ("gssdelegation", "0", "0"),
    ("krbsrvname", "", "no value: GSSAPI is not supported"),
    (
        "requirepeer",
        "",
        "no value: the owner of a Unix socket's server is not checked",
    ),
    (
        "passfile",
        "",
        "no value: no password file is read, the password belongs into the URL",
    ),
    ("service", "", "no value: no service file is read"),
];

/// The longest time that Linux takes for `keepalives_idle` and `keepalives_interval`.
const LONGEST_KEEPALIVE: i32 = 32767;

impl Parameters {
    /// Reads the user and the password that a URL begins with, and returns the rest.
    pub(super) fn read_credentials<'a>(&mut self, place: &'a str) -> Result<&'a str, String> {
        let Some((credentials, rest)) = place.split_once('@') else {
            return Ok(place);
        };
        let (user, password) = match credentials.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (credentials, None),
        };
        if !user.is_empty() {
            self.config.user(decode(user)?);
        }
        if let Some(password) = password {
            let password = Cow::from(percent_decode(password.as_bytes()));
            self.config.password(password);
        }
        Ok(rest)
    }

    /// Sets a parameter.
    ///
    /// `mangled` says that it may be part of an unescaped password: an unknown name is then not
    /// quoted.
    pub(super) fn set(&mut self, key: &str, text: &str, mangled: bool) -> Result<(), String> {
        let config = &mut self.config;
        match key {
            "user" => {
                config.user(text);
            }
            "password" => {
                config.password(text);
            }
            "dbname" => {
                config.dbname(text);
            }
            "application_name" => {
                config.application_name(text);
            }
            "fallback_application_name" => self.fallback_application_name = Some(text.to_owned()),
            "options" => {
                config.options(text);
            }
            "connect_timeout" => {
                let seconds = number(key, text, "seconds", i32::MIN..=i32::MAX)?;
                self.connect_timeout = positive(seconds).map(Duration::from_secs);
            }
            "tcp_user_timeout" => {
                let time = number(key, text, "milliseconds", i32::MIN..=i32::MAX)?;
                // Zero is the system's default for the option itself, too.
                config.tcp_user_timeout(Duration::from_millis(positive(time).unwrap_or(0)));
            }
            "keepalives" => {
                let on = number(key, text, "", i32::MIN..=i32::MAX);
                let on = on.map_err(|_| expected(key, text, "0 or 1"))?;
                config.keepalives(on != 0);
            }
            "keepalives_idle" => {
                let seconds = number(key, text, "seconds", i32::MIN..=LONGEST_KEEPALIVE)?;
                self.keepalives_idle = positive(seconds).map(Duration::from_secs);
            }
            "keepalives_interval" => {
                let seconds = number(key, text, "seconds", i32::MIN..=LONGEST_KEEPALIVE)?;
                if let Some(seconds) = positive(seconds) {
                    config.keepalives_interval(Duration::from_secs(seconds));
                }
            }
            // The second is tokio-postgres' name.
            "keepalives_count" | "keepalives_retries" => {
                let count = number(key, text, "", i32::MIN..=127)?;
                if let Some(count) = positive(count) {
                    config.keepalives_retries(count as u32);
                }
            }
            "target_session_attrs" => {
                let allowed = "any, read-write, read-only, primary, standby or prefer-standby";
                let mut roles = Role::ALL.into_iter();
                let role = roles.find(|role| role.as_str() == text);
                self.role = role.ok_or_else(|| expected(key, text, allowed))?;
            }
            "load_balance_hosts" => {
                self.shuffled = match text {
                    "disable" => false,
                    "random" => true,
                    _ => return Err(expected(key, text, "disable or random")),
                };
            }
            "channel_binding" => {
                config.channel_binding(match text {
                    "disable" => ChannelBinding::Disable,
                    "prefer" => ChannelBinding::Prefer,
                    "require" => ChannelBinding::Require,
                    _ => return Err(expected(key, text, "disable, prefer or require")),
                });
            }
            _ => return fixed(key, text, mangled),
        }
        Ok(())
    }

    /// Applies the defaults that depend on several parameters.
    pub(super) fn finish(&mut self) {
        if let Some(name) = &self.fallback_application_name
            && self.config.get_application_name().is_none_or(str::is_empty)
        {
            self.config.application_name(name);
        }
        if let Some(idle) = self.keepalives_idle.or_else(system_keepalives_idle) {
            self.config.keepalives_idle(idle);
        }
    }
}

fn fixed(key: &str, text: &str, mangled: bool) -> Result<(), String> {
    let Some((_, values, allowed)) = FIXED.iter().find(|(name, ..)| *name == key) else {
        if mangled {
            // The name may be part of a password with a raw ? in it.
            return Err(format!(
                "the URL has a parameter that is not supported; {ENCODE}"
            ));
        }
        return Err(format!(
            "parameter {key} is not supported: expected {NAMES}"
        ));
    };
    // Postgres ignores case and punctuation in the names of encodings.
    let plain = |text: &str| text.replace(['-', '_'], "").to_ascii_lowercase();
    let same = |value: &str| match key {
        "client_encoding" => plain(value) == plain(text),
        _ => value == text,
    };
    match values.split(' ').any(same) {
        true => Ok(()),
        false => Err(expected(key, text, allowed)),
    }
}

/// Reads a whole number as libpq does: with blanks around it, in 32 bits. Most numbers below one
/// mean the default.
fn number(key: &str, text: &str, unit: &str, range: RangeInclusive<i32>) -> Result<i32, String> {
    let number = text.trim().parse().ok().filter(|it| range.contains(it));
    number.ok_or_else(|| {
        let of = if unit.is_empty() { "" } else { " of " };
        let most = match *range.end() {
            i32::MAX => String::new(),
            end => format!(", at most {end}"),
        };
        expected(key, text, &format!("a whole number{of}{unit}{most}"))
    })
}

fn positive(number: i32) -> Option<u64> {
    u64::try_from(number).ok().filter(|number| *number > 0)
}

/// Returns the system's default, which tokio-postgres would replace by two hours.
fn system_keepalives_idle() -> Option<Duration> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let seconds = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_keepalive_time").ok()?;
    Some(Duration::from_secs(seconds.trim().parse().ok()?))
}
