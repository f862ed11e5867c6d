//! The environment variables of the app.

use std::env;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use poolscope::Settings;
use poolscope::settings::SettingsError;

use super::traffic::Traffic;

/// Adds the variables of a file `.env` to the environment, except for those already set.
pub fn read_dot_env() -> Result<(), String> {
    match dotenvy::dotenv() {
        Ok(_) => Ok(()),
        Err(error) if error.not_found() => Ok(()),
        // The text of this error quotes the line, which may contain a password.
        Err(dotenvy::Error::LineParse(..)) => Err(
            ".env: a line can't be read: expected NAME=value, with single quotes around spaces, # or $"
                .to_owned(),
        ),
        Err(error) => Err(format!(".env: {error}")),
    }
}

/// [`Settings::from_env`], with a SQLite file in `folder` unless `DATABASE_URL` is set.
pub fn settings(folder: &Path) -> Result<Settings, SettingsError> {
    for unknown in Settings::unknown_variables("", env::vars_os().map(|(name, _)| name)) {
        tracing::warn!("{unknown}");
    }
    let file = format!("sqlite://{}", folder.join("quickstart.db").display());
    Settings::from_lookup("", |name| match env::var_os(name) {
        None if name == "DATABASE_URL" => Some(file.clone().into()),
        Some(empty) if empty.is_empty() && name == "DATABASE_URL" => Some(file.clone().into()),
        value => value,
    })
}

/// `QUICKSTART_HOST`: by default this machine only. A container has to set it.
pub fn host() -> Result<IpAddr, String> {
    match variable("QUICKSTART_HOST").as_str() {
        "" => Ok(Ipv4Addr::LOCALHOST.into()),
        host => host
            .parse()
            .map_err(|_| format!("QUICKSTART_HOST={host:?}: expected an address such as 0.0.0.0")),
    }
}

/// `PORT`; 0 is any free port.
pub fn port() -> Result<u16, String> {
    match variable("PORT").as_str() {
        "" => Ok(8000),
        port => port
            .parse()
            .map_err(|_| format!("PORT={port:?}: expected a whole number from 0 to 65535")),
    }
}

/// `QUICKSTART_TRAFFIC`: which traffic the app generates.
pub fn traffic() -> Result<Traffic, String> {
    match variable("QUICKSTART_TRAFFIC").as_str() {
        "" | "on" => Ok(Traffic::Gentle),
        "off" => Ok(Traffic::Off),
        "trouble" => Ok(Traffic::Trouble),
        other => Err(format!(
            "QUICKSTART_TRAFFIC={other:?}: expected on, off or trouble"
        )),
    }
}

fn variable(name: &str) -> String {
    env::var_os(name).map_or_else(String::new, |value| {
        value.to_string_lossy().trim().to_owned()
    })
}
