//! Where a signal is sent, and how.

use std::fmt;
use std::time::Duration;

use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

use super::tls::{self, Encryption};
use super::variables::{Variables, exporter_variable};
use crate::exports::Signal;

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const URL: &str = "a URL such as http://localhost:4318 or https://otlp.example.com";
const TIMEOUT: Duration = Duration::from_secs(10);

/// The language that the receiver speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Grpc,
    Http,
}

/// Where a signal is sent, and how.
#[derive(Clone)]
pub(super) struct Destination {
    pub(super) protocol: Protocol,
    /// With the path, which gRPC leaves out.
    pub(super) uri: Uri,
    pub(super) encryption: Option<Encryption>,
    /// Secrets, mostly.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) timeout: Duration,
    pub(super) gzip: bool,
}

impl Destination {
    /// `None` where nothing is exported: there is no endpoint, or the exporter is `none`.
    pub(super) fn read(signal: Signal, variables: &mut Variables<'_>) -> Option<Self> {
        let exporter = variables.find(&format!("OTEL_{}_EXPORTER", signal.in_variables()));
        let hint = Some("only OTLP is built in; another exporter can be set up in code, beside it");
        let wanted = variables.choice(exporter, &[("otlp", true), ("none", false)], hint);
        let protocols = [("http/protobuf", Protocol::Http), ("grpc", Protocol::Grpc)];
        let found = variables.of_exporter(signal, "PROTOCOL");
        let hint = (found.as_ref())
            .is_some_and(|found| found.value.eq_ignore_ascii_case("http/json"))
            .then_some(
                "JSON is not built in; whoever takes it takes http/protobuf at the same endpoint",
            );
        let protocol = variables.choice(found, &protocols, hint);
        let protocol = protocol.unwrap_or(Protocol::Http);
        let uri = read_uri(signal, protocol, variables);
        let headers = read_headers(signal, variables);
        let timeout = variables.of_exporter(signal, "TIMEOUT");
        let timeout = variables.milliseconds(timeout, TIMEOUT);
        let compression = variables.of_exporter(signal, "COMPRESSION");
        let gzip = variables.choice(compression, &[("gzip", true), ("none", false)], None);
        let uri = uri?;
        let encrypted = uri.scheme() == Some(&Scheme::HTTPS);
        let encryption = encrypted.then(|| read_encryption(signal, protocol, variables));
        (wanted != Some(false)).then(|| Self {
            protocol,
            uri,
            encryption: encryption.flatten(),
            headers,
            timeout,
            gzip: gzip.unwrap_or(false),
        })
    }

    /// The URL, fit to be shown: a query may hold a key.
    pub(super) fn shown(&self) -> String {
        let path = match self.protocol {
            Protocol::Http => self.uri.path(),
            Protocol::Grpc => "",
        };
        format!("{}{path}", self.origin())
    }

    /// The server, as the log names it: signals that share it share its outages.
    pub(super) fn origin(&self) -> String {
        let scheme = self.uri.scheme_str().unwrap_or("http");
        let authority = self.uri.authority().map_or("", Authority::as_str);
        format!("{scheme}://{authority}")
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Destination")
            .field("protocol", &self.protocol)
            .field("uri", &self.shown())
            .field("headers", &headers)
            .field("timeout", &self.timeout)
            .field("gzip", &self.gzip)
            .finish_non_exhaustive()
    }
}

fn read_uri(signal: Signal, protocol: Protocol, variables: &mut Variables<'_>) -> Option<Uri> {
    let own = variables.find(&exporter_variable(signal, "ENDPOINT"));
    let all = variables.find(ENDPOINT);
    let (found, path) = match (own, all) {
        (Some(own), _) => (own, ""),
        (None, Some(all)) => (all, signal.path()),
        (None, None) => return None,
    };
    let insecure = variables.of_exporter(signal, "INSECURE");
    let insecure = variables
        .choice(insecure, &[("true", true), ("false", false)], None)
        .unwrap_or(false);
    let text = match protocol {
        // `localhost:4317` is allowed there, and only there.
        Protocol::Grpc if !found.value.contains("://") => {
            let scheme = if insecure { "http" } else { "https" };
            format!("{scheme}://{}", found.value)
        }
        _ => found.value.clone(),
    };
    match parse(&text, path) {
        Ok(uri) => Some(uri),
        Err(hint) => {
            variables.wrong(&found, URL, hint);
            None
        }
    }
}

/// The URL with the signal's path after its own.
fn parse(text: &str, path: &str) -> Result<Uri, Option<&'static str>> {
    let uri: Uri = text.parse().map_err(|_| None)?;
    let mut parts = uri.into_parts();
    match &parts.scheme {
        Some(scheme) if *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS => {}
        None => return Err(Some("it begins with http:// or https://")),
        Some(_) => return Err(None),
    }
    let authority = parts.authority.as_ref().ok_or(None)?;
    if authority.as_str().contains('@') {
        return Err(Some(
            "name and password go into OTEL_EXPORTER_OTLP_HEADERS, as authorization=Basic%20…",
        ));
    }
    if authority.host().is_empty() {
        return Err(None);
    }
    // Whatever follows the host is a port, and the client would take the default for one it can't read.
    let port = authority.as_str().strip_prefix(authority.host());
    if port.is_some_and(|port| !port.is_empty())
        && authority.port_u16().is_none_or(|port| port == 0)
    {
        return Err(Some("the port is a number from 1 to 65535"));
    }
    let own = parts.path_and_query.as_ref();
    let (own, query) = own.map_or(("", None), |own| (own.path(), own.query()));
    let joined = match path {
        "" => own.to_owned(),
        path => format!("{}{path}", own.trim_end_matches('/')),
    };
    let joined = match query {
        Some(query) => format!("{joined}?{query}"),
        None => joined,
    };
    parts.path_and_query = Some(PathAndQuery::try_from(joined).map_err(|_| None)?);
    Uri::from_parts(parts).map_err(|_| None)
}

/// `key1=value1,key2=value2`, the values percent-encoded. None of them is ever shown.
fn read_headers(signal: Signal, variables: &mut Variables<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let Some(found) = variables.of_exporter(signal, "HEADERS") else {
        return Vec::new();
    };
    let mut headers = Vec::new();
    let pairs = found.value.split(',').map(str::trim);
    for (at, pair) in (1..).zip(pairs) {
        match header(pair) {
            Ok(header) => headers.extend(header),
            Err(wrong) => variables.wrong_secret(
                &found,
                "name=value pairs with commas between them, such as authorization=Bearer%20TOKEN",
                &format!("pair {at} {wrong}"),
            ),
        }
    }
    headers
}

fn header(pair: &str) -> Result<Option<(HeaderName, HeaderValue)>, &'static str> {
    if pair.is_empty() {
        return Ok(None);
    }
    let (name, value) = pair.split_once('=').ok_or("has no =")?;
    let name = name.trim().parse();
    let name = name.map_err(|_| "does not begin with the name of a header")?;
    let value = percent_decode_str(value.trim()).decode_utf8();
    let value = value.map_err(|_| "is not UTF-8 once it is percent-decoded")?;
    let value = HeaderValue::from_str(&value);
    let mut value = value.map_err(|_| "has characters that a header can't have")?;
    value.set_sensitive(true);
    Ok(Some((name, value)))
}

fn read_encryption(
    signal: Signal,
    protocol: Protocol,
    variables: &mut Variables<'_>,
) -> Option<Encryption> {
    let files = ["CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"]
        .map(|what| variables.of_exporter(signal, what));
    let files = tls::Files {
        roots: files[0].clone(),
        client_chain: files[1].clone(),
        client_key: files[2].clone(),
    };
    match Encryption::new(&files, protocol == Protocol::Grpc) {
        Ok(encryption) => Some(encryption),
        Err(trouble) => {
            let found = match trouble.file {
                Some(found) => found,
                None => variables
                    .of_exporter(signal, "ENDPOINT")
                    .expect("it was read before"),
            };
            variables.wrong(&found, &trouble.expected, trouble.hint.as_deref());
            None
        }
    }
}
