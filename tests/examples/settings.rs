//! The quickstart with invalid settings.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::process::Example;

fn refused(environment: &[(&str, &str)]) -> String {
    let mut example = Example::start("quickstart", environment);
    assert_eq!(example.wait().code(), Some(1));
    // The last output may not have arrived yet.
    example.wait_for("quickstart: ");
    example.output()
}

#[test]
fn all_mistakes_are_reported_together() {
    let mut example = Example::start(
        "quickstart",
        &[("DB_POOL_SIZE", "ten"), ("DB_ECHO", "maybe")],
    );
    assert_eq!(example.wait().code(), Some(1));
    example.wait_for("quickstart: 2 settings are wrong");
    example.wait_for(r#"DB_POOL_SIZE="ten": expected a whole number"#);
    example.wait_for(r#"DB_ECHO="maybe": expected true or false"#);
}

#[test]
fn each_mistake_names_the_valid_values() {
    let port = refused(&[("PORT", "http")]);
    assert!(
        port.contains(r#"PORT="http": expected a whole number from 0 to 65535"#),
        "{port}"
    );
    let host = refused(&[("QUICKSTART_HOST", "localhost")]);
    assert!(
        host.contains(r#"QUICKSTART_HOST="localhost": expected an address such as 0.0.0.0"#),
        "{host}"
    );
    let traffic = refused(&[("QUICKSTART_TRAFFIC", "heavy")]);
    assert!(
        traffic.contains(r#"QUICKSTART_TRAFFIC="heavy": expected on, off or trouble"#),
        "{traffic}"
    );
    let url = refused(&[("DATABASE_URL", "redis://user:secret@host")]);
    assert!(
        url.contains("postgres://, mysql:// or sqlite://") && !url.contains("secret"),
        "{url}"
    );
}

#[test]
fn a_port_in_use_is_named_in_the_error() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let said = refused(&[("PORT", &port)]);
    assert!(
        said.contains(&format!("can't listen on 127.0.0.1:{port}")),
        "{said}"
    );
}

#[test]
fn a_misspelt_variable_causes_a_warning() {
    let example = Example::start("quickstart", &[("PORT", "0"), ("DB_POOL_SZIE", "4")]);
    example.wait_for("did you mean DB_POOL_SIZE?");
    example.wait_for("listening on ");
}

#[test]
fn a_dot_env_is_read_and_the_environment_wins() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = "PORT=0\nDB_POOL_SIZE=ten\nDB_MAX_OVERFLOW=twenty\n";
    std::fs::write(folder.path().join(".env"), file).expect("a file");
    let output = run_in(folder.path(), ("DB_POOL_SIZE", "eleven"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(r#"DB_POOL_SIZE="eleven""#), "{said}");
    assert!(said.contains(r#"DB_MAX_OVERFLOW="twenty""#), "{said}");
}

/// A password with a space, and no quotes around it.
#[test]
fn a_dot_env_that_cannot_be_read_does_not_show_its_passwords() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = "PORT=0\nDATABASE_URL=postgres://app:hush hush@h/db\n";
    std::fs::write(folder.path().join(".env"), file).expect("a file");
    let output = run_in(folder.path(), ("DB_POOL_SIZE", "1"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains(".env: a line can't be read") && !said.contains("hush"),
        "{said}"
    );
}

/// Runs the quickstart, which ends by itself because its settings are invalid.
fn run_in(folder: &Path, (name, value): (&str, &str)) -> Output {
    let test = std::env::current_exe().expect("the path of this program");
    let target = test
        .parent()
        .and_then(Path::parent)
        .expect("target/PROFILE/deps");
    Command::new(target.join("examples/quickstart"))
        .current_dir(folder)
        .env_clear()
        .env(name, value)
        .output()
        .expect("the quickstart is built")
}
