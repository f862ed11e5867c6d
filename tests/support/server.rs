//! Starts, stops, kills and freezes database servers.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::folder::Folder;

/// The time limit for a server to start or to stop; long, because CI machines are small and busy.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);

/// A server and its folder.
pub struct Server {
    pub folder: Folder,
    name: &'static str,
    /// The signal that makes the server drop everything and exit; SIGKILL follows if it does not.
    last_signal: Signal,
    program: PathBuf,
    arguments: Vec<OsString>,
    running: Option<Child>,
}

impl Server {
    pub fn new(
        name: &'static str,
        folder: Folder,
        last_signal: Signal,
        command: (PathBuf, Vec<OsString>),
    ) -> Self {
        Server {
            folder,
            name,
            last_signal,
            program: command.0,
            arguments: command.1,
            running: None,
        }
    }

    /// Starts the server and waits until it `is_ready`.
    pub fn start(&mut self, is_ready: impl Fn(&Folder) -> bool) {
        assert!(self.running.is_none(), "{} is running already", self.name);
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("log"))
            .expect("the server's log");
        let child = self
            .folder
            .daemon(&self.program)
            .args(&self.arguments)
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
        self.running = Some(child);

        let deadline = Instant::now() + PATIENCE;
        while !is_ready(&self.folder) {
            let ended = self.child().try_wait().expect("a child of ours");
            if let Some(status) = ended {
                self.ended();
                panic!(
                    "{} ended with {status} while starting:\n{}",
                    self.name,
                    self.log()
                );
            }
            assert!(
                Instant::now() < deadline,
                "{} not ready after {PATIENCE:?}:\n{}",
                self.name,
                self.log()
            );
            sleep(PAUSE);
        }
    }

    /// Sends a signal to the server's main process, and waits for its end.
    pub fn stop(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.wait().unwrap_or_else(|| {
            panic!(
                "{} still runs {PATIENCE:?} after {signal:?}:\n{}",
                self.name,
                self.log()
            )
        })
    }

    /// Kills all of the server's processes at once, as if its machine failed.
    pub fn kill9(&mut self) {
        let processes = self.freeze();
        for &process in &processes {
            let _ = kill_process(process, Signal::KILL);
        }
        self.wait();
        // They are not our children, so this cannot wait for them; but a new server may refuse to start
        // before they are gone.
        for process in processes {
            while is_alive(process) {
                sleep(PAUSE);
            }
        }
    }

    /// Freezes the server: its sockets stay open and accept bytes, but nothing responds.
    pub fn pause(&mut self) {
        self.freeze();
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&mut self) {
        for process in self.processes() {
            let _ = kill_process(process, Signal::CONT);
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.running
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// The server's log since its first start.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.folder.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn child(&mut self) -> &mut Child {
        let name = self.name;
        self.running
            .as_mut()
            .unwrap_or_else(|| panic!("{name} is not running"))
    }

    fn main_process(&mut self) -> Pid {
        Pid::from_child(self.child())
    }

    fn signal(&mut self, signal: Signal) {
        let main = self.main_process();
        kill_process(main, signal).expect("a child of ours");
    }

    fn wait(&mut self) -> Option<ExitStatus> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child().try_wait().expect("a child of ours") {
                self.ended();
                return Some(status);
            }
            sleep(PAUSE);
        }
        None
    }

    fn ended(&mut self) {
        self.running = None;
        self.folder.daemon_ended();
    }

    /// Freezes the main process first, so that it starts no other meanwhile.
    fn freeze(&mut self) -> Vec<Pid> {
        self.signal(Signal::STOP);
        wait_until_frozen(self.main_process());
        let processes = self.processes();
        for &process in &processes {
            let _ = kill_process(process, Signal::STOP);
        }
        processes.iter().copied().for_each(wait_until_frozen);
        processes
    }

    /// The main process and its children. Postgres has one for each session, each in its own process
    /// group.
    fn processes(&mut self) -> Vec<Pid> {
        let main = self.main_process();
        let children = format!("/proc/{main}/task/{main}/children");
        let children = fs::read_to_string(children).unwrap_or_default();
        let children = children.split_whitespace();
        let children = children.filter_map(|pid| Pid::from_raw(pid.parse().ok()?));
        std::iter::once(main).chain(children).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.running.is_none() {
            return;
        }
        self.resume();
        let main = self.main_process();
        let _ = kill_process(main, self.last_signal);
        let deadline = Instant::now() + Duration::from_secs(2);
        while self.is_running() && Instant::now() < deadline {
            sleep(PAUSE);
        }
        if self.is_running() {
            self.kill9();
        }
        self.ended();
    }
}

/// Runs a command to its end and returns its output without the final newline, or its error message.
pub fn output_of(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        return Ok(printed.trim_end().to_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "{program}: {}\n{complaint}{printed}",
        output.status
    ))
}

/// Database and user names are used in SQL without quotes.
pub fn assert_plain(name: &str) {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    assert!(
        !name.is_empty() && name.chars().all(plain),
        "{name:?}: use a-z, 0-9 and _ only"
    );
}

/// `kill` returns when the signal is sent: a thread may run for a moment longer, and respond to one
/// more query.
fn wait_until_frozen(process: Pid) {
    let runs =
        |thread: fs::DirEntry| !matches!(state(&thread.path()), None | Some('T' | 'Z' | 'X'));
    let any_runs = || {
        let threads = fs::read_dir(format!("/proc/{process}/task"));
        threads.is_ok_and(|threads| threads.flatten().any(runs))
    };
    while any_runs() {
        sleep(Duration::from_millis(1));
    }
}

/// A zombie holds no resources.
fn is_alive(process: Pid) -> bool {
    let state = state(Path::new(&format!("/proc/{process}")));
    !matches!(state, None | Some('Z' | 'X'))
}

/// The state letter of a process or thread: the first field after its name, which is in parentheses.
fn state(folder: &Path) -> Option<char> {
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.trim_start().chars().next()
}
