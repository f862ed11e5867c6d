//! The tables and the queries, written once in diesel's query builder for three databases.

use std::future::Future;

use diesel::prelude::*;
use diesel_async::{AsyncMysqlConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use poolscope::backend::AsyncSqliteConnection;
use serde::{Deserialize, Serialize};

use super::dialect::Dialect;

diesel::table! {
    // Not `users`, because the database may already have such a table.
    #[sql_name = "quickstart_users"]
    users (id) {
        id -> Integer,
        name -> Text,
        email -> Text,
    }
}

diesel::table! {
    #[sql_name = "quickstart_orders"]
    orders (id) {
        id -> Integer,
        user_id -> Integer,
        item -> Text,
    }
}

#[derive(Debug, Queryable, Serialize)]
pub struct User {
    pub id: i32,
    pub name: String,
    pub email: String,
}

#[derive(Debug, Insertable, Deserialize)]
#[diesel(table_name = users)]
pub struct NewUser {
    pub name: String,
    pub email: String,
}

#[derive(Debug, Queryable, Serialize)]
pub struct Order {
    pub id: i32,
    pub user_id: i32,
    pub item: String,
}

/// The queries of this app. An app with one database needs no such trait: its handlers call
/// `users::table.load(&mut conn)`.
pub trait Database: Dialect {
    /// Creates the tables and a few rows, unless they exist.
    fn prepare(&mut self) -> impl Future<Output = QueryResult<()>> + Send;
    /// The first hundred users.
    fn users(&mut self) -> impl Future<Output = QueryResult<Vec<User>>> + Send;
    /// One user.
    fn user(&mut self, id: i32) -> impl Future<Output = QueryResult<Option<User>>> + Send;
    /// Adds a user. Two users cannot have the same email.
    fn add_user(&mut self, new: &NewUser) -> impl Future<Output = QueryResult<User>> + Send;
    /// The orders of one user.
    fn orders_of(&mut self, user: i32) -> impl Future<Output = QueryResult<Vec<Order>>> + Send;
}

/// A macro, because the bounds of generic functions would be longer than the functions.
macro_rules! database {
    ($($connection:ty),+) => { $(
        impl Database for $connection {
            async fn prepare(&mut self) -> QueryResult<()> {
                let first_order = orders::table.select(orders::id).first::<i32>(self).await;
                match first_order {
                    Ok(_) => Ok(()),
                    Err(_) => self.batch_execute(Self::SET_UP).await,
                }
            }

            async fn users(&mut self) -> QueryResult<Vec<User>> {
                users::table.order(users::id).limit(100).load(self).await
            }

            async fn user(&mut self, id: i32) -> QueryResult<Option<User>> {
                users::table.find(id).first(self).await.optional()
            }

            async fn add_user(&mut self, new: &NewUser) -> QueryResult<User> {
                diesel::insert_into(users::table).values(new).execute(self).await?;
                users::table.filter(users::email.eq(&new.email)).first(self).await
            }

            async fn orders_of(&mut self, user: i32) -> QueryResult<Vec<Order>> {
                orders::table.filter(orders::user_id.eq(user)).order(orders::id).load(self).await
            }
        }
    )+ };
}

database!(
    AsyncPgConnection,
    AsyncMysqlConnection,
    AsyncSqliteConnection
);
