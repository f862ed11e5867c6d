//! Serves the app, and stops without losing a request.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::Router;
use poolscope::Pool;
use poolscope::backend::Backend;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::stop::Stop;

/// How long requests may keep their connections after the signal to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// How long sending their responses may take after that.
const LAST_RESPONSES: Duration = Duration::from_secs(2);

pub async fn listen(host: IpAddr, port: u16) -> Result<TcpListener, String> {
    let address = SocketAddr::from((host, port));
    let listener = TcpListener::bind(address).await;
    listener
        .map_err(|error| format!("can't listen on {address}: {error}. Use PORT=0 for a free port"))
}

/// Serves until the signal to stop. Then closes the pool: `healthcheck` responds with 503, so that a
/// load balancer sends no new requests. Serves requests until every connection is returned, and then
/// closes the listener.
pub async fn serve<C: Backend>(
    listener: TcpListener,
    app: Router,
    pool: Pool<C>,
    mut stop: Stop,
) -> io::Result<()> {
    let (drained, all_drained) = oneshot::channel();
    let drain = async move {
        stop.requested().await;
        tracing::info!(in_use = pool.status().checked_out, "draining");
        tokio::select! {
            all_back = pool.close(DRAIN) => match all_back {
                true => tracing::info!("drained"),
                false => tracing::warn!(in_use = pool.status().checked_out, "not drained in time"),
            },
            () = stop.requested() => tracing::warn!("second signal: stopping without waiting for connections"),
        }
        let _ = drained.send(());
    };
    let server = axum::serve(listener, app).with_graceful_shutdown(drain);
    tokio::select! {
        served = server.into_future() => served,
        () = async { let _ = all_drained.await; sleep(LAST_RESPONSES).await } => {
            tracing::warn!("stopped before all responses were sent");
            Ok(())
        }
    }
}
