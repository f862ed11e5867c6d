//! Without the feature `tls` there is only plain text: nothing of this can be made, and the
//! compiler knows.

use std::io;

use tokio::net::TcpStream;

use super::{Files, Trouble};
use crate::telemetry::connect::Stream;

/// How to encrypt, which is not known here.
#[derive(Debug, Clone)]
pub(in crate::telemetry) enum Encryption {}

impl Encryption {
    /// Fails, saying what to do.
    pub(in crate::telemetry) fn new(_files: &Files, _grpc: bool) -> Result<Self, Trouble> {
        Err(Trouble {
            file: None,
            expected: "an http:// URL, because this build has no TLS".to_owned(),
            hint: Some("enable poolscope's feature `tls`".to_owned()),
        })
    }

    /// Cannot be called.
    pub(in crate::telemetry) async fn start(
        &self,
        _socket: TcpStream,
        _host: &str,
    ) -> io::Result<Box<dyn Stream>> {
        match *self {}
    }
}
