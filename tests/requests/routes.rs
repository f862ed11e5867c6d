//! Which route a request is counted for: a template, never a path, and a bounded number of them.

use std::collections::BTreeSet;

use axum::Router;
use axum::routing::{get as on_get, post};
use http::Request;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};
use poolscope::RequestLayer;
use poolscope::service::Route;
use tower::{Layer, ServiceBuilder, service_fn};

use crate::watched::{Watched, assert_child, attribute, attributes, counts, get, send, use_pool};

async fn ok() -> &'static str {
    "ok"
}

#[tokio::test]
async fn axums_matched_path_is_the_route() {
    let watched = Watched::new();
    let app: Router = Router::new()
        .route("/users/{id}", on_get(ok))
        .layer(watched.layer());
    for id in 0..20 {
        send(&app, get(&format!("/users/{id}"))).await;
    }
    let servers = watched.servers();
    assert_eq!(servers.len(), 20);
    for span in servers {
        assert_eq!(span.name, "GET /users/{id}");
        assert_eq!(attribute(&span, "http.route").unwrap(), "/users/{id}");
    }
}

#[tokio::test]
async fn under_nested_routers_it_is_the_whole_path() {
    let watched = Watched::new();
    let inner: Router = Router::new().route("/orders/{order}", post(ok));
    let service: Router = Router::new()
        .route("/files/{file}", on_get(ok))
        .layer(watched.layer());
    let app: Router = Router::new()
        .nest("/users/{user}", inner)
        .layer(watched.layer())
        .nest_service("/assets", service);
    send(
        &app,
        Request::post("/users/7/orders/8").body("".into()).unwrap(),
    )
    .await;
    send(&app, get("/assets/files/9")).await;
    let names: Vec<_> = watched.servers().into_iter().map(|s| s.name).collect();
    assert_eq!(
        names,
        [
            "POST /users/{user}/orders/{order}",
            "GET /assets/files/{file}"
        ]
    );
}

#[tokio::test]
async fn a_request_that_matches_no_route_has_none() {
    let watched = Watched::new();
    let app: Router = Router::new()
        .route("/users", on_get(ok))
        .nest_service("/monitoring", watched.pool.monitor().prefix("/monitoring"))
        .layer(watched.layer());
    assert_eq!(send(&app, get("/wp-login.php")).await.0, 404);
    assert_eq!(send(&app, get("/monitoring/status")).await.0, 200);
    for span in watched.servers() {
        assert_eq!(span.name, "GET");
        assert_eq!(attribute(&span, "http.route"), None);
    }
    assert_eq!(watched.servers().len(), 2);
}

#[tokio::test]
async fn around_the_whole_router_there_is_none_unless_a_layer_inside_tells_it() {
    let watched = Watched::new();
    let pool = watched.pool.clone();
    let handler = async move || use_pool(&pool, 2).await;
    let router: Router = Router::new().route("/users/{id}", on_get(handler));

    let outside = watched.layer().layer(router.clone());
    send(&outside, get("/users/1")).await;
    let span = watched.server();
    assert_eq!((&*span.name, attribute(&span, "http.route")), ("GET", None));
    assert_eq!(counts(&span), Some((1, 2)));

    // The inner one knows the route, and the outer one has the span.
    let both = watched.layer().layer(router.layer(RequestLayer::new()));
    send(&both, get("/users/1")).await;
    let span = watched.servers().remove(1);
    assert_eq!(span.name, "GET /users/{id}");
    assert_eq!(attribute(&span, "http.route").unwrap(), "/users/{id}");
    assert_eq!(counts(&span), Some((1, 2)));
    assert_eq!(watched.servers().len(), 2);
    let checkouts = watched.spans();
    let checkout = checkouts.iter().rfind(|span| span.name == "pool.checkout");
    assert_child(checkout.unwrap(), &span);
}

#[tokio::test]
async fn an_extension_tells_it_and_the_apps_own_rule_comes_first() {
    let watched = Watched::new();
    let service = service_fn(async |_: Request<axum::body::Body>| {
        Ok::<_, std::convert::Infallible>(axum::response::Response::new(String::from("ok")))
    });
    let by_extension = watched.layer().layer(service);
    let with_route = |path| {
        let mut request = get(path);
        request
            .extensions_mut()
            .insert(Route::new("/by/{extension}"));
        request
    };
    send(&by_extension, with_route("/by/1")).await;

    let rule = watched.layer().route(|parts| {
        let mut words = parts.uri.path().split('/').skip(1);
        (words.next()? == "own").then(|| format!("/own/{{{}}}", words.count()))
    });
    let by_rule = ServiceBuilder::new().layer(rule).service(service);
    send(&by_rule, with_route("/own/1/2")).await;
    send(&by_rule, with_route("/other")).await;
    send(&by_rule, get("/other")).await;

    let names: Vec<_> = watched.servers().into_iter().map(|s| s.name).collect();
    assert_eq!(
        names,
        [
            "GET /by/{extension}",
            "GET /own/{2}",
            "GET /by/{extension}",
            "GET"
        ]
    );
}

#[tokio::test]
async fn their_number_is_bounded_in_spans_and_metrics() {
    let watched = Watched::new();
    let exporter = InMemoryMetricExporter::default();
    let meters = SdkMeterProvider::builder()
        .with_periodic_exporter(exporter.clone())
        .build();
    let pool = watched
        .another_pool("bounded")
        .request_metrics(true)
        .meter_provider(meters.clone())
        .build()
        .unwrap();
    // What must not be done: the path itself.
    let layer = watched
        .layer()
        .max_routes(3)
        .route(|parts| Some(parts.uri.path().to_owned()));
    let app: Router = Router::new()
        .fallback(async move || use_pool(&pool, 1).await)
        .layer(layer);
    for id in 0..50 {
        send(&app, get(&format!("/users/{id}"))).await;
    }

    let told: BTreeSet<_> = watched
        .servers()
        .iter()
        .map(|span| attribute(span, "http.route").unwrap())
        .collect();
    let expected = ["/users/0", "/users/1", "/users/2", "_OTHER"].map(String::from);
    assert_eq!(told, BTreeSet::from(expected));

    meters.force_flush().unwrap();
    let counted = counted_by_route(&exporter, "poolscope.request.checkouts");
    let expected = [
        ("/users/0", 1),
        ("/users/1", 1),
        ("/users/2", 1),
        ("_OTHER", 47),
    ];
    assert_eq!(
        counted,
        BTreeSet::from(expected.map(|(route, count)| (route.to_owned(), count)))
    );
}

/// How many requests a histogram has of each route.
fn counted_by_route(exporter: &InMemoryMetricExporter, name: &str) -> BTreeSet<(String, u64)> {
    let finished = exporter.get_finished_metrics().unwrap();
    let last = finished.last().unwrap();
    let mut metrics = last.scope_metrics().flat_map(|scope| scope.metrics());
    let metric = metrics.find(|metric| metric.name() == name).unwrap();
    let AggregatedMetrics::F64(MetricData::Histogram(histogram)) = metric.data() else {
        panic!("{metric:?}")
    };
    let route = |attributes: Vec<&opentelemetry::KeyValue>| {
        let mut attributes = attributes.into_iter();
        let route = attributes.find(|attribute| attribute.key.as_str() == "http.route");
        route.unwrap().value.to_string()
    };
    histogram
        .data_points()
        .map(|point| (route(point.attributes().collect()), point.count()))
        .collect()
}

#[tokio::test]
async fn a_method_that_nobody_knows_is_another() {
    let watched = Watched::new();
    let app: Router = Router::new()
        .route("/brew", axum::routing::any(ok))
        .layer(watched.layer());
    let request = Request::builder().method("BREW").uri("/brew");
    send(&app, request.body("".into()).unwrap()).await;
    let span = watched.server();
    assert_eq!(span.name, "HTTP /brew");
    let attributes = attributes(&span);
    assert_eq!(attributes["http.request.method"], "_OTHER");
    assert_eq!(attributes["http.request.method_original"], "BREW");
}
