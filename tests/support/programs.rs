//! Programs that not every machine has: the collector, Jaeger, Prometheus and PgBouncer.

use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;

/// Finds a program, or says which test is skipped and why.
///
/// # Panics
/// When it is not found on a CI machine (`CI` is set): there a test that is skipped proves nothing
/// to anybody.
pub fn find_or_skip(program: &str) -> Option<PathBuf> {
    let found = find(program);
    if found.is_none() {
        let thread = thread::current();
        let test = thread.name().unwrap_or("a test");
        let why = format!(
            "no `{program}` in PATH nor in {}; scripts/test installs it, or says how",
            cache().display()
        );
        assert!(!is_ci(), "{why}");
        // Not by `eprintln!`, whose output is only shown for tests that fail.
        let _ = writeln!(io::stderr(), "skipped: {test}: {why}");
    }
    found
}

/// Looks where `POOLSCOPE_BACKENDS` says, in `PATH`, and where scripts/test puts what it builds.
fn find(program: &str) -> Option<PathBuf> {
    let chosen = env::var_os("POOLSCOPE_BACKENDS").map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let path: Vec<_> = env::split_paths(&path).collect();
    // Servers are in a folder that is in root's `PATH` only.
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
