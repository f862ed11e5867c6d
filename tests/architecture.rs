//! Compares the map of modules in `docs/architecture.md` with the files of `src/`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The map in the guide, between its two marks.
fn map() -> &'static str {
    let guide = include_str!("../docs/architecture.md");
    let (_, after) = guide.split_once("<!-- map -->\n").expect("<!-- map -->");
    let (map, _) = after
        .split_once("<!-- end of map -->")
        .expect("<!-- end of map -->");
    map
}

/// Returns the paths in the map, in its order. A folder's path ends with a slash and stands for its
/// `mod.rs`.
fn mapped() -> Vec<String> {
    let lines = map()
        .lines()
        .skip_while(|line| *line != "src/")
        .skip(1)
        .take_while(|line| !line.starts_with("```"));
    let mut folders: Vec<(usize, &str)> = Vec::new();
    let mut paths = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let entry = line.trim_start();
        let indent = line.len() - entry.len();
        let (name, phrase) = entry
            .split_once("  ")
            .unwrap_or_else(|| panic!("no phrase: {line}"));
        assert!(!phrase.trim().is_empty(), "no phrase: {line}");
        folders.retain(|(of, _)| *of < indent);
        let within: String = folders.iter().map(|(_, folder)| *folder).collect();
        paths.push(format!("{within}{name}"));
        if name.ends_with('/') {
            folders.push((indent, name));
        }
    }
    paths
}

/// Collects the files below a folder of `src/`, without test modules: `tests.rs`, and everything in a
/// folder `tests`.
fn collect(folder: &Path, within: &str, files: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        match name {
            "tests" | "tests.rs" => {}
            _ if path.is_dir() => collect(&path, &format!("{within}{name}/"), files),
            "mod.rs" => {
                files.insert(within.to_owned());
            }
            _ if name.ends_with(".rs") => {
                files.insert(format!("{within}{name}"));
            }
            _ => {}
        }
    }
}

#[test]
fn the_map_lists_each_file_exactly_once() {
    let mut files = BTreeSet::new();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    collect(&src, "", &mut files);
    let mut mapped = mapped();
    mapped.sort_unstable();
    let once: BTreeSet<_> = mapped.iter().cloned().collect();
    let twice: Vec<_> = mapped.windows(2).filter(|two| two[0] == two[1]).collect();
    let missing: Vec<_> = files.difference(&once).collect();
    let gone: Vec<_> = once.difference(&files).collect();
    assert!(
        missing.is_empty() && gone.is_empty() && twice.is_empty(),
        "the map in docs/architecture.md, by path below src/ (a folder stands for its mod.rs)\n\
         lacks: {missing:?}\nlists files that do not exist: {gone:?}\nlists twice: {twice:?}"
    );
    assert!(files.len() > 100, "read only a part of src/: {files:?}");
}
