//! A temporary folder with at most one program running in it. Both are removed however the test ends.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A temporary folder. Its watchdog removes it when it is dropped or the test process ends.
pub struct Folder {
    path: PathBuf,
    account: Option<Account>,
    watchdog: Child,
}

/// Another user, for servers that refuse to run as root.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    user: u32,
    group: u32,
}

impl Folder {
    /// Makes a folder that belongs to `account`, or to the current user.
    ///
    /// `last_signal` (`QUIT`, `TERM`, `KILL`) is what the watchdog sends to the program half a second
    /// before SIGKILL.
    pub fn new(name: &str, account: Option<Account>, last_signal: &str) -> Self {
        let path = tempfile::Builder::new()
            .prefix(&format!("poolscope-{name}-"))
            .tempdir()
            .expect("a temporary folder")
            .keep();
        if let Some(Account { user, group }) = account {
            chown(&path, Some(user), Some(group)).expect("root gives the folder away");
        }
        let watchdog = Command::new("sh")
            .args(["-c", include_str!("watchdog.sh"), "watchdog"])
            .args([path.as_os_str(), OsStr::new(last_signal)])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Not in the test's process group, so that Ctrl-C at a terminal does not end the watchdog
            // early.
            .process_group(0)
            .spawn()
            .expect("a shell for the watchdog");
        Folder {
            path,
            account,
            watchdog,
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file that only the folder's owner can read, as servers require for keys.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.join(name);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        file.write_all(contents.as_ref())
            .expect("a file is written");
        if let Some(Account { user, group }) = self.account {
            chown(&path, Some(user), Some(group)).expect("root gives the file away");
        }
        path
    }

    /// A command that runs as the folder's owner in the folder; the caller waits for its end.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        self.settle(&mut command);
        command
    }

    /// A command for the program that keeps running in the folder.
    ///
    /// It writes its process id to `pid` before it becomes the program, so that the watchdog always
    /// knows it.
    pub fn daemon(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", r#"echo $$ >"$0" && exec "$@""#])
            .arg(self.join("pid"))
            .arg(program)
            .process_group(0);
        self.settle(&mut command);
        command
    }

    /// Notifies the watchdog that the program has ended and has been waited for.
    pub fn daemon_ended(&self) {
        let _ = fs::remove_file(self.join("pid"));
    }

    fn settle(&self, command: &mut Command) {
        command
            .current_dir(&self.path)
            .stdin(Stdio::null())
            // Leaves nothing outside. In a shared folder, a starting MariaDB would remove the
            // temporary tables of another one.
            .env("TMPDIR", &self.path);
        if let Some(Account { user, group }) = self.account {
            command.uid(user).gid(group).env("HOME", &self.path);
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

impl Account {
    /// The account `name` if the tests run as root, else `None`.
    pub fn unless_root_is_fine(name: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let id = |flag| {
            let output = Command::new("id").args([flag, name]).output();
            let output = output.expect("`id` runs").stdout;
            let number = String::from_utf8_lossy(&output);
            number.trim().parse().unwrap_or_else(|_| {
                panic!(
                    "this server refuses to run as root, and there is no user `{name}` to run it"
                )
            })
        };
        Some(Account {
            user: id("-u"),
            group: id("-g"),
        })
    }
}
