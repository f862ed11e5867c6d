//! Decides whether a body that the server has dropped was sent completely.

use bytes::Buf;
use http::header::CONTENT_LENGTH;
use http::response::Parts;
use http::{Method, StatusCode};
use http_body::{Body, Frame};

/// The expected and the sent length of a body. A server that knows the length, or that sends no body,
/// drops the body without polling for its end.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct BodyProgress {
    expected: Option<u64>,
    sent: u64,
    trailers: bool,
}

impl BodyProgress {
    pub(super) fn of(response: &Parts, body: &impl Body, is_head: bool) -> Self {
        let expected = if is_head || has_no_body(response.status) {
            Some(0)
        } else {
            let length = || response.headers.get(CONTENT_LENGTH)?.to_str().ok();
            let said = || length()?.trim().parse().ok();
            body.size_hint().exact().or_else(said)
        };
        Self {
            expected,
            sent: 0,
            trailers: false,
        }
    }

    pub(super) fn sent<D: Buf>(&mut self, frame: &Frame<D>) {
        match frame.data_ref() {
            Some(data) => self.sent = self.sent.saturating_add(data.remaining() as u64),
            // Trailers are the last frame.
            None => self.trailers |= frame.is_trailers(),
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.trailers || self.expected.is_some_and(|expected| self.sent >= expected)
    }
}

fn has_no_body(status: StatusCode) -> bool {
    status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

/// Returns whether the response to this method has no body.
pub(super) fn is_head(method: &Method) -> bool {
    method == Method::HEAD
}
