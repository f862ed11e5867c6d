//! A collector that accepts only `https`.

use std::time::Duration;

use rustix::process::Signal;

use crate::app::{ENDPOINT, produce, telemetry};
use crate::support::certificates::Certificates;
use crate::support::child;
use crate::support::folder::Folder;
use crate::support::ports::free_port;
use crate::support::programs;
use crate::support::server::Server;

/// A collector with a certificate of `authority.pem`. It discards everything.
struct Encrypted {
    _server: Server,
    certificates: Certificates,
    grpc: u16,
    http: u16,
}

fn start() -> Option<Encrypted> {
    let program = programs::find_or_skip("otelcol")?;
    let folder = Folder::new("encrypted", None, "TERM");
    let certificates = Certificates::new(&folder, &["localhost".to_owned()]);
    let (grpc, http) = (free_port(), free_port());
    let tls = format!(
        "tls: {{ cert_file: {:?}, key_file: {:?} }}",
        certificates.server, certificates.server_key
    );
    let config = format!(
        r#"
receivers:
  otlp:
    protocols:
      grpc: {{ endpoint: "127.0.0.1:{grpc}", {tls} }}
      http: {{ endpoint: "127.0.0.1:{http}", {tls} }}
exporters:
  file: {{ path: "{}" }}
service:
  telemetry: {{ metrics: {{ level: none }} }}
  pipelines:
    traces: {{ receivers: [otlp], exporters: [file] }}
    logs: {{ receivers: [otlp], exporters: [file] }}
"#,
        folder.join("received.jsonl").display()
    );
    let config = folder.write("config.yaml", config);
    let argument = format!("--config={}", config.display());
    let command = (program, vec![argument.into()]);
    let mut server = Server::new("an encrypted collector", folder, Signal::TERM, command);
    let listens = |port| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    server.start(|_| listens(grpc) && listens(http));
    Some(Encrypted {
        _server: server,
        certificates,
        grpc,
        http,
    })
}

#[test]
fn only_the_configured_authority_is_trusted() {
    child::body(async {
        let telemetry = telemetry();
        produce(&telemetry, 3);
        let unsent = telemetry.shutdown(Duration::from_secs(60)).await;
        let exports = telemetry.exports().expect("exports");
        if std::env::var_os("TRUSTED").is_some() {
            assert!(unsent.is_none(), "{unsent}");
            assert_eq!((exports.traces.exported, exports.logs.exported), (3, 3));
        } else {
            assert_eq!((unsent.spans, unsent.log_records), (3, 3));
            let reason = unsent.reason.expect("a reason");
            assert!(reason.contains("certificate"), "{reason}");
        }
    });
    let Some(collector) = start() else {
        return;
    };
    let certificate = "OTEL_EXPORTER_OTLP_CERTIFICATE";
    let authority = collector.certificates.authority.display().to_string();
    let wrong = collector.certificates.wrong_authority.display().to_string();
    for (port, protocol) in [(collector.grpc, "grpc"), (collector.http, "http/protobuf")] {
        let endpoint = format!("https://localhost:{port}");
        let common = [
            (ENDPOINT, &*endpoint),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_METRICS_EXPORTER", "none"),
        ];
        // Its own authority, the public ones, and another private one.
        for more in [
            &[(certificate, &*authority), ("TRUSTED", "yes")][..],
            &[],
            &[(certificate, &*wrong)],
        ] {
            let name = "encrypted::only_the_configured_authority_is_trusted";
            child::run(name, &[&common, more].concat());
        }
    }
}
