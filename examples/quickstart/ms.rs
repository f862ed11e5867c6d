//! `?ms=`: the duration of a request.

use std::time::Duration;

use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::Deserialize;

use super::error::AppError;

const MOST: u64 = 30_000;
const DEFAULT: u64 = 1_000;

pub struct Ms(pub Duration);

#[derive(Deserialize)]
struct Parameters {
    ms: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Ms {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        let rejected = |what: &str| {
            let detail = format!("{what}: expected ms=N, with N a whole number from 0 to {MOST}");
            AppError::BadRequest(StatusCode::BAD_REQUEST, detail)
        };
        let Query(Parameters { ms }) = Query::from_request_parts(parts, state)
            .await
            .map_err(|rejection| rejected(&rejection.body_text()))?;
        match ms.as_deref().map(str::parse) {
            None => Ok(Self(Duration::from_millis(DEFAULT))),
            Some(Ok(ms @ 0..=MOST)) => Ok(Self(Duration::from_millis(ms))),
            Some(_) => Err(rejected(&format!("ms={}", ms.unwrap_or_default()))),
        }
    }
}
