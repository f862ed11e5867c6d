//! Opens a session with the first of the hosts that is there and is what the URL asks for.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;

use tokio_postgres::{Client, Config, Connection, Socket};

use super::connect::describe;
use super::role::Role;
use super::tap::Tap;
use super::tls::{Connector, Transport};
use super::url::{Host, Socket as Place, Target};
use super::wire::Wire;
use crate::backend::addresses::Turns;
use crate::backend::connect_error::{ConnectError, ConnectErrorKind};

/// A session before it is passed to diesel-async.
pub(super) struct Opened {
    pub(super) client: Client,
    pub(super) connection: Connection<Socket, Tap<Transport>>,
    pub(super) wire: Option<Arc<Wire>>,
}

/// Opens a session and waits until the server is ready for queries.
///
/// As in libpq, the hosts are tried in the order of the URL, and the addresses of each in the order
/// of the resolver, unless `load_balance_hosts` is `random`. Those that recently did not answer are
/// tried last.
pub(super) async fn open(target: &Target) -> Result<(Opened, Connector), ConnectError> {
    let connector = Connector::new(target.tls())
        .map_err(|reason| ConnectError::new(ConnectErrorKind::Configuration, reason, None))?;
    let mut dial = Dialing {
        target,
        config: target.config().clone(),
        connector,
        turns: Turns::new(target.limit, target.connect_timeout),
        second_best: None,
    };
    let mut hosts: Vec<_> = target.hosts.iter().enumerate().collect();
    dial.shuffle(&mut hosts);
    target
        .hanging
        .to_the_end(&mut hosts, |(number, _)| (*number, None));
    let mut left = hosts.len();
    for (number, host) in hosts {
        match dial.host(number, host, left).await {
            ControlFlow::Continue(()) => left -= 1,
            ControlFlow::Break(Some(opened)) => return Ok((opened, dial.connector)),
            ControlFlow::Break(None) => break,
        }
    }
    match dial.second_best {
        Some(opened) => Ok((opened, dial.connector)),
        None => Err(dial.turns.error()),
    }
}

/// One walk through the hosts.
struct Dialing<'a> {
    target: &'a Target,
    /// Everything but the host.
    config: Config,
    connector: Connector,
    turns: Turns,
    /// The primary that is used if there is no standby, for `prefer-standby`.
    second_best: Option<Opened>,
}

impl Dialing<'_> {
    /// Tries the addresses of one host. `left` hosts are still to be tried, this one included. Breaks
    /// with the session, or with none if the other hosts would refuse, too.
    async fn host(
        &mut self,
        number: usize,
        host: &Host,
        left: usize,
    ) -> ControlFlow<Option<Opened>> {
        let hanging = &self.target.hanging;
        let mut addresses = match &host.socket {
            #[cfg(unix)]
            Place::Unix(_) => vec![None],
            Place::Tcp { lookup, .. } => match self.turns.look_up(left, lookup).await {
                Ok(addresses) => addresses.into_iter().map(Some).collect(),
                Err(error) => {
                    if error.kind() == ConnectErrorKind::TimedOut {
                        hanging.timed_out((number, None));
                    }
                    self.turns.failed(error.at(host));
                    return ControlFlow::Continue(());
                }
            },
        };
        self.shuffle(&mut addresses);
        hanging.to_the_end(&mut addresses, |address| (number, *address));
        let several = self.target.hosts.len() > 1 || addresses.len() > 1;
        let mut all_hang = true;
        for (tried, &address) in addresses.iter().enumerate() {
            let left = addresses.len() - tried + left - 1;
            let turn = attempt(
                self.target,
                &self.config,
                &mut self.connector,
                host,
                address,
            );
            let error = match self.turns.take(left, turn).await {
                Ok((opened, mismatch)) => {
                    hanging.answered(&(number, None));
                    hanging.answered(&(number, address));
                    let Some(found) = mismatch else {
                        return ControlFlow::Break(Some(opened));
                    };
                    self.put_aside(opened, found, &host.at(address));
                    return ControlFlow::Continue(());
                }
                Err(error) => error,
            };
            match error.kind() {
                ConnectErrorKind::TimedOut => hanging.timed_out((number, address)),
                _ => all_hang = false,
            }
            // The server's own words need no address if there is no other server.
            let error = match several || error.code().is_none() {
                true => error.at(host.at(address)),
                false => error,
            };
            if !self.turns.failed(error) {
                return ControlFlow::Break(None);
            }
        }
        if all_hang {
            hanging.timed_out((number, None));
        }
        ControlFlow::Continue(())
    }

    /// Puts aside a server that is not what the URL asks for. Its other addresses would not be either.
    fn put_aside(&mut self, opened: Opened, found: &str, at: &str) {
        let role = self.target.role;
        if role == Role::PreferStandby {
            self.second_best.get_or_insert(opened);
        }
        let asked = role.as_str();
        let message = format!("the server is {found}, expected target_session_attrs={asked}");
        let error = ConnectError::new(ConnectErrorKind::Unreachable, message, None);
        self.turns.failed(error.at(at));
    }

    fn shuffle<T>(&self, items: &mut [T]) {
        if self.target.shuffled {
            // The standard library's hash keys are random enough to spread load.
            items.sort_by_cached_key(|_| RandomState::new().hash_one(0_u8));
        }
    }
}

/// Opens a session with one address. Returns also what the server is, if it is not what the URL asks
/// for.
async fn attempt(
    target: &Target,
    config: &Config,
    connector: &mut Connector,
    host: &Host,
    address: Option<IpAddr>,
) -> Result<(Opened, Option<&'static str>), ConnectError> {
    let mut config = config.clone();
    config.port(host.port);
    match &host.socket {
        Place::Tcp { name, .. } => config.host(name),
        #[cfg(unix)]
        Place::Unix(folder) => config.host_path(folder),
    };
    if let Some(address) = address {
        config.hostaddr(address);
    }
    let connected = config.connect(&mut *connector).await;
    let (client, mut connection) = connected.map_err(|error| describe(&error))?;
    let mismatch = target.role.mismatch(&client, &mut connection).await;
    let mismatch = mismatch.map_err(|error| describe(&error))?;
    let opened = Opened {
        client,
        connection,
        wire: connector.take_wire().filter(|_| !target.is_unix()),
    };
    Ok((opened, mismatch))
}
