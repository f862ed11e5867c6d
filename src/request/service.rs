use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::body::AttributedBody;
use super::future::AttributedFuture;
use super::in_flight::Open;
use super::layer::Options;

/// An HTTP service whose use of the pools is attributed to its requests, created by
/// [`RequestLayer`](crate::RequestLayer).
#[derive(Clone)]
pub struct Attributed<S> {
    pub(super) inner: S,
    pub(super) options: Arc<Options>,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Attributed<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body,
{
    type Response = Response<AttributedBody<ResBody>>;
    type Error = S::Error;
    type Future = AttributedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let mut open = Open::new(&parts, &self.options);
        let request = Request::from_parts(parts, body);
        let inner = open.work(|| self.inner.call(request));
        AttributedFuture {
            inner: Some(inner),
            open: Some(open),
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for Attributed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attributed")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
