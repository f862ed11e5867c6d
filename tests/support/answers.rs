//! Checks whether a server responds over HTTP.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(2);

/// Whether a GET of `path` gets a 200.
pub fn answers(port: u16, path: &str) -> bool {
    let answer = ask(port, path).unwrap_or_default();
    // The status follows the protocol version.
    answer.split(' ').nth(1) == Some("200")
}

/// Whether the port accepts connections.
pub fn listens(port: u16) -> bool {
    connect(port).is_some()
}

fn ask(port: u16, path: &str) -> Option<String> {
    let mut socket = connect(port)?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    socket
        .write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())
        .ok()?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

fn connect(port: u16) -> Option<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, PATIENCE).ok()
}
