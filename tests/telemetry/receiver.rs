//! Receivers with a behaviour that a real one does not have on demand: reject, respond late, or never.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// The receiver's response.
#[derive(Clone, Debug)]
pub enum Answer {
    Status(StatusCode),
    /// 200 with this body.
    Body(Vec<u8>),
    /// 200 after this delay.
    Late(Duration),
    Never,
}

/// A receiver of OTLP over HTTP on its own thread, because the test may block its thread.
pub struct Receiver {
    address: SocketAddr,
    state: Arc<State>,
    _running: oneshot::Sender<()>,
}

struct State {
    answer: Mutex<Answer>,
    requests: Mutex<Vec<Request<Bytes>>>,
}

impl Receiver {
    pub fn start(answer: Answer) -> Self {
        Self::at(0, answer)
    }

    /// Starts one on this port.
    pub fn at(port: u16, answer: Answer) -> Self {
        let state = Arc::new(State {
            answer: Mutex::new(answer),
            requests: Mutex::default(),
        });
        let shared = Arc::clone(&state);
        let (address, running) = on_a_thread(port, move |socket| {
            let state = Arc::clone(&shared);
            let service = service_fn(move |request| take(request, Arc::clone(&state)));
            http1::Builder::new().serve_connection(TokioIo::new(socket), service)
        });
        Receiver {
            address,
            state,
            _running: running,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets the response from now on.
    pub fn answer(&self, answer: Answer) {
        *self.state.answer.lock().expect("no panic") = answer;
    }

    /// Returns the requests received completely so far.
    pub fn requests(&self) -> Vec<Request<Bytes>> {
        self.state.requests.lock().expect("no panic").clone()
    }
}

/// Accepts connections of any protocol and never responds. The system accepts them for a listener that
/// is never polled.
pub struct Mute(std::net::TcpListener);

impl Mute {
    pub fn start() -> Self {
        Self::at(0)
    }

    pub fn at(port: u16) -> Self {
        Mute(std::net::TcpListener::bind(("127.0.0.1", port)).expect("a free port"))
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().expect("a bound socket"))
    }
}

/// A receiver of OTLP over gRPC that responds to every call with the same message and status.
pub struct Grpc {
    _running: oneshot::Sender<()>,
}

impl Grpc {
    pub fn at(port: u16, status: u16, message: Vec<u8>) -> Self {
        let (_, running) = on_a_thread(port, move |socket| {
            let message = message.clone();
            let service = service_fn(move |request| call(request, status, message.clone()));
            http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(socket), service)
        });
        Grpc { _running: running }
    }
}

async fn call(
    request: Request<Incoming>,
    status: u16,
    message: Vec<u8>,
) -> Result<Response<impl Body<Data = Bytes, Error = Infallible>>, Infallible> {
    let _ = request.into_body().collect().await;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.into());
    // A message is preceded by a byte for no compression, and by its length.
    let length = u32::try_from(message.len()).expect("a short message");
    let frame = [&[0][..], &length.to_be_bytes(), &message].concat();
    let trailers = std::future::ready(Some(Ok(trailers)));
    let body = Full::new(Bytes::from(frame)).with_trailers(trailers);
    let mut response = Response::new(body);
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", grpc);
    Ok(response)
}

/// Serves on a thread that ends when the sender is dropped.
fn on_a_thread<F, C>(port: u16, serve: F) -> (SocketAddr, oneshot::Sender<()>)
where
    F: Fn(TcpStream) -> C + Send + 'static,
    C: Future + Send + 'static,
    C::Output: Send,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    listener.set_nonblocking(true).expect("a socket");
    let (running, ended) = oneshot::channel::<()>();
    thread::spawn(move || {
        let accept = async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket));
            }
        };
        runtime.block_on(async {
            tokio::select! {
                () = accept => {}
                _ = ended => {}
            }
        });
    });
    (address, running)
}

async fn take(
    request: Request<Incoming>,
    state: Arc<State>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map_or(Bytes::new(), |body| body.to_bytes());
    state
        .requests
        .lock()
        .expect("no panic")
        .push(Request::from_parts(parts, body));
    let answer = state.answer.lock().expect("no panic").clone();
    let mut response = Response::new(Full::default());
    match answer {
        Answer::Status(status) => *response.status_mut() = status,
        Answer::Body(body) => *response.body_mut() = Full::from(body),
        // A slow receiver.
        Answer::Late(delay) => tokio::time::sleep(delay).await,
        Answer::Never => std::future::pending().await,
    }
    Ok(response)
}
