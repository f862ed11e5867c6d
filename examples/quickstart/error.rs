//! The errors of a handler, and the responses to the client.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use diesel::result::DatabaseErrorKind::{
    CheckViolation, ExclusionViolation, ForeignKeyViolation, NotNullViolation, RestrictViolation,
    UniqueViolation,
};
use diesel::result::Error as DatabaseError;
use poolscope::PoolError;
use serde_json::json;

pub enum AppError {
    /// No connection. poolscope's response is 503 with `Retry-After`.
    Pool(PoolError),
    /// A query failed.
    Database(DatabaseError),
    /// The request is wrong.
    BadRequest(StatusCode, String),
}

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        match self {
            Self::Pool(error) => error.into_response(),
            Self::BadRequest(status, detail) => problem(status, &detail),
            Self::Database(error) if poolscope::backend::is_connection_failure(&error) => {
                tracing::warn!("responding with 503: {error}");
                let answer = problem(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the database connection was lost; the request may have had an effect",
                );
                ([(header::RETRY_AFTER, "2")], answer).into_response()
            }
            Self::Database(error) if conflicts(&error) => {
                tracing::info!("responding with 409: {error}");
                problem(StatusCode::CONFLICT, "this conflicts with existing data")
            }
            Self::Database(error) => {
                tracing::error!("responding with 500: {error}");
                problem(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "a query failed; see the log",
                )
            }
        }
    }
}

/// An error as `application/problem+json` (RFC 9457).
pub fn problem(status: StatusCode, detail: &str) -> Response {
    let body = json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": detail,
    });
    (
        status,
        [(header::CONTENT_TYPE, "application/problem+json")],
        Json(body).into_response().into_body(),
    )
        .into_response()
}

fn conflicts(error: &DatabaseError) -> bool {
    matches!(
        error,
        DatabaseError::DatabaseError(
            UniqueViolation
                | ForeignKeyViolation
                | NotNullViolation
                | CheckViolation
                | RestrictViolation
                | ExclusionViolation,
            _
        )
    )
}

impl From<PoolError> for AppError {
    fn from(error: PoolError) -> Self {
        Self::Pool(error)
    }
}

impl From<DatabaseError> for AppError {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

impl From<JsonRejection> for AppError {
    fn from(rejection: JsonRejection) -> Self {
        Self::BadRequest(rejection.status(), rejection.body_text())
    }
}

impl From<PathRejection> for AppError {
    fn from(rejection: PathRejection) -> Self {
        Self::BadRequest(rejection.status(), rejection.body_text())
    }
}
