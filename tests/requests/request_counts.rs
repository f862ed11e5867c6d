//! What is counted for a request.

use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get as on_get;

use crate::test_app::{TestApp, assert_child, attributes, counts, get, query, send, use_pool};
use crate::waiting::found;

#[tokio::test]
async fn a_span_has_checkouts_queries_and_times() {
    let test_app = TestApp::new();
    let pool = test_app.pool.clone();
    let handler = async move || {
        use_pool(&pool, 2).await;
        let mut conn = pool.get().await.unwrap();
        query(&mut conn).await;
        // The duration of the hold.
        tokio::time::sleep(Duration::from_millis(30)).await;
    };
    let app: Router = Router::new()
        .route("/", on_get(handler))
        .layer(test_app.layer());
    let start = Instant::now();
    send(&app, get("/")).await;
    let took = start.elapsed().as_secs_f64();
    let span = test_app.server();
    assert_eq!(counts(&span), Some((2, 3)));
    let attributes = attributes(&span);
    let seconds = |name: &str| -> f64 { attributes[name].parse().unwrap() };
    let held = seconds("poolscope.request.held_time");
    let busy = seconds("poolscope.request.query_time");
    assert!(held >= 0.03, "{attributes:?}");
    assert!((0.0..held).contains(&busy), "{attributes:?}");
    assert!(held + seconds("poolscope.request.wait_time") <= 2.0 * took);
}

#[tokio::test]
async fn the_counts_of_all_pools_are_added_up() {
    let test_app = TestApp::new();
    let (one, other) = (
        test_app.pool.clone(),
        test_app.another_pool("other").build().unwrap(),
    );
    let handler = async move || {
        use_pool(&one, 1).await;
        use_pool(&other, 2).await;
    };
    let app: Router = Router::new()
        .route("/", on_get(handler))
        .layer(test_app.layer());
    send(&app, get("/")).await;
    assert_eq!(counts(&test_app.server()), Some((2, 3)));
}

#[tokio::test]
async fn a_timed_out_wait_counts_as_wait_time() {
    let test_app = TestApp::new();
    let mut small = test_app.another_pool("small").pool_size(1).max_overflow(0);
    small = small.pool_timeout(Duration::from_secs(1));
    let pool = small.build().unwrap();
    let handler = {
        let pool = pool.clone();
        async move || assert!(pool.get().await.is_err())
    };
    let app: Router = Router::new()
        .route("/", on_get(handler))
        .layer(test_app.layer());
    let hold = async || pool.get().await.map_err(|error| error.to_string());
    let held = found("a connection", hold).await;
    let start = Instant::now();
    send(&app, get("/")).await;
    let took = start.elapsed().as_secs_f64();
    drop(held);
    let span = test_app.server();
    assert_eq!(counts(&span), Some((0, 0)));
    let waited: f64 = attributes(&span)["poolscope.request.wait_time"]
        .parse()
        .unwrap();
    assert!((1.0..=took).contains(&waited), "{waited}");
}

#[tokio::test]
async fn spawned_work_counts_if_it_is_attributed() {
    let test_app = TestApp::new();
    let pool = test_app.pool.clone();
    let handler = async move || {
        let spawned = pool.clone();
        tokio::spawn(async move { use_pool(&spawned, 5).await })
            .await
            .unwrap();
        tokio::spawn(poolscope::attributed(
            async move { use_pool(&pool, 1).await },
        ))
        .await
        .unwrap();
    };
    let app: Router = Router::new()
        .route("/", on_get(handler))
        .layer(test_app.layer());
    send(&app, get("/")).await;
    let server = test_app.server();
    assert_eq!(counts(&server), Some((1, 1)));
    let spans = test_app.spans();
    let mut checkouts = spans.iter().filter(|span| span.name == "pool.checkout");
    let (alone, wrapped) = (checkouts.next().unwrap(), checkouts.next().unwrap());
    assert_ne!(
        alone.span_context.trace_id(),
        server.span_context.trace_id()
    );
    assert_child(wrapped, &server);
}

/// The request's span has ended by then, so only the pool's tables by route count the work.
#[tokio::test]
async fn work_that_outlives_the_request_does_not_keep_its_span_open() {
    let test_app = TestApp::new();
    let (pool, go) = (
        test_app.pool.clone(),
        std::sync::Arc::new(tokio::sync::Notify::new()),
    );
    let (tasks, mut spawned) = tokio::sync::mpsc::unbounded_channel();
    let handler = {
        let go = go.clone();
        async move || {
            let (pool, go) = (pool.clone(), go.clone());
            let work = poolscope::attributed(async move {
                go.notified().await;
                use_pool(&pool, 1).await;
            });
            tasks.send(tokio::spawn(work)).unwrap();
        }
    };
    let app: Router = Router::new()
        .route("/", on_get(handler))
        .layer(test_app.layer());
    send(&app, get("/")).await;
    let server = test_app.server();
    assert_eq!(counts(&server), None);
    go.notify_one();
    spawned.recv().await.unwrap().await.unwrap();
    assert_child(&test_app.named("pool.checkout"), &server);
}

#[tokio::test]
async fn concurrent_requests_do_not_mix() {
    let test_app = TestApp::new();
    let pool = test_app.pool.clone();
    let handler = async move |axum::extract::Path(n): axum::extract::Path<usize>| {
        for _ in 0..n {
            tokio::task::yield_now().await;
            use_pool(&pool, n).await;
        }
    };
    let app: Router = Router::new()
        .route("/{n}", on_get(handler))
        .layer(test_app.layer());
    let paths: Vec<_> = (0..10).map(|n| format!("/{n}")).collect();
    let all = paths.iter().map(|path| send(&app, get(path)));
    futures_util::future::join_all(all).await;
    for span in test_app.servers() {
        let n: u64 = attributes(&span)["url.path"][1..].parse().unwrap();
        let expected = (n > 0).then_some((n, n * n));
        assert_eq!(counts(&span), expected);
    }
    assert_eq!(test_app.servers().len(), 10);
}
