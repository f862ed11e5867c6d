//! The app's own traffic, so that the reports have data.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use poolscope::Pool;
use poolscope::backend::Backend;
use poolscope::service::Availability;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tower::ServiceExt;

/// The traffic that the app generates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    Off,
    Gentle,
    Trouble,
}

const PATHS: [&str; 8] = [
    "/users",
    "/users/1/orders",
    "/n-plus-one",
    "/users",
    "/query?ms=20",
    "/users/2/orders",
    "/transaction?ms=30",
    "/slow?ms=40",
];
const PEAK_PATHS: [&str; 4] = [
    "/users/1/orders",
    "/query?ms=60",
    "/users",
    "/transaction?ms=40",
];
/// Time between the starts of two peaks.
const PEAKS_EVERY: Duration = Duration::from_secs(60);
const PEAK: Duration = Duration::from_secs(10);
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// Sends requests to the app, as clients would, until the pool drains.
pub async fn run<C: Backend>(traffic: Traffic, app: Router, pool: Pool<C>) {
    let client = Client { app, pool };
    // About five requests a second.
    let gentle = client.repeat(&PATHS, Duration::from_millis(200), FOREVER);
    match traffic {
        Traffic::Off => {}
        Traffic::Gentle => gentle.await,
        Traffic::Trouble => {
            tokio::join!(gentle, client.reports(), client.leaks(), client.peaks());
        }
    }
}

struct Client<C: Backend> {
    app: Router,
    pool: Pool<C>,
}

impl<C: Backend> Client<C> {
    /// Sends the paths in turn, for the given time or until the pool drains. Pauses after each response.
    async fn repeat(&self, paths: &[&str], pause: Duration, time: Duration) {
        let end = Instant::now() + time;
        for path in paths.iter().cycle() {
            if self.pool.status().state != Availability::Open || Instant::now() >= end {
                return;
            }
            let failed = self.send(path).await;
            // Fewer requests while the database is down, so that they do not fill the log.
            let rest = if failed { 10 * pause } else { pause };
            sleep(rest.max(Duration::from_millis(1))).await;
        }
    }

    /// Sends a request and reads the whole response, as a client would: a request lasts until the end of its
    /// response. Returns whether it failed.
    async fn send(&self, path: &str) -> bool {
        let request = Request::get(path)
            .body(Body::empty())
            .expect("a valid request");
        let Ok(answer) = self.app.clone().oneshot(request).await;
        let failed = answer.status().is_server_error();
        let _ = answer.into_body().collect().await;
        failed
    }

    /// Runs clients at the same time, which send the paths in turn.
    async fn together(
        &self,
        clients: u32,
        paths: &'static [&'static str],
        pause: Duration,
        time: Duration,
    ) {
        let mut running = JoinSet::new();
        for _ in 0..clients {
            let client = Self {
                app: self.app.clone(),
                pool: self.pool.clone(),
            };
            running.spawn(async move { client.repeat(paths, pause, time).await });
        }
        while running.join_next().await.is_some() {}
    }

    /// Requests reports that hold up to half of the connections, most of the time without using them.
    async fn reports(&self) {
        let clients = (self.pool.status().max_connections / 2).max(1);
        self.together(
            clients,
            &["/report?ms=2500"],
            Duration::from_secs(1),
            FOREVER,
        )
        .await;
    }

    /// Leaks a connection every two minutes.
    async fn leaks(&self) {
        sleep(PEAKS_EVERY / 2).await;
        self.repeat(&["/leak"], 2 * PEAKS_EVERY, FOREVER).await;
    }

    /// Has more clients than connections for ten seconds of each minute.
    async fn peaks(&self) {
        while self.pool.status().state == Availability::Open {
            sleep(PEAK).await;
            let clients = 2 * self.pool.status().max_connections;
            self.together(clients, &PEAK_PATHS, Duration::from_millis(10), PEAK)
                .await;
            sleep(PEAKS_EVERY - 2 * PEAK).await;
        }
    }
}
