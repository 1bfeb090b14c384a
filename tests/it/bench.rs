//! `ringbolt bench`: its results, its messages, and that it cleans up.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use ringbolt::bench::Results;
use serde_json::Value;

use crate::cli::*;
use crate::help::*;

/// Runs `bench --quick` with these arguments, and returns the results.
fn quick(dir: &Path, args: &[&str]) -> Results {
    let output = run(dir, &[&["bench", "--quick", "--json", "-"], args].concat());
    assert!(output.status.success(), "{output:?}");
    Results::from_json(&output.stdout).unwrap()
}

/// The directories that runs left in `dir`.
fn left(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("ringbolt-bench-")).collect()
}

#[test]
fn a_run_answers_in_a_sentence_and_in_json() {
    let dir = dir();
    let dir = dir.path();
    let results = quick(dir, &[]);
    assert!(left(dir).is_empty());
    assert!(!results.partial);
    let summary = results.summary.as_deref().unwrap();
    assert!(summary.starts_with("A durable replace of 4 KiB costs ") && summary.contains(" % of it is "), "{summary}");
    let steps = ["openat", "write", "fsync", "close", "renameat", "fsync-dir"].map(|step| format!("step/{step}"));
    let others = [
        "replace/plain-calls",
        "floor/overwrite-fdatasync",
        "floor/clean-fsync",
        "method/append-fdatasync",
        "store/1xportable",
    ];
    for name in steps.iter().map(String::as_str).chain(others) {
        let series = results.get(name).unwrap_or_else(|| panic!("{name}"));
        assert!(series.n > 0 && series.p50_us <= series.p99_us && series.p99_us <= series.max_us, "{series:?}");
        assert_eq!(series.rounds_p50_us.len(), 5);
    }
    for engine in engines() {
        let engine = format!("{engine:?}").to_lowercase();
        let replace = if engine == "uring" { "replace/uring-two-stage" } else { "replace/portable" };
        assert!(results.get(replace).is_some(), "{replace}");
    }
    assert!(["store/1xportable", "store/64xportable"].iter().all(|name| results.get(name).is_some()));
    // A replace costs more than the sum of its cheapest calls, and about the sum of all.
    let sum: f64 = steps.iter().map(|step| results.get(step).unwrap().p50_us).sum();
    let whole = results.get("replace/plain-calls").unwrap().p50_us;
    assert!(whole > sum * 0.5 && whole < sum * 5.0, "{whole} {sum}");
}

#[test]
fn every_output_has_every_series() {
    let dir = dir();
    let dir = dir.path();
    fs::write(dir.join("r.csv"), "longer than nothing, and in the way".repeat(1000)).unwrap();
    // The target of a symbolic link is replaced, not the link.
    fs::write(dir.join("real.json"), "old").unwrap();
    std::os::unix::fs::symlink("real.json", dir.join("r.json")).unwrap();
    let args = ["bench", "--quick", "--json", "r.json", "--csv", "r.csv", "--markdown", "r.md", "--html", "r.html"];
    let output = run(dir, &args);
    assert!(output.status.success(), "{output:?}");
    let terminal = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(fs::symlink_metadata(dir.join("r.json")).unwrap().is_symlink());
    assert!(stderr.starts_with("ringbolt: bench: writing at most about ") && stderr.lines().count() == 1, "{stderr}");
    for line in terminal.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let text = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
    let json: Value = serde_json::from_str(&text("r.json")).unwrap();
    assert_eq!(json["schema"], "ringbolt-bench/1");
    for key in ["engine", "engine_reason", "io_uring", "filesystem", "device", "directory_fsync", "warnings"] {
        assert!(!json["environment"][key].is_null(), "{key}");
    }
    let series = json["results"].as_array().unwrap();
    assert_eq!(text("r.csv").lines().count(), series.len() + 1);
    for one in series {
        let name = one["name"].as_str().unwrap();
        for key in ["n", "p50_us", "p90_us", "p99_us", "max_us", "ops_per_s", "rounds_p50_us"] {
            assert!(!one[key].is_null(), "{name} {key}");
        }
        for key in ["flushes_per_op", "writes_per_op", "cpu_us_per_op", "ctx_switches_per_op"] {
            assert!(one.get(key).is_some(), "{name} {key}");
        }
        assert!(text("r.csv").contains(&format!("\n{name},")), "{name}");
        assert!(text("r.md").contains(&format!("| `{name}` |")), "{name}");
        assert!(text("r.html").contains(name), "{name}");
        assert!(terminal.contains(name.split_once('/').unwrap().1), "{name}");
    }
}

#[test]
fn compare_sets_the_exit_status() {
    let dir = dir();
    let dir = dir.path();
    let results = quick(dir, &[]);
    let write = |name: &str, change: &dyn Fn(&mut Results)| {
        let mut results = results.clone();
        // Enough rounds for a confidence interval.
        for series in &mut results.results {
            series.rounds_p50_us = vec![series.p50_us; 7];
        }
        change(&mut results);
        fs::write(dir.join(name), serde_json::to_string(&results).unwrap()).unwrap();
    };
    let slower_by = |factor: f64| {
        move |results: &mut Results| {
            for series in &mut results.results {
                series.p50_us *= factor;
                series.rounds_p50_us.iter_mut().for_each(|us| *us *= factor);
            }
        }
    };
    write("a", &|_| {});
    write("slower", &slower_by(2.0));
    write("faster", &slower_by(0.5));
    write("other", &|results| results.method.size_bytes = 1);
    write("schema", &|results| results.schema = "ringbolt-bench/9".into());
    fs::write(dir.join("broken"), "{\"schema\": \"ringbolt-bench/1\",").unwrap();
    let same = ok(dir, &["bench", "compare", "a", "a"]);
    assert_eq!(same.matches(" same\n").count(), results.results.len(), "{same}");
    assert!(ok(dir, &["bench", "compare", "a", "faster"]).contains(" faster\n"));
    let output = run(dir, &["bench", "compare", "a", "slower"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("+100 %") && text.contains(" slower\n"), "{text}");
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    for (name, says) in [
        ("other", "not comparable: the file sizes differ: 4096 and 1 bytes"),
        ("schema", "\"schema\": unsupported schema \"ringbolt-bench/9\"; this version reads \"ringbolt-bench/1\""),
        ("broken", "\"broken\": not benchmark results: EOF"),
        ("missing", "\"missing\": No such file"),
    ] {
        let text = fails(1, run(dir, &["bench", "compare", "a", name]));
        assert!(text.contains(says), "{text}");
    }
    fails(2, run(dir, &["bench", "compare", "a"]));
}

#[test]
fn demands_decide_the_status() {
    let dir = dir();
    let dir = dir.path();
    let bench = |args: &[&str]| run(dir, &[&["bench", "--quick"], args].concat());
    let output = bench(&["--assert", "replace.p50<1h", "--assert", "replace.max<100s"]);
    assert_eq!(output.status.code(), Some(2), "h is not a unit");
    let output = bench(&["--assert", "replace.max<100s", "--profile", "etcd", "--assert", "step/fsync.p50>0us"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("met: replace.max<100s (replace/portable.max is ") || !cfg!(feature = "portable"), "{text}");
    assert!(
        text.contains("etcd: method/preallocated-fdatasync.p99<10ms") && text.contains("https://etcd.io/"),
        "{text}"
    );
    assert_eq!(output.status.code(), Some(i32::from(text.contains("NOT MET"))));
    let output = bench(&["--assert", "replace.max<1us"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stdout).unwrap().contains("NOT MET: replace.max<1us"));
    // These fail before anything is measured.
    for (args, says) in [
        (["--profile", "nope"], "no profile \"nope\": etcd and openshift are built in"),
        (["--assert", "replace.p99<5"], "a time needs a unit"),
        (["--rate", "0"], "not a number of operations"),
        (["--size", "0"], "0 is not in"),
        (["--json", "no/such/file"], ""),
    ] {
        let output = bench(&args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(says) && !text.contains("writing at most about"), "{text}");
        assert_eq!(output.status.code(), Some(if says.is_empty() { 1 } else { 2 }), "{text}");
    }
    fs::write(
        dir.join("p"),
        r#"{"name":"mine","about":"","source":"s","quote":"q","assertions":["replace.max<100s"]}"#,
    )
    .unwrap();
    assert!(String::from_utf8(bench(&["--profile", "p"]).stdout).unwrap().contains("met: mine: replace.max<100s"));
    assert!(left(dir).is_empty());
}

#[test]
fn only_directories_with_free_space_are_accepted() {
    let dir = dir();
    let dir = dir.path();
    fs::write(dir.join("file"), "precious").unwrap();
    for (path, says) in [
        ("file", "\"file\" is not a directory; give a directory on the disk to measure"),
        ("/dev/null", "is not a directory"),
        ("missing", "cannot stat \"missing\": No such file"),
        ("/proc", "\"/proc\" has 0 MiB free"),
    ] {
        let text = fails(1, run(dir, &["bench", "--quick", path]));
        assert!(text.contains(says), "{text}");
    }
    assert_eq!(fs::read(dir.join("file")).unwrap(), b"precious");
}

/// Ctrl-C: partial results are shown and marked, and the directory is removed.
#[test]
fn ctrl_c_shows_what_was_measured_so_far() {
    use std::io::{BufRead, BufReader, Read};

    use nix::sys::signal::{Signal, kill};
    let dir = dir();
    let mut command = ringbolt(dir.path());
    command.args(["bench", "--json", "-", "--html", "r.html"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It prints this when everything is set up, just before the first turn.
    let mut line = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    stderr.read_line(&mut line).unwrap();
    assert!(line.contains("writing at most about"), "{line}");
    assert_eq!(left(dir.path()).len(), 1);
    kill(nix::unistd::Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let mut json = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut json).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(left(dir.path()).is_empty());
    let results = Results::from_json(&json).unwrap();
    assert!(results.partial && results.results.iter().all(|series| series.rounds_p50_us.len() < 10));
    assert!(fs::read_to_string(dir.path().join("r.html")).unwrap().to_lowercase().contains("partial"));
}

#[test]
fn with_a_rate_it_begins_so_many_a_second() {
    let dir = dir();
    let other = "ringbolt-bench-1-0";
    fs::create_dir(dir.path().join(other)).unwrap();
    let results = quick(dir.path(), &["--rate", "50", "--size", "100"]);
    // The directory of another run is left alone, with a warning.
    assert!(results.warnings.iter().any(|warning| warning.contains(other)), "{:?}", results.warnings);
    assert_eq!(left(dir.path()), [other]);
    assert_eq!((results.method.rate_per_s, results.method.size_bytes), (Some(50.0), 100));
    let series = results.get("floor/clean-fsync").unwrap();
    // Five turns of 30 ms with a start every 20 ms: two per turn, and 50 per second however fast each is.
    assert_eq!((series.n, series.ops_per_s.round()), (10, 50.0));
}

/// If standard output is closed, the files are still written and the exit status is still that of the demands.
#[test]
fn a_closed_pipe_affects_neither_files_nor_status() {
    let dir = dir();
    for (demand, status) in [("replace.max<1us", 1), ("step/fsync.max<1000s", 0)] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = ringbolt(dir.path());
        command.args(["bench", "--quick", "--json", "r.json", "--assert", demand]);
        let output = command.stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        let json = fs::read(dir.path().join("r.json")).unwrap();
        assert!(!Results::from_json(&json).unwrap().partial);
    }
}
