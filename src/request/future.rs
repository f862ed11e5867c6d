use std::any::type_name;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use super::body::AttributedBody;
use super::in_flight::Open;
use super::span::Outcome;

pin_project! {
    /// The response future of [`Attributed`](super::Attributed). Dropping it ends the request.
    #[must_use = "futures do nothing unless polled"]
    pub struct AttributedFuture<F> {
        #[pin]
        pub(super) inner: Option<F>,
        pub(super) open: Option<Open>,
    }

    impl<F> PinnedDrop for AttributedFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            // The handler's connections are returned while its request is open.
            let _current = this.open.as_ref().and_then(|open| open.span.enter());
            this.inner.set(None);
        }
    }
}

impl<F, B, E> Future for AttributedFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<AttributedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let open = this.open.as_mut().expect("polled after completion");
        let answer = ready!(open.work(|| {
            let inner = this.inner.as_mut().as_pin_mut();
            let answer = ready!(
                inner
                    .expect("the future exists while the request is open")
                    .poll(cx)
            );
            this.inner.set(None);
            Poll::Ready(answer)
        }));
        let open = this.open.take().expect("the request is open");
        Poll::Ready(match answer {
            Ok(response) => Ok(AttributedBody::wrap(response, open)),
            Err(error) => {
                open.end(Outcome::Failed(type_name::<E>()));
                Err(error)
            }
        })
    }
}

impl<F> fmt::Debug for AttributedFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttributedFuture").finish_non_exhaustive()
    }
}
