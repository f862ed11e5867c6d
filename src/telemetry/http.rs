//! OTLP over HTTP: sends what the exporter has encoded.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{HttpClient, HttpError};

use super::connect::{Connector, Trouble, words};

/// More than any receiver has to say.
const LONGEST_ANSWER: usize = 1 << 20;

/// The exporters' HTTP client. It is only polled where a runtime is, see `line.rs`.
#[derive(Debug)]
pub(super) struct Http {
    client: Client<Connector, Full<Bytes>>,
    trouble: Trouble,
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl Http {
    pub(super) fn new(connector: Connector, trouble: Trouble) -> Self {
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self { client, trouble }
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let response = self.client.request(request.map(Full::new)).await?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, LONGEST_ANSWER).collect().await?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    }
}

impl HttpClient for Http {
    fn send_bytes<'a, 'b>(&'a self, request: Request<Bytes>) -> Answer<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async {
            let sent = self.send(request).await;
            match &sent {
                Err(error) => self.trouble.note(words(&**error)),
                Ok(answer) if !answer.status().is_success() => {
                    self.trouble
                        .note(format!("the answer was {}", answer.status()));
                }
                Ok(_) => {}
            }
            sent
        })
    }
}
