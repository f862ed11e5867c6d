//! Programs that some machines lack: the collector, Jaeger, Prometheus, PgBouncer and Chromium.

use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;

/// Finds a program, or prints which test is skipped and why.
///
/// # Panics
/// If it is not found on a CI machine (`CI` is set), where no test may be skipped.
pub fn find_or_skip(program: &str) -> Option<PathBuf> {
    let found = find(program);
    if found.is_none() {
        let thread = thread::current();
        let test = thread.name().unwrap_or("a test");
        let why = format!(
            "no `{program}` in PATH nor in {}; scripts/test installs it, or prints how",
            cache().display()
        );
        assert!(!is_ci(), "{why}");
        // `eprintln!` would show the text only if the test fails.
        let _ = writeln!(io::stderr(), "skipped: {test}: {why}");
    }
    found
}

/// Searches `POOLSCOPE_BACKENDS`, `PATH`, and the folder where scripts/test builds programs.
fn find(program: &str) -> Option<PathBuf> {
    let chosen = env::var_os("POOLSCOPE_BACKENDS").map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let path: Vec<_> = env::split_paths(&path).collect();
    // Servers are in a folder that only root's `PATH` contains.
    let servers = PathBuf::from("/usr/sbin");
    let folders = chosen.into_iter().chain(path).chain([cache(), servers]);
    folders
        .map(|folder| folder.join(program))
        .find(|file| is_program(file))
}

fn cache() -> PathBuf {
    let set = |variable| env::var_os(variable).filter(|value| !value.is_empty());
    let home = || PathBuf::from(set("HOME").unwrap_or_default()).join(".cache");
    let caches = set("XDG_CACHE_HOME").map_or_else(home, PathBuf::from);
    caches.join("poolscope/backends")
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let metadata = file.metadata();
    metadata.is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

fn is_ci() -> bool {
    env::var_os("CI").is_some_and(|value| !value.is_empty())
}
