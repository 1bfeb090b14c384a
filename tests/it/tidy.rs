//! Rules of the house that no compiler checks.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn one_file_is_unsafe_and_none_is_long() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for part in ["src", "tests", "benches", "examples"] {
        sources(&root.join(part), &mut files);
    }
    assert!(files.len() > 20);
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        assert!(text.lines().count() <= 400, "{name} is long: does it still hold one noun?");
        assert!(
            text.starts_with("//!") || text.starts_with("#![doc") || name.ends_with("_tests.rs"),
            "{name} says nothing"
        );
        // One file holds unsafe code; another declares a foreign function that is safe to call.
        let opens = text.contains(&["allow(", "unsafe_code)"].concat());
        assert_eq!(opens, ["src/engine/uring/ring.rs", "src/sys/range.rs"].contains(&&*name), "{name}");
        assert_eq!(text.contains(&["unsafe", " {"].concat()), name == "src/engine/uring/ring.rs", "{name}");
    }
}
