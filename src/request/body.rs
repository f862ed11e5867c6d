use std::any::type_name;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use http::header::CONTENT_LENGTH;
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::in_flight::Open;
use super::span::Outcome;

pin_project! {
    /// The response body of [`Attributed`](super::Attributed): attributes the production of the body to
    /// the request, and ends the request when the body has been sent or dropped.
    pub struct AttributedBody<B> {
        // Dropped as soon as it reaches its end, because a stream may hold a connection.
        #[pin]
        inner: Option<B>,
        open: Option<Open>,
        // The bytes that are still to be sent, if known. A server that knows the length, or that sends no
        // body, drops the body without polling for its end.
        unsent: Option<u64>,
    }

    impl<B> PinnedDrop for AttributedBody<B> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let current = this.open.as_ref().and_then(|open| open.span.enter());
            this.inner.set(None);
            drop(current);
            if let Some(open) = this.open.take()
                && *this.unsent == Some(0)
            {
                open.end(Outcome::Answered);
            }
        }
    }
}

impl<B: Body> AttributedBody<B> {
    pub(super) fn wrap(response: Response<B>, mut open: Open) -> Response<Self> {
        let (parts, body) = response.into_parts();
        let no_body = parts.status.is_informational()
            || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&parts.status);
        let unsent = if no_body || open.is_head {
            Some(0)
        } else {
            let length = || parts.headers.get(CONTENT_LENGTH)?.to_str().ok();
            let said = || length()?.trim().parse().ok();
            body.size_hint().exact().or_else(said)
        };
        open.answered(parts.status, body.size_hint().exact().is_some());
        let open = if body.is_end_stream() {
            open.end(Outcome::Answered);
            None
        } else {
            Some(open)
        };
        let body = Self {
            inner: Some(body),
            open,
            unsent,
        };
        Response::from_parts(parts, body)
    }
}

impl<B: Body> Body for AttributedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let Some(open) = this.open else {
            return match this.inner.as_pin_mut() {
                Some(inner) => inner.poll_frame(cx),
                None => Poll::Ready(None),
            };
        };
        let (frame, outcome) = ready!(open.work(|| {
            let polled = this.inner.as_mut().as_pin_mut().map(|mut inner| {
                let frame = ready!(inner.as_mut().poll_frame(cx));
                Poll::Ready((frame, inner.is_end_stream()))
            });
            let (frame, at_end) = ready!(polled.unwrap_or(Poll::Ready((None, true))));
            let outcome = match &frame {
                Some(Err(_)) => Some(Outcome::Failed(type_name::<B::Error>())),
                None => Some(Outcome::Answered),
                Some(Ok(_)) => at_end.then_some(Outcome::Answered),
            };
            if outcome.is_some() {
                this.inner.set(None);
            }
            Poll::Ready((frame, outcome))
        }));
        match outcome {
            Some(outcome) => {
                if let Some(open) = this.open.take() {
                    open.end(outcome);
                }
            }
            None => {
                if let Some(Ok(frame)) = &frame {
                    *this.unsent = match frame.data_ref() {
                        Some(data) => this
                            .unsent
                            .map(|it| it.saturating_sub(data.remaining() as u64)),
                        // Trailers are the last frame.
                        None => Some(0),
                    };
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let nothing = || SizeHint::with_exact(0);
        self.inner.as_ref().map_or_else(nothing, Body::size_hint)
    }
}

impl<B: Default> Default for AttributedBody<B> {
    fn default() -> Self {
        Self {
            inner: Some(B::default()),
            open: None,
            unsent: None,
        }
    }
}

impl<B> fmt::Debug for AttributedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttributedBody").finish_non_exhaustive()
    }
}
