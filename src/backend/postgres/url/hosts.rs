//! The hosts of a URL: `host`, `hostaddr` and `port`, which are lists.

use std::fmt;
use std::net::IpAddr;
#[cfg(unix)]
use std::path::PathBuf;

use super::{ENCODE, EXAMPLE, decode, expected};
use crate::backend::addresses::Lookup;

/// One host of a URL.
#[derive(Debug, Clone)]
pub(in crate::backend::postgres) struct Host {
    pub(in crate::backend::postgres) socket: Socket,
    pub(in crate::backend::postgres) port: u16,
}

/// Where a host is reached.
#[derive(Debug, Clone)]
pub(in crate::backend::postgres) enum Socket {
    /// The name is that of the certificate. With `hostaddr`, another one is looked up.
    Tcp { name: String, lookup: Lookup },
    /// The directory of the socket.
    #[cfg(unix)]
    Unix(PathBuf),
}

/// The lists of a URL, before they are put together.
#[derive(Debug, Default)]
pub(super) struct Lists {
    hosts: Vec<String>,
    addresses: Vec<String>,
    /// An empty text is the default port.
    ports: Vec<String>,
}

impl Lists {
    /// Reads the hosts and ports in the authority part of a URL, which may be part of a password.
    pub(super) fn read_authority(&mut self, authority: &str) -> Result<(), String> {
        if authority.is_empty() {
            return Ok(());
        }
        for part in authority.split(',') {
            let (host, port) = match part.strip_prefix('[') {
                Some(rest) => match rest.split_once(']') {
                    Some((host, rest)) if rest.is_empty() || rest.starts_with(':') => {
                        (host, rest.strip_prefix(':').unwrap_or_default())
                    }
                    _ => return Err(format!("the URL has an unfinished [address]; {ENCODE}")),
                },
                None => part.split_once(':').unwrap_or((part, "")),
            };
            let port = decode(port)?;
            if read_port(&port).is_none() {
                let wrong = "the URL has a port that is not a number from 1 to 65535";
                return Err(format!("{wrong}; {ENCODE}"));
            }
            self.hosts.push(decode(host)?.into_owned());
            self.ports.push(port.into_owned());
        }
        Ok(())
    }

    /// Sets a list by a parameter. As in libpq, it replaces the one in the authority part. Returns
    /// false if there is no such list.
    pub(super) fn set(&mut self, key: &str, text: &str) -> Result<bool, String> {
        let list = || text.split(',').map(str::to_owned).collect();
        match key {
            "host" => self.hosts = list(),
            "hostaddr" => {
                self.addresses = list();
                let mut given = self.addresses.iter().filter(|text| !text.is_empty());
                if given.any(|text| text.parse::<IpAddr>().is_err()) {
                    return Err(expected(key, text, "IP addresses separated by commas"));
                }
            }
            "port" => {
                self.ports = list();
                if self.ports.iter().any(|port| read_port(port).is_none()) {
                    let allowed = "numbers from 1 to 65535 separated by commas";
                    return Err(expected(key, text, allowed));
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Puts the lists together.
    pub(super) fn hosts(self) -> Result<Vec<Host>, String> {
        let Self {
            mut hosts,
            addresses,
            ports,
        } = self;
        if hosts.iter().all(String::is_empty) {
            hosts.clone_from(&addresses);
        }
        if hosts.is_empty() || hosts.iter().any(String::is_empty) {
            return Err(format!("the URL has no host: expected {EXAMPLE}"));
        }
        if !matches!(ports.len(), 0 | 1) && ports.len() != hosts.len() {
            return Err(
                "the URL has the wrong number of ports: expected one, or one per host".to_owned(),
            );
        }
        if !addresses.is_empty() && addresses.len() != hosts.len() {
            return Err(
                "the URL has the wrong number of hostaddr: expected one per host".to_owned(),
            );
        }
        if hosts.iter().any(|host| host.starts_with('@')) {
            return Err("the URL has an abstract Unix socket, which is not supported".to_owned());
        }
        let hosts: Vec<_> = hosts
            .into_iter()
            .enumerate()
            .map(|(at, host)| Host {
                port: ports
                    .get(at)
                    .or(ports.first())
                    .and_then(|port| read_port(port))
                    .unwrap_or(DEFAULT_PORT),
                socket: Socket::new(host, addresses.get(at).filter(|text| !text.is_empty())),
            })
            .collect();
        let unix = hosts.iter().filter(|host| host.is_unix()).count();
        if unix > 0 && unix < hosts.len() {
            return Err(
                "the URL mixes Unix sockets and TCP hosts: expected only one kind".to_owned(),
            );
        }
        Ok(hosts)
    }
}

const DEFAULT_PORT: u16 = 5432;

fn read_port(text: &str) -> Option<u16> {
    match text.trim() {
        "" => Some(DEFAULT_PORT),
        text => text.parse().ok().filter(|port| *port > 0),
    }
}

impl Socket {
    fn new(host: String, address: Option<&String>) -> Self {
        #[cfg(unix)]
        if host.starts_with('/') && address.is_none() {
            return Self::Unix(host.into());
        }
        let lookup = Lookup::new(address.unwrap_or(&host));
        Self::Tcp { name: host, lookup }
    }
}

impl Host {
    /// Returns the name, the address, or the directory of the Unix socket.
    pub(super) fn name(&self) -> Option<&str> {
        match &self.socket {
            Socket::Tcp { name, .. } => Some(name),
            #[cfg(unix)]
            Socket::Unix(folder) => folder.to_str(),
        }
    }

    pub(super) fn is_unix(&self) -> bool {
        !matches!(self.socket, Socket::Tcp { .. })
    }

    /// Returns how messages name this address of the host.
    pub(in crate::backend::postgres) fn at(&self, address: Option<IpAddr>) -> String {
        match (address, self.name()) {
            (Some(address), Some(name)) if name.parse() != Ok(address) => {
                format!("{self}, {address}")
            }
            _ => self.to_string(),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port;
        match &self.socket {
            Socket::Tcp { name, .. } if name.contains(':') => write!(f, "[{name}]:{port}"),
            Socket::Tcp { name, .. } => write!(f, "{name}:{port}"),
            #[cfg(unix)]
            Socket::Unix(folder) => write!(f, "{}/.s.PGSQL.{port}", folder.display()),
        }
    }
}
