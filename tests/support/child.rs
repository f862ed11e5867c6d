//! Runs a test in a process of its own: OpenTelemetry reads the environment, its providers are the
//! process', and so is the log.
//!
//! ```ignore
//! #[test]
//! fn a_test() {
//!     child::body(async { /* in the child */ });
//!     child::run("module::a_test", &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:{port}")]);
//! }
//! ```

use std::env;
use std::future::Future;
use std::process::{self, Command};

use super::ports::free_port;
use super::process::is_a_setting;

const PORT: &str = "POOLSCOPE_TEST_PORT";
/// Set to have a runtime with one thread.
pub const ONE_THREAD: &str = "POOLSCOPE_TEST_ONE_THREAD";

/// In the child the test, after which the process ends; in the parent nothing.
pub fn body(test: impl Future) {
    if env::var_os(PORT).is_none() {
        return;
    }
    let mut runtime = match env::var_os(ONE_THREAD) {
        Some(_) => tokio::runtime::Builder::new_current_thread(),
        None => tokio::runtime::Builder::new_multi_thread(),
    };
    runtime
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(test);
    println!("the test is done");
    process::exit(0);
}

/// The port that `{port}` stands for, for the test to listen on.
pub fn port() -> u16 {
    let port = env::var(PORT).expect("this is the child");
    port.parse().expect("a port")
}

/// Runs the body of the test of this name with these variables, in which `{port}` is a free port.
/// Gives what it printed.
///
/// # Panics
/// When the test fails.
pub fn run(test: &str, variables: &[(&str, &str)]) -> String {
    let port = free_port().to_string();
    let mut command = Command::new(env::current_exe().expect("the path of this program"));
    command
        .args([test, "--exact", "--nocapture"])
        .env(PORT, &port);
    for (variable, _) in env::vars_os() {
        if is_a_setting(&variable.to_string_lossy()) {
            command.env_remove(variable);
        }
    }
    for (name, value) in variables {
        command.env(name, value.replace("{port}", &port));
    }
    let output = command.output().expect("it starts");
    let [out, err] =
        [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
    let printed = format!("{out}{err}");
    let is_done = output.status.success() && out.contains("the test is done");
    assert!(is_done, "{test} with {variables:?}:\n{printed}");
    printed
}
