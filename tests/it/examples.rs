//! Runs the examples, and checks their output and that they continue after an earlier run.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::help::*;

/// `cargo test` builds the examples, into `examples/` beside the directory of this test.
fn example(name: &str) -> Command {
    let me = std::env::current_exe().unwrap();
    let path: PathBuf = me.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name).with_extension("rs");
    let changed = |path: &Path| fs::metadata(path).and_then(|file| file.modified());
    let is_current = changed(&path).is_ok_and(|built| built >= changed(&source).unwrap());
    assert!(
        is_current,
        "{path:?} is missing or older than its source: before `cargo test --test it`, run `cargo build --all-features --examples`"
    );
    Command::new(path)
}

/// The output of an example.
fn run(name: &str, args: &[&str]) -> String {
    let output = example(name).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {args:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn holds(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.contains(line), "no {line:?} in:\n{text}");
    }
}

#[test]
fn quickstart() {
    let expected = [
        "volumes/7/meta holds \"v1\"\n",
        "v3 came too late; Unchanged\n",
        "one of four failed alone, at the rename\n",
        "keys: motd, volumes/7/meta, volumes/8/meta, volumes/9/meta\n",
        "volumes/9/meta: not found is true, errno Some(2)\n",
        "a key cannot leave the store: invalid name \"../escape\"",
    ];
    let dir = dir();
    let at = dir.path().join("made");
    for _ in 0..2 {
        holds(&run("quickstart", &[at.to_str().unwrap()]), &expected);
    }
    assert_eq!(fs::read(at.join("volumes/7/meta")).unwrap(), b"v2");
    holds(&run("quickstart", &[]), &expected);
}

#[test]
fn raft_vote() {
    let dir = dir();
    for (found, last) in [("None".to_owned(), 8), ("Some(Vote { term: 8, node: 8 })".to_owned(), 16)] {
        let text = run("raft_vote", &[dir.path().to_str().unwrap()]);
        let kept = format!("Some(Vote {{ term: {last}, node: 8 }})");
        let refused = format!("for node 3: refused: a vote in term {last} for node 8 was given before\n");
        let second = format!("term {last} for node 9: refused");
        holds(&text, &[&format!("found: {found}\n"), &format!("kept: {kept}\n"), &refused, &second]);
        assert!(text.ends_with(&format!("reopened: {kept}\n")), "{text}");
    }
}

#[test]
fn manifest() {
    let dir = dir();
    for (found, published, left) in [
        ("found 0 files named, dropped 0 others\n", "published generations 1 to 20\n", "data/000020-0"),
        ("found 4 files named, dropped 1 others\n", "published generations 21 to 40\n", "data/000040-0"),
    ] {
        let text = run("manifest", &[dir.path().to_str().unwrap()]);
        holds(&text, &[found, published, "; none was missing\n", &format!("left: {left}, ")]);
    }
    assert_eq!(fs::read_dir(dir.path().join("data")).unwrap().count(), 5);
}

#[test]
fn ingest() {
    let dir = dir();
    for _ in 0..2 {
        let text = run("ingest", &["2000", dir.path().to_str().unwrap()]);
        holds(&text, &["2000 files durable in ", " a second\n", " syncs a file (", " commits of up to "]);
    }
    assert_eq!(whole_files(dir.path()), 2000);
    let output = example("ingest").arg("many").output().unwrap();
    assert!(!output.status.success() && !output.stderr.is_empty());
}

/// Killed by a signal: every file under its final name is complete, and the next run continues.
#[test]
fn ingest_interrupted() {
    let dir = dir();
    let mut command = example("ingest");
    let mut child = command.args(["1000000"]).arg(dir.path()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains(" durable, ")));
    // Not SIGINT, which shells ignore for background processes; the effect is the same.
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert!(!child.wait().unwrap().success());
    assert!(whole_files(dir.path()) >= 5000);
    run("ingest", &["100", dir.path().to_str().unwrap()]);
    assert!(temporaries(dir.path()).is_empty());
}

/// The number of files, after checking the content of each.
fn whole_files(dir: &Path) -> usize {
    let reader = ringbolt::Reader::open(dir).unwrap();
    let keys = reader.list("").unwrap().map(Result::unwrap);
    let check = |key: String| {
        let number: u64 = key.split('/').next_back().unwrap().parse().unwrap();
        assert!(reader.get(&key).unwrap() == format!("file {number}\n").repeat(64), "{key}");
    };
    keys.map(check).count()
}
