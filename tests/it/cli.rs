//! The command: its effects, its messages and its exit status.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::help::*;

pub(crate) fn ringbolt(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringbolt"));
    command.current_dir(dir).stdin(Stdio::null());
    command
}

pub(crate) fn run(dir: &Path, args: &[&str]) -> Output {
    ringbolt(dir).args(args).output().unwrap()
}

#[track_caller]
pub(crate) fn ok(dir: &Path, args: &[&str]) -> String {
    let output = run(dir, args);
    assert!(output.status.success() && output.stderr.is_empty(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Asserts that the command fails with this status and one line on stderr. Returns that line.
#[track_caller]
pub(crate) fn fails(status: i32, output: Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(status), "{output:?}");
    assert!(status == 2 || (text.lines().count() == 1 && text.starts_with("ringbolt: ")), "{text}");
    text
}

fn feed(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The child may exit without reading all of it.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

#[test]
fn put_get_ls_rm() {
    let dir = dir();
    let dir = dir.path();
    fs::write(dir.join("in"), "from a file").unwrap();
    for engine in engines() {
        let engine = format!("{engine:?}").to_lowercase();
        ok(dir, &["put", "s", "a/b", "in", "--engine", &engine]);
        assert_eq!(ok(dir, &["get", "s", "a/b"]), "from a file");
        for len in [0, 1, 1 << 20, (1 << 20) + 1, 5 << 20] {
            let mut command = ringbolt(dir);
            command.args(["put", "s", "piped", "-", "--mode", "640", "--engine", &engine]);
            assert!(feed(command, &pattern(len)).status.success());
            assert!(run(dir, &["get", "s", "piped"]).stdout == pattern(len), "{len}");
            assert_eq!(fs::metadata(dir.join("s/piped")).unwrap().mode() & 0o7777, 0o640);
        }
    }
    assert_eq!(ok(dir, &["ls", "s"]), "a/b\npiped\n");
    assert_eq!(ok(dir, &["ls", "s", "a/"]), "a/b\n");
    assert_eq!(ok(dir, &["ls", "s", "none"]), "");
    let long = ok(dir, &["ls", "s", "--long"]);
    assert!(long.starts_with("0600           11 20") && long.contains("Z a/b\n0640"), "{long}");
    let json: serde_json::Value = serde_json::from_str(&ok(dir, &["ls", "s", "--json"])).unwrap();
    assert_eq!((&json[0]["key"], &json[0]["len"], &json[1]["mode"]), (&"a/b".into(), &11.into(), &"0640".into()));
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&ok(dir, &["ls", "s", "x", "--json"])).unwrap(),
        serde_json::json!([])
    );
    ok(dir, &["rm", "s", "a/b", "piped"]);
    assert_eq!(ok(dir, &["ls", "s"]), "");
}

#[test]
fn errors_name_the_step_the_path_and_the_outcome() {
    let dir = dir();
    let dir = dir.path();
    fs::write(dir.join("in"), "x").unwrap();
    ok(dir, &["put", "s", "k", "in"]);
    let unchanged = "nothing was changed, and any old content is still there";
    let text = fails(1, run(dir, &["put", "s", "k", "in", "--new"]));
    assert!(text.contains("put \"k\": rename failed on \"s/k\"") && text.contains(unchanged), "{text}");
    for key in ["", "..", "/k", ".ringbolt/lock", &"x".repeat(256)] {
        // The key is checked before anything is read or created.
        for args in [&["put", "t", key, "in"][..], &["get", "t", key], &["rm", "t", key]] {
            assert!(fails(2, run(dir, args)).contains("invalid name"), "{key}");
        }
    }
    assert!(fails(1, run(dir, &["put", "s", "k/below", "in"])).contains("Not a directory"));
    assert!(fails(1, run(dir, &["rm", "s", "no"])).contains("unlink failed on \"s/no\""));
    assert!(fails(1, run(dir, &["get", "s", "no"])).contains("No such file"));
    for (args, what) in [
        (&["put", "s", "k", "missing"][..], "cannot open \"missing\""),
        (&["put", "s", "k", "s"], "is a directory"),
        (&["put", "no/parent", "k", "in"], "open of the directory failed on \"no\""),
        (&["put", "in", "k", "in"], "Not a directory"),
        (&["put", "s", "k", "in", "--new"], "File exists"),
    ] {
        let text = fails(1, run(dir, args));
        assert!(text.contains(what) && text.contains(unchanged), "{text}");
    }
    // One that fails does not stop the others.
    ok(dir, &["put", "s", "r1", "in"]);
    ok(dir, &["put", "s", "r2", "in"]);
    assert!(fails(1, run(dir, &["rm", "s", "r1", "no", "r2"])).contains("rm \"no\""));
    assert_eq!(ok(dir, &["ls", "s", "r"]), "");
    // Only successful writes create the directory.
    for args in [&["get", "t", "k"][..], &["ls", "t"], &["rm", "t", "k"], &["put", "t", "k", "missing"]] {
        fails(1, run(dir, args));
        assert!(!dir.join("t").exists(), "{args:?}");
    }
    for args in
        [&[][..], &["put"], &["put", "s", "k", "in", "--mode", "rw"], &["put", "s", "k", "--engine", "x"], &["nope"]]
    {
        fails(2, run(dir, args));
    }
    assert_eq!(ok(dir, &["get", "s", "k"]), "x");
    assert!(temporaries(dir).is_empty());
}

#[test]
fn a_second_writer_gets_the_process_id_of_the_first() {
    let dir = dir();
    let store = ringbolt::Store::create(dir.path()).unwrap();
    let text = fails(1, run(dir.path(), &["put", ".", "k", "-"]));
    assert!(text.contains(&format!("another writer has it open (process {})", std::process::id())), "{text}");
    store.put("k", "x").unwrap();
    assert_eq!(ok(dir.path(), &["get", ".", "k"]), "x");
}

#[test]
fn a_closed_pipe_is_no_error() {
    let dir = dir();
    let store = ringbolt::Store::create(dir.path()).unwrap();
    store.put("large", pattern(4 << 20)).unwrap();
    for args in [&["get", ".", "large"][..], &["man"], &["completions", "bash"], &["ls", ".", "--json"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = ringbolt(dir.path()).args(args).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let output = output.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{args:?}: {output:?}");
    }
}

#[test]
fn ctrl_c_discards_what_is_not_complete() {
    use nix::sys::signal::{Signal, kill};
    for (engine, signal) in
        engines().into_iter().flat_map(|engine| [(engine, Signal::SIGINT), (engine, Signal::SIGTERM)])
    {
        let dir = dir();
        ringbolt::Store::create(dir.path()).unwrap().put("k", "old").unwrap();
        let mut command = ringbolt(dir.path());
        command.args(["put", ".", "k", "--engine", &format!("{engine:?}").to_lowercase()]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        // More than fits in one call, so that a temporary file exists. The pipe stays open.
        input.write_all(&pattern(3 << 20)).unwrap();
        while temporaries(dir.path()).is_empty() {
            std::thread::yield_now();
        }
        kill(nix::unistd::Pid::from_raw(child.id() as i32), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(128 + signal as i32));
        assert!(temporaries(dir.path()).is_empty());
        assert_eq!(fs::read(dir.path().join("k")).unwrap(), b"old");
    }
}

/// Opening a FIFO without a writer must not block Ctrl-C.
#[test]
fn ctrl_c_ends_a_wait_for_a_fifo() {
    use nix::sys::signal::{Signal, kill};
    let dir = dir();
    nix::unistd::mkfifo(&dir.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut child = ringbolt(dir.path()).args(["put", "s", "k", "fifo"]).stderr(Stdio::piped()).spawn().unwrap();
    // Wait until the signals are blocked (SIGHUP, SIGINT, SIGTERM; and SIGXFSZ from the start): then none is lost.
    while !fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default().contains("1004003\n") {
        std::thread::yield_now();
    }
    kill(nix::unistd::Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!dir.path().join("s").exists());
}

#[test]
fn many_directories_need_few_descriptors() {
    let dir = dir();
    let dir = dir.path();
    for i in 0..200 {
        fs::create_dir_all(dir.join(format!("tree/{i}"))).unwrap();
        fs::write(dir.join(format!("tree/{i}/f")), "x").unwrap();
    }
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 64; exec \"$0\" cp tree s", env!("CARGO_BIN_EXE_ringbolt")]).current_dir(dir);
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(ok(dir, &["ls", "s"]).lines().count(), 200);
}

/// With any limit of open files, it works or prints one line with the reason.
#[test]
fn too_few_descriptors_are_reported() {
    for engine in ["auto", "uring"] {
        let dir = dir();
        let dir = dir.path();
        fs::write(dir.join("in"), "new").unwrap();
        let mut refused = 0;
        // A ring's file table counts against the limit even when empty.
        for limit in (4..=24).chain(60..=80) {
            let script = format!("ulimit -n {limit}; exec \"$0\" put s a/k in --engine {engine}");
            let mut shell = Command::new("sh");
            shell.args(["-c", &script, env!("CARGO_BIN_EXE_ringbolt")]).current_dir(dir);
            let output = shell.output().unwrap();
            if !output.status.success() {
                refused += 1;
                // Even the dynamic loader may run out of descriptors.
                let text = String::from_utf8_lossy(&output.stderr);
                assert!(text.contains("open files") || text.contains("ulimit -n") || limit < 5, "{limit}: {text}");
            }
            if dir.join("s").exists() {
                assert!(temporaries(dir).is_empty());
            }
        }
        assert!((1..40).contains(&refused), "{engine}: {refused}");
        assert_eq!(fs::read(dir.join("s/a/k")).unwrap(), b"new");
    }
}

#[test]
fn a_limit_of_file_sizes_is_an_error_and_not_the_end() {
    for engine in engines() {
        let engine = format!("{engine:?}").to_lowercase();
        let dir = dir();
        let dir = dir.path();
        fs::write(dir.join("small"), "old").unwrap();
        fs::write(dir.join("large"), pattern(100 << 10)).unwrap();
        fs::write(dir.join("larger"), pattern(3 << 20)).unwrap();
        ok(dir, &["put", "s", "k", "small", "--engine", &engine]);
        for file in ["large", "larger"] {
            // 64 blocks of 512 bytes: the first write is short, the next one is refused.
            let script = format!("ulimit -f 64; exec \"$0\" put s k {file} --engine {engine}");
            let mut shell = Command::new("sh");
            shell.args(["-c", &script, env!("CARGO_BIN_EXE_ringbolt")]).current_dir(dir);
            let text = fails(1, shell.output().unwrap());
            assert!(text.contains("write of the temporary file failed") && text.contains("File too large"), "{text}");
            assert!(temporaries(dir).is_empty());
            assert_eq!(ok(dir, &["get", "s", "k"]), "old");
        }
    }
}

#[test]
fn cp_copies_trees_and_reports_what_it_skips() {
    let dir = dir();
    let dir = dir.path();
    fs::create_dir_all(dir.join("tree/sub")).unwrap();
    for i in 0..50 {
        fs::write(dir.join(format!("tree/sub/{i}")), pattern(i * 1000)).unwrap();
    }
    fs::write(dir.join("tree/large"), pattern(3 << 20)).unwrap();
    fs::set_permissions(dir.join("tree/large"), fs::Permissions::from_mode(0o751)).unwrap();
    fs::write(dir.join("one"), "1").unwrap();
    ok(dir, &["cp", "tree", "one", "s"]);
    assert_eq!(ok(dir, &["ls", "s"]).lines().count(), 52);
    assert!(fs::read(dir.join("s/tree/large")).unwrap() == pattern(3 << 20));
    assert_eq!(fs::metadata(dir.join("s/tree/large")).unwrap().mode() & 0o7777, 0o751);
    for i in 0..50 {
        assert_eq!(fs::read(dir.join(format!("s/tree/sub/{i}"))).unwrap(), pattern(i * 1000));
    }
    // If one file fails, the others are copied and the status is 1.
    symlink("large", dir.join("tree/link")).unwrap();
    let text = fails(1, run(dir, &["cp", "tree", "missing", "s2"]).clone_first_line());
    assert!(text.contains("not a regular file") || text.contains("No such file"), "{text}");
    assert_eq!(ok(dir, &["ls", "s2"]).lines().count(), 51);
    // A file may be named like the word for standard input.
    fs::write(dir.join("-"), "dash").unwrap();
    ok(dir, &["cp", "-", "s2"]);
    assert_eq!(ok(dir, &["get", "s2", "-"]), "dash");
    ok(dir, &["rm", "s2", "-"]);
    // Only the keys of a store are copied, not its internal files.
    ok(dir, &["cp", "s", "s4"]);
    assert_eq!(ok(dir, &["ls", "s4"]).lines().count(), 52);
    // Two sources for one key: nothing is copied.
    assert!(fails(2, run(dir, &["cp", "one", "tree/../one", "s3"])).contains("would both become \"one\""));
    assert!(!dir.join("s3").exists());
    // The store within the source is not copied into itself.
    let text = fails(1, run(dir, &["cp", ".", "s2"]).clone_first_line());
    assert!(text.contains("the store itself") || text.contains("not a regular file"), "{text}");
    assert!(!dir.join("s2/s2").exists());
    assert!(fails(2, run(dir, &["cp", "one"])).contains("Usage"));
}

trait FirstLine {
    fn clone_first_line(self) -> Output;
}

impl FirstLine for Output {
    /// Keeps only the first line of stderr, because `fails` expects one.
    fn clone_first_line(mut self) -> Output {
        let end = self.stderr.iter().position(|byte| *byte == b'\n').map_or(self.stderr.len(), |at| at + 1);
        self.stderr.truncate(end);
        self
    }
}

#[test]
fn help_manual_and_completions_are_there() {
    let dir = dir();
    let dir = dir.path();
    for command in ["put", "get", "ls", "rm", "cp", "log", "recover", "doctor"] {
        let help = ok(dir, &["help", command]);
        assert!(help.contains("Usage: ringbolt") && help.contains("DIR"), "{help}");
        assert!(ok(dir, &["man", command]).contains(&format!(".TH ringbolt-{command}")));
        assert!(ok(dir, &["man"]).contains(command));
    }
    for (command, says) in
        [("put", "Creates DIR"), ("cp", "bits (rwx) are kept"), ("ls", "--json"), ("rm", "Empty directories stay")]
    {
        assert!(ok(dir, &["help", command]).contains(says));
        assert!(ok(dir, &["man", command]).contains(says.trim_start_matches('-')));
    }
    assert!(ok(dir, &["help"]).contains("Exit status"));
    fails(2, run(dir, &["man", "nope"]));
    for shell in ["bash", "zsh", "fish"] {
        assert!(ok(dir, &["completions", shell]).contains("ringbolt"));
    }
    let text = String::from_utf8(run(dir, &["put", "-v", "s", "k"]).stderr).unwrap();
    assert!(text.starts_with("ringbolt: engine "), "{text}");
}
