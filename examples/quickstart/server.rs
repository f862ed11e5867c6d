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
/// How long sending their answers may take after that.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

pub async fn listen(host: IpAddr, port: u16) -> Result<TcpListener, String> {
    let address = SocketAddr::from((host, port));
    let listener = TcpListener::bind(address).await;
    listener
        .map_err(|error| format!("can't listen on {address}: {error}. PORT=0 takes a free port"))
}

/// Serves until the signal to stop. The pool is closed first. `healthcheck` is then 503, so that a
/// load balancer sends no new requests. The routes are served until every connection is returned.
/// Then the listener is closed.
pub async fn serve<C: Backend>(
    listener: TcpListener,
    app: Router,
    pool: Pool<C>,
    mut stop: Stop,
) -> io::Result<()> {
    let (drained, all_drained) = oneshot::channel();
    let drain = async move {
        stop.asked().await;
        tracing::info!(in_use = pool.status().checked_out, "draining");
        tokio::select! {
            all_back = pool.close(DRAIN) => match all_back {
                true => tracing::info!("drained"),
                false => tracing::warn!(in_use = pool.status().checked_out, "not drained in time"),
            },
            () = stop.asked() => tracing::warn!("asked to stop twice: not waiting for connections"),
        }
        let _ = drained.send(());
    };
    let server = axum::serve(listener, app).with_graceful_shutdown(drain);
    tokio::select! {
        served = server.into_future() => served,
        () = async { let _ = all_drained.await; sleep(LAST_ANSWERS).await } => {
            tracing::warn!("stopped with requests unanswered");
            Ok(())
        }
    }
}
