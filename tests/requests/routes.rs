//! The route of a request: a template, never a path, and a bounded number of them.

use std::collections::BTreeSet;

use axum::Router;
use axum::routing::{get as on_get, post};
use http::Request;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};
use poolscope::RequestLayer;
use poolscope::service::Route;
use tower::{Layer, ServiceBuilder, service_fn};

use crate::test_app::{TestApp, assert_child, attribute, attributes, counts, get, send, use_pool};

async fn ok() -> &'static str {
    "ok"
}

#[tokio::test]
async fn axums_matched_path_is_the_route() {
    let test_app = TestApp::new();
    let app: Router = Router::new()
        .route("/users/{id}", on_get(ok))
        .layer(test_app.layer());
    for id in 0..20 {
        send(&app, get(&format!("/users/{id}"))).await;
    }
    let servers = test_app.servers();
    assert_eq!(servers.len(), 20);
    for span in servers {
        assert_eq!(span.name, "GET /users/{id}");
        assert_eq!(attribute(&span, "http.route").unwrap(), "/users/{id}");
    }
}

#[tokio::test]
async fn the_route_of_a_nested_router_is_complete() {
    let test_app = TestApp::new();
    let inner: Router = Router::new().route("/orders/{order}", post(ok));
    let service: Router = Router::new()
        .route("/files/{file}", on_get(ok))
        .layer(test_app.layer());
    let app: Router = Router::new()
        .nest("/users/{user}", inner)
        .layer(test_app.layer())
        .nest_service("/assets", service);
    send(
        &app,
        Request::post("/users/7/orders/8").body("".into()).unwrap(),
    )
    .await;
    send(&app, get("/assets/files/9")).await;
    let names: Vec<_> = test_app.servers().into_iter().map(|s| s.name).collect();
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
    let test_app = TestApp::new();
    let app: Router = Router::new()
        .route("/users", on_get(ok))
        .nest_service("/monitoring", test_app.pool.monitor().prefix("/monitoring"))
        .layer(test_app.layer());
    assert_eq!(send(&app, get("/wp-login.php")).await.0, 404);
    assert_eq!(send(&app, get("/monitoring/status")).await.0, 200);
    for span in test_app.servers() {
        assert_eq!(span.name, "GET");
        assert_eq!(attribute(&span, "http.route"), None);
    }
    assert_eq!(test_app.servers().len(), 2);
}

#[tokio::test]
async fn outside_the_router_a_route_needs_a_layer_inside() {
    let test_app = TestApp::new();
    let pool = test_app.pool.clone();
    let handler = async move || use_pool(&pool, 2).await;
    let router: Router = Router::new().route("/users/{id}", on_get(handler));

    let outside = test_app.layer().layer(router.clone());
    send(&outside, get("/users/1")).await;
    let span = test_app.server();
    assert_eq!((&*span.name, attribute(&span, "http.route")), ("GET", None));
    assert_eq!(counts(&span), Some((1, 2)));

    // The inner layer knows the route, and the outer layer has the span.
    let both = test_app.layer().layer(router.layer(RequestLayer::new()));
    send(&both, get("/users/1")).await;
    let span = test_app.servers().remove(1);
    assert_eq!(span.name, "GET /users/{id}");
    assert_eq!(attribute(&span, "http.route").unwrap(), "/users/{id}");
    assert_eq!(counts(&span), Some((1, 2)));
    assert_eq!(test_app.servers().len(), 2);
    let checkouts = test_app.spans();
    let checkout = checkouts.iter().rfind(|span| span.name == "pool.checkout");
    assert_child(checkout.unwrap(), &span);
}

#[tokio::test]
async fn the_route_may_come_from_an_extension_or_a_custom_rule() {
    let test_app = TestApp::new();
    let service = service_fn(async |_: Request<axum::body::Body>| {
        Ok::<_, std::convert::Infallible>(axum::response::Response::new(String::from("ok")))
    });
    let by_extension = test_app.layer().layer(service);
    let with_route = |path| {
        let mut request = get(path);
        request
            .extensions_mut()
            .insert(Route::new("/by/{extension}"));
        request
    };
    send(&by_extension, with_route("/by/1")).await;

    let rule = test_app.layer().route(|parts| {
        let mut words = parts.uri.path().split('/').skip(1);
        (words.next()? == "own").then(|| format!("/own/{{{}}}", words.count()))
    });
    let by_rule = ServiceBuilder::new().layer(rule).service(service);
    send(&by_rule, with_route("/own/1/2")).await;
    send(&by_rule, with_route("/other")).await;
    send(&by_rule, get("/other")).await;

    let names: Vec<_> = test_app.servers().into_iter().map(|s| s.name).collect();
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
async fn the_number_of_routes_is_bounded_in_spans_and_metrics() {
    let test_app = TestApp::new();
    let exporter = InMemoryMetricExporter::default();
    let meters = SdkMeterProvider::builder()
        .with_periodic_exporter(exporter.clone())
        .build();
    let pool = test_app
        .another_pool("bounded")
        .request_metrics(true)
        .meter_provider(meters.clone())
        .build()
        .unwrap();
    // A mistake of an app: the route is the path itself.
    let layer = test_app
        .layer()
        .max_routes(3)
        .route(|parts| Some(parts.uri.path().to_owned()));
    let app: Router = Router::new()
        .fallback(async move || use_pool(&pool, 1).await)
        .layer(layer);
    for id in 0..50 {
        send(&app, get(&format!("/users/{id}"))).await;
    }

    let counted: BTreeSet<_> = test_app
        .servers()
        .iter()
        .map(|span| attribute(span, "http.route").unwrap())
        .collect();
    let expected = ["/users/0", "/users/1", "/users/2", "_OTHER"].map(String::from);
    assert_eq!(counted, BTreeSet::from(expected));

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

/// The number of requests that a histogram has of each route.
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
async fn an_unknown_method_is_recorded_as_other() {
    let test_app = TestApp::new();
    let app: Router = Router::new()
        .route("/brew", axum::routing::any(ok))
        .layer(test_app.layer());
    let request = Request::builder().method("BREW").uri("/brew");
    send(&app, request.body("".into()).unwrap()).await;
    let span = test_app.server();
    assert_eq!(span.name, "HTTP /brew");
    let attributes = attributes(&span);
    assert_eq!(attributes["http.request.method"], "_OTHER");
    assert_eq!(attributes["http.request.method_original"], "BREW");
}
