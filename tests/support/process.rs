//! Runs the crate's examples as a user would.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::folder::Folder;

const PATIENCE: Duration = Duration::from_secs(60);

/// A running example. Dropping it kills it.
pub struct Example {
    name: String,
    child: Child,
    output: Arc<Output>,
    folder: Folder,
}

/// The output so far, both streams together.
#[derive(Default)]
struct Output {
    lines: Mutex<Lines>,
    grew: Condvar,
}

#[derive(Default)]
struct Lines {
    printed: Vec<String>,
    streams_ended: u8,
}

impl Example {
    /// Starts an example in its own folder and without the developer's settings, so that it reads
    /// neither a `.env` nor the environment of a developer.
    pub fn start(name: &str, environment: &[(&str, &str)]) -> Self {
        let folder = Folder::new(name, None, "TERM");
        let mut command = folder.daemon(find(name));
        for (variable, _) in std::env::vars_os() {
            if is_a_setting(&variable.to_string_lossy()) {
                command.env_remove(variable);
            }
        }
        let mut child = command
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a shell");
        let output = Arc::new(Output::default());
        collect(child.stdout.take().expect("piped"), &output);
        collect(child.stderr.take().expect("piped"), &output);
        Example {
            name: name.to_owned(),
            child,
            output,
            folder,
        }
    }

    /// The folder it runs in, also its `TMPDIR`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until it prints a line that contains `text`, and returns the line.
    ///
    /// # Panics
    /// If it ends, or a minute passes, without such a line.
    pub fn wait_for(&self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.output.lines.lock().expect("no panic");
        loop {
            if let Some(line) = lines.printed.iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || lines.streams_ended == 2 {
                let printed = lines.printed.join("\n");
                panic!(
                    "{} did not print {text:?}. Its output:\n{printed}",
                    self.name
                );
            }
            lines = self
                .output
                .grew
                .wait_timeout(lines, left)
                .expect("no panic")
                .0;
        }
    }

    /// The output so far.
    pub fn output(&self) -> String {
        let lines = self.output.lines.lock().expect("no panic");
        lines.printed.iter().fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "{line}");
            text
        })
    }

    /// Its process ID.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal; `TERM` and `INT` should end it gracefully.
    pub fn signal(&mut self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a child of ours");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it still runs after a minute.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                self.read_to_the_end();
                return status;
            }
            let late = Instant::now() >= deadline;
            assert!(
                !late,
                "{} does not end. Its output:\n{}",
                self.name,
                self.output()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The last output of an ended process may still be in the pipe. The wait is limited, because a
    /// child of the process may hold the other end.
    fn read_to_the_end(&self) {
        let lines = self.output.lines.lock().expect("no panic");
        let ended = |lines: &mut Lines| lines.streams_ended < 2;
        let waited = self
            .output
            .grew
            .wait_timeout_while(lines, Duration::from_secs(5), ended);
        drop(waited.expect("no panic"));
    }

    /// Sends SIGTERM and waits for its end.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.folder.daemon_ended();
    }
}

fn collect(stream: impl Read + Send + 'static, output: &Arc<Output>) {
    let output = Arc::clone(output);
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            output.lines.lock().expect("no panic").printed.push(line);
            output.grew.notify_all();
        }
        output.lines.lock().expect("no panic").streams_ended += 1;
        output.grew.notify_all();
    });
}

pub fn is_a_setting(variable: &str) -> bool {
    let prefixes = [
        "DATABASE_URL",
        "DB_",
        "OTEL_",
        "QUICKSTART_",
        "PORT",
        "RUST_LOG",
    ];
    prefixes.iter().any(|prefix| variable.starts_with(prefix))
}

/// Cargo puts examples beside the folder of the test binaries, and builds them before `cargo test` runs.
fn find(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the path of this program");
    let folder = test
        .parent()
        .and_then(Path::parent)
        .expect("target/PROFILE/deps");
    let program = folder.join("examples").join(name);
    assert!(
        program.is_file(),
        "{} is not built: run `cargo test` or `cargo build --example {name}`",
        program.display()
    );
    program
}
