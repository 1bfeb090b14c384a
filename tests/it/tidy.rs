//! Project rules that the compiler does not check.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

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
    let root = root();
    let mut files = Vec::new();
    for part in ["src", "tests", "benches", "examples"] {
        sources(&root.join(part), &mut files);
    }
    assert!(files.len() > 20);
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        assert!(text.lines().count() <= 400, "{name} is too long: split it");
        assert!(
            text.starts_with("//!") || text.starts_with("#![doc") || name.ends_with("_tests.rs"),
            "{name} has no module documentation"
        );
        // One file contains unsafe code; another declares a foreign function that is safe to call.
        let opens = text.contains(&["allow(", "unsafe_code)"].concat());
        assert_eq!(opens, ["src/engine/uring/ring.rs", "src/fs/sys/range.rs"].contains(&&*name), "{name}");
        assert_eq!(text.contains(&["unsafe", " {"].concat()), name == "src/engine/uring/ring.rs", "{name}");
    }
}

/// The Markdown files of the project, by their paths.
fn pages() -> Vec<PathBuf> {
    let dirs = ["", "docs", "benches", "clients", "examples", "fuzz", "rig", "scripts"].map(|dir| root().join(dir));
    let entries = dirs.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|end| end == "md")).collect()
}

/// A page without its code, which may contain brackets.
fn prose(page: &str) -> String {
    let parts = page.split("```").step_by(2);
    parts.flat_map(|part| part.split('`').step_by(2)).collect::<Vec<_>>().join("code")
}

/// The targets of the links and images of a page.
fn targets(page: &str) -> Vec<String> {
    let text = prose(page);
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).map(str::to_owned).collect()
}

/// The fragments that GitHub generates for the headings of a page.
fn fragments(page: &str) -> Vec<String> {
    let slug = |heading: &str| {
        let kept = heading.trim().to_lowercase().replace(' ', "-");
        kept.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
    };
    let headings = page.split("```").step_by(2).flat_map(str::lines).filter(|line| line.starts_with('#'));
    headings.map(|line| slug(line.trim_start_matches('#'))).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    assert!(pages.len() > 10, "{pages:?}");
    let mut count = 0;
    for page in &pages {
        let text = fs::read_to_string(page).unwrap();
        for target in targets(&text).iter().filter(|target| !target.contains("://")) {
            let (path, fragment) = target.split_once('#').unwrap_or((target, ""));
            let file = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            assert!(file.exists(), "{page:?} links to {target}, which does not exist");
            if !fragment.is_empty() {
                let headings = fragments(&fs::read_to_string(&file).unwrap());
                assert!(
                    headings.iter().any(|heading| heading == fragment),
                    "{page:?}: {target} is not in {headings:?}"
                );
            }
            count += 1;
        }
    }
    assert!(count > 20, "{count}");
}

#[test]
fn every_page_in_docs_is_linked_from_the_readme() {
    let readme = targets(&fs::read_to_string(root().join("README.md")).unwrap());
    for page in pages() {
        let path = page.strip_prefix(root()).unwrap().to_str().unwrap();
        if path.starts_with("docs/") {
            assert!(readme.iter().any(|target| target == path), "{path} is not linked");
        }
    }
}

#[test]
fn the_readme_is_short() {
    let lines = fs::read_to_string(root().join("README.md")).unwrap().lines().count();
    assert!(lines <= 200, "{lines} lines: move something to docs/");
}

/// The rooms of `src/`, each of which may use those before it. The last few are adapters on top of the rest: none uses another,
/// but for `measure`, which measures them.
const ROOMS: [&str; 10] = ["error", "protocol", "fs", "engine", "log", "file", "commit", "store", "sidecar", "measure"];

#[test]
fn calls_between_rooms_go_one_way() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut arrows, mut wrong) = (0, Vec::new());
    for (height, room) in ROOMS.iter().enumerate() {
        let mut files = Vec::new();
        sources(&src.join(room), &mut files);
        files.retain(|path| !path.to_str().unwrap().ends_with("tests.rs"));
        assert!(!files.is_empty(), "src/{room} is gone: correct the list of rooms");
        for path in files {
            let text = fs::read_to_string(&path).unwrap();
            let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let code = shipped.lines().filter(|line| !line.trim_start().starts_with("//"));
            for (line, used) in code.flat_map(|line| line.split("crate::").skip(1).map(move |used| (line, used))) {
                let used = used.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap();
                // The one function of lib.rs.
                if used == "lock" {
                    continue;
                }
                arrows += usize::from(used != *room);
                let is_sibling = height >= 8 && *room != "measure" && ROOMS[8..].contains(&used);
                let known = ROOMS.iter().position(|other| *other == used).is_some_and(|other| other <= height);
                if !known || (is_sibling && used != *room) {
                    wrong.push(format!("{}: {line}", path.strip_prefix(&src).unwrap().display()));
                }
            }
        }
    }
    assert!(arrows > 100, "the imports were not read");
    assert_eq!(wrong, Vec::<String>::new(), "these imports go up: {ROOMS:?}");
}

/// Adapters of other crates' traits use what every program can use.
#[test]
fn the_object_store_uses_the_public_api() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src.join("object_store"), &mut files);
    let internal = ["protocol", "fs", "engine", "file", "commit"].map(|room| format!("crate::{room}::"));
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        assert!(!internal.iter().any(|room| text.contains(room.as_str())), "{}", path.display());
    }
}

/// A reader finds a room from the tree alone.
#[test]
fn src_has_few_entries() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let entries: Vec<_> = fs::read_dir(src).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(entries.len() <= 14, "{entries:?}");
}

/// Every invariant names the test that holds it, and there is such a test.
#[test]
fn the_tests_named_in_architecture_exist() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    sources(&root().join("tests"), &mut files);
    let code: String = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    // A test as `#[test]`, a line end and its name, whatever its indentation.
    let code: String = code.split("fn ").map(|part| part.trim_end_matches(' ')).collect();
    let (mut named, mut rows) = (0, 0);
    for row in text.lines().filter(|line| line.starts_with("| ") && line.contains("**")) {
        rows += 1;
        let held_by = row.rsplit('|').nth(1).unwrap();
        for name in held_by.split('`').skip(1).step_by(2) {
            let is_test = code.contains(&format!("#[test]\n{name}()"));
            let exists = is_test || (name.contains('/') && root().join(name).exists());
            assert!(exists, "ARCHITECTURE.md names {name}, which is gone");
            named += 1;
        }
    }
    assert!(rows > 15 && named >= rows, "{named} tests for {rows} invariants");

    // So does every rule of the intent log.
    let text = fs::read_to_string(root().join("docs/intent-log.md")).unwrap();
    let (_, rules) = text.split_once("## The rules").unwrap();
    for name in rules.split('`').skip(1).step_by(2).filter(|name| name.contains('_') && !name.contains('/')) {
        assert!(code.contains(&format!("\n{name}()")), "docs/intent-log.md names {name}, which is gone");
    }
}
