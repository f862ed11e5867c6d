//! A TCP proxy on loopback that makes the network between a pool and its server faulty.
//!
//! It runs on the test's runtime and ends with it.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::ports::free_port;

/// A proxy in front of one server. It forwards everything until a fault is set.
pub struct Proxy {
    port: u16,
    to: u16,
    network: watch::Sender<Network>,
    /// `None` while connections are refused.
    listening: Option<JoinHandle<()>>,
}

/// The state of the network.
#[derive(Clone, Copy, Debug)]
struct Network {
    passes: bool,
    /// The delay of each piece of data, each way.
    delay: Duration,
    /// Incremented to reset every connection made before.
    resets: u64,
    loses_cancel_requests: bool,
}

/// A request of Postgres' protocol to cancel a query: its length and its code.
const CANCEL_REQUEST: [u8; 8] = [0, 0, 0, 16, 4, 210, 22, 46];

impl Proxy {
    /// Starts a proxy to a port of this machine.
    pub async fn to(port: u16) -> Self {
        Self::at(free_port(), port).await
    }

    /// Starts a proxy on this port.
    pub async fn at(port: u16, to: u16) -> Self {
        let network = Network {
            passes: true,
            delay: Duration::ZERO,
            resets: 0,
            loses_cancel_requests: false,
        };
        let mut proxy = Proxy {
            port,
            to,
            network: watch::Sender::new(network),
            listening: None,
        };
        proxy.accept().await;
        proxy
    }

    /// The port of the proxy.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Forwards everything without delay, which ends any fault. Data that was held back is not lost.
    pub async fn pass(&mut self) {
        self.network.send_modify(|network| {
            network.passes = true;
            network.delay = Duration::ZERO;
        });
        self.accept().await;
    }

    /// A black hole: no data passes either way, without an error. The system accepts new connections,
    /// but nothing responds on them.
    pub fn pause(&self) {
        self.network.send_modify(|network| network.passes = false);
    }

    /// A slow network: delays each piece of data, each way.
    pub fn delay(&self, each_way: Duration) {
        self.network.send_modify(|network| network.delay = each_way);
    }

    /// Loses each request of Postgres' protocol to cancel a query, as if it had arrived.
    pub fn lose_cancel_requests(&self, lost: bool) {
        self.network
            .send_modify(|network| network.loses_cancel_requests = lost);
    }

    /// Resets every connection (RST); accepts new ones.
    pub fn reset(&self) {
        self.network.send_modify(|network| network.resets += 1);
    }

    /// Resets every connection and refuses new ones.
    pub async fn refuse(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.abort();
            // The port is closed when the task has ended.
            let _ = listening.await;
        }
        self.reset();
    }

    async fn accept(&mut self) {
        if self.listening.is_some() {
            return;
        }
        // Tokio allows immediate reuse of a port.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port));
        let listener = listener.await.expect("the proxy's port");
        let (to, network) = (self.to, self.network.subscribe());
        self.listening = Some(tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connection(client, to, network.clone()));
            }
        }));
    }
}

async fn connection(client: TcpStream, to: u16, mut network: watch::Receiver<Network>) {
    let resets = network.borrow().resets;
    let mut passing = network.clone();
    let made = async {
        // In a black hole, the server sees no connection.
        passes(&mut passing).await;
        TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await.ok()
    };
    let server = tokio::select! {
        server = made => server,
        _ = network.wait_for(|network| network.resets > resets) => None,
    };
    let Some(server) = server else {
        return reset(&client);
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    let up = pump(&from_client, to_server, network.clone());
    let down = pump(&from_server, to_client, network.clone());
    tokio::select! {
        _ = async { tokio::join!(up, down) } => {}
        _ = network.wait_for(|network| network.resets > resets) => {
            reset(from_client.as_ref());
            reset(from_server.as_ref());
        }
    }
}

/// Forwards data and the end of the stream, as the network allows.
async fn pump(from: &OwnedReadHalf, mut to: OwnedWriteHalf, mut network: watch::Receiver<Network>) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = read(from, &mut buffer).await;
        let delay = passes(&mut network).await;
        if !delay.is_zero() {
            sleep(delay).await;
        }
        match read {
            Ok(16..)
                if buffer.starts_with(&CANCEL_REQUEST)
                    && network.borrow().loses_cancel_requests =>
            {
                return;
            }
            Ok(length) if length > 0 => {
                if to.write_all(&buffer[..length]).await.is_err() {
                    return;
                }
            }
            // Dropping this half closes the other side.
            _ => return,
        }
    }
}

/// Reads through a shared half, because a reset needs it too.
async fn read(from: &OwnedReadHalf, buffer: &mut [u8]) -> std::io::Result<usize> {
    loop {
        from.readable().await?;
        match from.try_read(buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}

/// Waits until the network passes data, and returns its delay.
async fn passes(network: &mut watch::Receiver<Network>) -> Duration {
    let passes = network.wait_for(|network| network.passes).await;
    let delay = passes.map(|network| network.delay);
    match delay {
        Ok(delay) => delay,
        // The proxy is gone, and with it the network.
        Err(_) => std::future::pending().await,
    }
}

/// Makes the next close an abortive one.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}
