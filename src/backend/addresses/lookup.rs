//! Looks up a host name, at most once at a time.

use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::watch;

use crate::backend::connect_error::{ConnectError, ConnectErrorKind, io_message, lower_first};

type Found = Result<Vec<IpAddr>, ConnectError>;
type Resolve = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// The addresses of one host. Clones share their lookups.
///
/// The operating system's resolver blocks its thread, and no caller can stop it. So a lookup has a
/// thread of its own, which outlives its callers and no runtime waits for, and all who ask while it
/// runs get its result. If the resolver hangs, one thread hangs for each host name of a pool.
#[derive(Clone)]
pub(in crate::backend) struct Lookup {
    host: Arc<str>,
    resolve: Arc<Resolve>,
    under_way: Arc<Mutex<Option<watch::Receiver<Option<Found>>>>>,
}

impl Lookup {
    /// Creates the lookup of a host name. An address is not looked up.
    pub(in crate::backend) fn new(host: &str) -> Self {
        Self::by(host, resolve)
    }

    /// Creates a lookup by another resolver than that of the operating system.
    pub(in crate::backend) fn by(
        host: &str,
        resolve: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            host: host.into(),
            resolve: Arc::new(resolve),
            under_way: Arc::default(),
        }
    }

    /// Returns the host name.
    pub(in crate::backend) fn host(&self) -> &str {
        &self.host
    }

    /// Returns the addresses, in the resolver's order; at least one.
    pub(in crate::backend) async fn addresses(&self) -> Found {
        if let Ok(address) = self.host.parse() {
            return Ok(vec![address]);
        }
        let mut found = self.join_or_start()?;
        match found.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(found)) => found.clone(),
            _ => Err(self.failed("the resolver panicked")),
        }
    }

    fn join_or_start(&self) -> Result<watch::Receiver<Option<Found>>, ConnectError> {
        let mut under_way = self
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = &*under_way
            && found.borrow().is_none()
            && found.has_changed().is_ok()
        {
            return Ok(found.clone());
        }
        let (sender, found) = watch::channel(None);
        let lookup = self.clone();
        let named = thread::Builder::new().name("poolscope-lookup".to_owned());
        let started = named.spawn(move || {
            let found = match (lookup.resolve)(&lookup.host) {
                Ok(found) if found.is_empty() => Err(lookup.failed("no address")),
                Ok(found) => Ok(found),
                Err(error) => Err(lookup.failed(&io_message(&error))),
            };
            sender.send_replace(Some(found));
        });
        started.map_err(|error| {
            let message = format!("looking up {}: {}", self.host, io_message(&error));
            ConnectError::new(ConnectErrorKind::Other, message, None)
        })?;
        *under_way = Some(found.clone());
        Ok(found)
    }

    fn failed(&self, whole: &str) -> ConnectError {
        let why = whole.strip_prefix("failed to lookup address information: ");
        let message = format!(
            "looking up {}: {}",
            self.host,
            lower_first(why.unwrap_or(whole))
        );
        ConnectError::new(ConnectErrorKind::Unreachable, message, None)
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lookup").field(&self.host).finish()
    }
}

fn resolve(host: &str) -> io::Result<Vec<IpAddr>> {
    Ok((host, 0)
        .to_socket_addrs()?
        .map(|address| address.ip())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    #[tokio::test]
    async fn callers_share_one_lookup_and_a_later_caller_starts_another() {
        let begun = Arc::new(AtomicUsize::new(0));
        let (resume, waits) = mpsc::channel::<()>();
        let waits = Mutex::new(waits);
        let lookup = Lookup::by("db.example", {
            let begun = Arc::clone(&begun);
            move |_| {
                begun.fetch_add(1, Ordering::SeqCst);
                waits.lock().unwrap().recv().unwrap();
                Ok(vec![[127, 0, 0, 2].into(), [127, 0, 0, 3].into()])
            }
        });
        // A caller that gives up does not end the lookup, and the next one joins it.
        for _ in 0..20 {
            tokio::select! {
                biased;
                _ = lookup.addresses() => panic!("the resolver hangs"),
                () = tokio::task::yield_now() => {}
            }
        }
        let all = join_all((0..50).map(|_| lookup.addresses()));
        let (all, ()) = tokio::join!(all, async { resume.send(()).unwrap() });
        for found in all {
            assert_eq!(found.unwrap().len(), 2);
        }
        assert_eq!(begun.load(Ordering::SeqCst), 1);
        resume.send(()).unwrap();
        lookup.addresses().await.unwrap();
        assert_eq!(begun.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn an_error_names_the_host_and_a_panic_is_an_error() {
        let fails = Lookup::by("db.example", |_| {
            Err(io::Error::other(
                "failed to lookup address information: Name or service not known",
            ))
        });
        let error = fails.addresses().await.unwrap_err();
        assert_eq!(
            error.message(),
            "looking up db.example: name or service not known"
        );
        assert_eq!(error.kind(), ConnectErrorKind::Unreachable);
        let empty = Lookup::by("db.example", |_| Ok(Vec::new()));
        let error = empty.addresses().await.unwrap_err();
        assert_eq!(error.message(), "looking up db.example: no address");
        let panics = Lookup::by("db.example", |_| panic!("as the test wants"));
        assert!(panics.addresses().await.is_err());
        assert!(panics.addresses().await.is_err());
    }

    #[tokio::test]
    async fn an_address_is_not_looked_up() {
        for address in ["127.0.0.1", "::1"] {
            let lookup = Lookup::by(address, |_| panic!("looked up"));
            let found = lookup.addresses().await.unwrap();
            assert_eq!(found, [address.parse::<IpAddr>().unwrap()]);
        }
    }
}
