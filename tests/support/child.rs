//! Runs a test in its own process, because the environment, OpenTelemetry's providers and the log are
//! global.
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
/// Set in the child to use a runtime with one thread.
pub const ONE_THREAD: &str = "POOLSCOPE_TEST_ONE_THREAD";

/// In the child, runs the test and exits. In the parent, does nothing.
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

/// The port for the test to listen on, which replaces `{port}` in variables.
pub fn port() -> u16 {
    let port = env::var(PORT).expect("set in the child process");
    port.parse().expect("a port")
}

/// Runs the body of the named test with these variables, in which `{port}` is replaced by a free port.
/// Returns what it printed.
///
/// # Panics
/// If the test fails.
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
    let output = command.output().expect("the child starts");
    let [out, err] =
        [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
    let printed = format!("{out}{err}");
    let is_done = output.status.success() && out.contains("the test is done");
    assert!(is_done, "{test} with {variables:?}:\n{printed}");
    printed
}
