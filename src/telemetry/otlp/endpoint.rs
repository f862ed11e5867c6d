//! The URL that a signal is exported to.

use http::Uri;

use super::environment::{Environment, Set, of_exporter};
use super::settings::Protocol;
use super::stats::Signal;
use crate::settings::Problem;

const URL: &str = "a URL such as http://localhost:4318 or https://otlp.example.com";

/// Returns the URL to export a signal to.
pub(super) fn uri(
    signal: Signal,
    protocol: Protocol,
    endpoint: &Set,
    environment: &mut Environment<'_>,
) -> Result<Uri, Problem> {
    let [own, _] = of_exporter(signal, "ENDPOINT");
    let text = &*endpoint.value;
    let text = match protocol {
        // Only gRPC accepts `localhost:4317`.
        Protocol::Grpc if !text.contains("://") => {
            let insecure = environment.flag(&of_exporter(signal, "INSECURE"));
            let scheme = if insecure { "http" } else { "https" };
            format!("{scheme}://{text}")
        }
        // An endpoint of a single signal is used unchanged.
        Protocol::Http if endpoint.name != own => {
            format!("{}{}", text.trim_end_matches('/'), signal.path())
        }
        _ => text.to_owned(),
    };
    parse(&text).map_err(|hint| endpoint.problem(URL, hint))
}

fn parse(text: &str) -> Result<Uri, Option<&'static str>> {
    let start = Some("it begins with http:// or https://");
    let uri: Uri = text
        .parse()
        .map_err(|_| start.filter(|_| !text.contains("://")))?;
    if ![Some("http"), Some("https")].contains(&uri.scheme_str()) {
        return Err(start);
    }
    let authority = uri.authority().filter(|it| !it.host().is_empty());
    let authority = authority.ok_or(None)?;
    if authority.as_str().contains('@') {
        return Err(Some(
            "name and password go into OTEL_EXPORTER_OTLP_HEADERS, as authorization=Basic%20…",
        ));
    }
    // The connector would use the default port in place of an invalid one.
    let port = authority.as_str().strip_prefix(authority.host());
    let port_is_wrong = authority.port_u16().is_none_or(|port| port == 0);
    if port.is_some_and(|port| !port.is_empty()) && port_is_wrong {
        return Err(Some("the port is a number from 1 to 65535"));
    }
    Ok(uri)
}
