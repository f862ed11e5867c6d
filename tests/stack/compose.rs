//! The compose file and Grafana's provisioning. Without Docker, the tests check what the files alone
//! show.

use std::path::Path;

use serde_json::Value;

use crate::expressions::{DASHBOARD, list, text};
use crate::repository_files;

const COMPOSE: &str = "examples/stack/compose.yaml";
const FOLDER: &str = "examples/stack";

#[test]
fn every_image_is_pinned() {
    let images: Vec<_> = services()
        .into_iter()
        .filter_map(|(_, service)| service["image"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(images.len(), 5);
    let dockerfile = repository_files::text("examples/stack/Dockerfile");
    let bases = dockerfile.lines().filter_map(|line| {
        let (_, image) = line.split_once("FROM ")?;
        image.split(' ').next().map(str::to_owned)
    });
    for image in images.into_iter().chain(bases) {
        let (_, version) = image.rsplit_once(':').expect("a version");
        let pinned = version.contains(|c: char| c.is_ascii_digit()) || version.contains("bookworm");
        assert!(pinned, "{image}");
    }
}

#[test]
fn every_named_file_exists() {
    let services = services();
    let names: Vec<_> = services.iter().map(|(name, _)| name.as_str()).collect();
    for (name, service) in &services {
        for volume in list(&service["volumes"]) {
            let volume = text(volume);
            let (from, to) = volume.split_once(':').expect("from and to");
            assert!(
                repository_files::path(FOLDER).join(from).exists(),
                "{name}: {from}"
            );
            assert!(to.ends_with(":ro"), "{name}: {to}");
        }
        let needs = &service["depends_on"];
        let needs: Vec<_> = match needs {
            Value::Object(needs) => needs.keys().cloned().collect(),
            needs => list(needs).map(text).collect(),
        };
        for other in &needs {
            assert!(names.contains(&&**other), "{name} depends on {other}");
        }
        // Ports are not open to the network.
        for port in list(&service["ports"]) {
            assert!(text(port).starts_with("127.0.0.1:"), "{name}: {port}");
        }
    }
    let app = &repository_files::yaml(COMPOSE)["services"]["app"];
    let root = repository_files::path(FOLDER).join(text(&app["build"]["context"]));
    assert!(root.join(text(&app["build"]["dockerfile"])).is_file());
    assert!(root.join("Cargo.lock").is_file());
}

/// Addresses in configurations are names of services.
#[test]
fn the_services_find_each_other() {
    let services = services();
    let is_service = |host: &str| services.iter().any(|(name, _)| name == host);
    let prometheus = repository_files::yaml("examples/stack/prometheus/prometheus.yml");
    for job in list(&prometheus["scrape_configs"]) {
        for target in list(&job["static_configs"][0]["targets"]) {
            let target = text(target);
            let (host, _) = target.split_once(':').expect("a port");
            assert!(is_service(host), "{target}");
        }
    }
    let sources =
        repository_files::yaml("examples/stack/grafana/provisioning/datasources/datasources.yaml");
    for source in list(&sources["datasources"]) {
        let url = text(&source["url"]);
        let host = url.trim_start_matches("http://").split(':').next();
        assert!(is_service(host.expect("a host")), "{url}");
    }
    let collector = repository_files::text("otel-collector.yaml");
    assert!(collector.contains("${env:JAEGER_ENDPOINT:-jaeger:4317}"));
    assert!(is_service("jaeger"));
}

#[test]
fn grafana_is_provisioned_with_the_dashboard() {
    let compose = repository_files::yaml(COMPOSE);
    let grafana = &compose["services"]["grafana"];
    let providers =
        repository_files::yaml("examples/stack/grafana/provisioning/dashboards/dashboards.yaml");
    let inside = text(&providers["providers"][0]["options"]["path"]);
    let home = text(&grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]);
    let name = Path::new(&home)
        .strip_prefix(&inside)
        .expect("in that folder");

    let mounted = list(&grafana["volumes"]).map(text);
    let outside = mounted
        .filter_map(|volume| {
            let (from, to) = volume.split_once(':')?;
            (to.trim_end_matches(":ro") == inside).then(|| from.to_owned())
        })
        .next()
        .expect("the folder is mounted");
    let dashboard = repository_files::path(FOLDER).join(outside).join(name);
    assert_eq!(
        dashboard.canonicalize().ok(),
        repository_files::path(DASHBOARD).canonicalize().ok()
    );
}

fn services() -> Vec<(String, Value)> {
    let compose = repository_files::yaml(COMPOSE);
    let services = compose["services"].as_object().expect("services");
    let services = services.iter();
    services
        .map(|(name, service)| (name.clone(), service.clone()))
        .collect()
}
