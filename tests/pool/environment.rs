//! Pools from the environment. A process cannot safely change its own environment, so each test runs
//! itself again with the variables set.

use std::env;
use std::process::Command;

use poolscope::Pool;
use poolscope::backend::AsyncSqliteConnection;

const AGAIN: &str = "POOLSCOPE_TEST_AGAIN";

/// Returns whether the variables are set. If not, runs the test again with them and checks that it passes.
fn with_variables(test: &str, variables: &[(&str, &str)]) -> bool {
    if env::var_os(AGAIN).is_some() {
        return true;
    }
    let mut again = Command::new(env::current_exe().unwrap());
    let inherited = env::vars_os().map(|(name, _)| name).filter(|name| {
        name.to_str()
            .is_some_and(|name| name.contains("DATABASE_URL"))
    });
    for name in inherited {
        again.env_remove(name);
    }
    let output = again
        .args([&format!("environment::{test}"), "--exact"])
        .env(AGAIN, "1")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
    false
}

#[tokio::test]
async fn a_pool_reads_the_variables_of_its_prefix() {
    let variables = [
        ("DATABASE_URL", "sqlite://orders.db"),
        ("DB_POOL_SIZE", "4"),
        ("REPORTS_DATABASE_URL", "sqlite://reports.db"),
        ("REPORTS_DB_POOL_SIZE", "2"),
        ("REPORTS_DB_POOL_NAME", "reports"),
    ];
    if with_variables("a_pool_reads_the_variables_of_its_prefix", &variables) {
        let orders = Pool::<AsyncSqliteConnection>::from_env().unwrap();
        let reports = Pool::<AsyncSqliteConnection>::from_env_prefixed("REPORTS_").unwrap();
        assert_eq!((orders.name(), orders.status().pool_size), ("default", 4));
        assert_eq!((reports.name(), reports.status().pool_size), ("reports", 2));
    }
}

#[tokio::test]
async fn errors_name_the_variables_with_their_prefix() {
    let variables = [
        ("DATABASE_URL", "postgres://app:hunter2@db/shop"),
        ("REPORTS_DATABASE_URL", "postgres://app:hunter2@db/shop"),
        ("STOCK_DB_POOL_SIZE", "ten"),
        ("STOCK_DB_POOL_MAX_CONNECTING", "2"),
    ];
    if with_variables("errors_name_the_variables_with_their_prefix", &variables) {
        for (prefix, lines) in [
            (
                "",
                &[r#"DATABASE_URL="postgres://app:***@db/shop": expected a SQLite URL"#][..],
            ),
            (
                "REPORTS_",
                &[r#"wrong: REPORTS_DATABASE_URL="postgres://app:***@db/shop": expected"#],
            ),
            (
                "STOCK_",
                &[
                    "STOCK_DATABASE_URL is not set",
                    r#"STOCK_DB_POOL_SIZE="ten": expected a whole number"#,
                    r#"STOCK_DB_POOL_MAX_CONNECTING="2" is not an environment variable"#,
                ],
            ),
        ] {
            let error = Pool::<AsyncSqliteConnection>::from_env_prefixed(prefix);
            let error = error.unwrap_err().to_string();
            for line in lines {
                assert!(error.contains(line), "{error}");
            }
        }
    }
}
