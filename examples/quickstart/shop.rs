//! The routes of an ordinary app.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use diesel::result::{DatabaseErrorKind, Error};
use poolscope::Pool;

use super::database::{Database, NewUser, Order, User};
use super::error::AppError;

/// `GET /users`
pub async fn users<C: Database>(State(pool): State<Pool<C>>) -> Result<Json<Vec<User>>, AppError> {
    let mut conn = pool.get().await?;
    Ok(Json(conn.users().await?))
}

/// `POST /users`
pub async fn add_user<C: Database>(
    State(pool): State<Pool<C>>,
    body: Result<Json<NewUser>, JsonRejection>,
) -> Result<(StatusCode, Json<User>), AppError> {
    let Json(new) = body?;
    // Before the checkout, so that an invalid request does not use the pool.
    let new = validated(new)
        .map_err(|why| AppError::BadRequest(StatusCode::UNPROCESSABLE_ENTITY, why))?;

    let mut conn = pool.get().await?;
    match conn.add_user(&new).await {
        Ok(user) => Ok((StatusCode::CREATED, Json(user))),
        Err(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) => {
            let why = format!("email: a user with {} already exists", new.email);
            Err(AppError::BadRequest(StatusCode::CONFLICT, why))
        }
        Err(error) => Err(error.into()),
    }
}

/// `GET /users/{id}/orders`
pub async fn orders<C: Database>(
    State(pool): State<Pool<C>>,
    id: Result<Path<i32>, PathRejection>,
) -> Result<Json<Vec<Order>>, AppError> {
    let Path(id) = id?;
    let mut conn = pool.get().await?;
    if conn.user(id).await?.is_none() {
        return Err(AppError::BadRequest(
            StatusCode::NOT_FOUND,
            format!("there is no user {id}"),
        ));
    }
    Ok(Json(conn.orders_of(id).await?))
}

fn validated(new: NewUser) -> Result<NewUser, String> {
    let (name, email) = (new.name.trim(), new.email.trim());
    for (field, text, most) in [("name", name, 100), ("email", email, 200)] {
        match text.chars().count() {
            0 => {
                return Err(format!(
                    "{field}: expected 1 to {most} characters, it is empty"
                ));
            }
            n if n > most => {
                return Err(format!(
                    "{field}: expected 1 to {most} characters, it has {n}"
                ));
            }
            _ if text.contains(char::is_control) => {
                return Err(format!("{field}: expected no control characters"));
            }
            _ => {}
        }
    }
    match email.split_once('@') {
        Some((user, host))
            if !user.is_empty() && !host.is_empty() && !email.contains(char::is_whitespace) =>
        {
            Ok(NewUser {
                name: name.to_owned(),
                email: email.to_owned(),
            })
        }
        _ => Err(format!(
            "email: expected something like ada@example.com, not {email:?}"
        )),
    }
}
