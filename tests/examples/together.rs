//! Two quickstarts that find the same empty database.

use futures_util::future::join_all;
use http::StatusCode;

use crate::app::App;
use crate::databases::{Database, mariadb, postgres, sqlite};

#[tokio::test]
async fn two_make_one_set_of_tables_on_sqlite() {
    two_make_one_set_of_tables(sqlite()).await;
}

#[tokio::test]
async fn two_make_one_set_of_tables_on_postgres() {
    two_make_one_set_of_tables(postgres("together")).await;
}

#[tokio::test]
async fn two_make_one_set_of_tables_on_mariadb() {
    two_make_one_set_of_tables(mariadb("together")).await;
}

async fn two_make_one_set_of_tables(database: Database) {
    let start = || App::quiet(&[("DATABASE_URL", &database.url)]);
    let (one, other) = (start(), start());
    let requests = (0..20).map(|n| {
        if n % 2 == 0 {
            one.get("/users")
        } else {
            other.get("/users")
        }
    });
    for answer in join_all(requests).await {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        assert_eq!(
            answer.json().as_array().map(Vec::len),
            Some(12),
            "{}",
            answer.text()
        );
    }
    assert_eq!(other.get("/n-plus-one").await.json()["orders"], 24);
}
