//! `ringbolt bench` in memory, on full and read-only filesystems, and without /sys; and the system calls that it makes
//! while timing.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use nix::mount::{MsFlags, mount};
use ringbolt::bench::Results;

use crate::cli::*;
use crate::help::*;
use crate::mounts::{EXT4, disk, tmpfs, with_mounts};

#[test]
fn in_memory_it_runs_and_warns_that_nothing_is_durable() {
    with_mounts("a benchmark in memory", |dir| {
        let at = tmpfs(dir.join("t"), "size=256m");
        let output = run(&at, &["bench", "--quick", "--json", "r.json"]);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap().replace('\n', " ");
        assert!(text.contains("(but nothing is durable here)") && text.contains("WARNING: This is tmpfs"), "{text}");
        let results = Results::from_json(&fs::read(at.join("r.json")).unwrap()).unwrap();
        assert!(results.environment.filesystem.volatile && results.environment.device.is_empty());
        assert_eq!(results.get("replace/plain-calls").unwrap().flushes_per_op, None);
    });
}

#[test]
fn a_full_or_read_only_disk_is_refused_before_measuring() {
    with_mounts("a benchmark on a full disk", |dir| {
        let at = tmpfs(dir.join("t"), "size=1m");
        File::create(at.join("ballast")).unwrap().write_all(&[1; 1 << 19]).unwrap();
        let text = fails(1, run(&at, &["bench", "--quick"]));
        assert!(text.contains("has 0 MiB free, but ") && text.contains(" MiB are needed"), "{text}");
        mount(None::<&str>, &at, None::<&str>, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, None::<&str>).unwrap();
        let text = fails(1, run(&at, &["bench", "--quick"]));
        assert!(text.contains("Read-only file system") || text.contains("are needed"), "{text}");
        assert_eq!(fs::read_dir(&at).unwrap().count(), 1);
    });
}

/// On a separate device, only the benchmark causes flushes. Without /sys, flushes are unknown.
#[test]
fn flushes_are_counted_if_the_kernel_reports_them() {
    with_mounts("a benchmark on a disk of its own", |dir| {
        let Some(at) = disk(dir, EXT4, "noatime") else { return };
        let quick = |hidden: bool| {
            if hidden {
                mount(Some("tmpfs"), "/sys", Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
            }
            let output = run(&at, &["bench", "--quick", "--json", "-"]);
            assert!(output.status.success(), "{output:?}");
            Results::from_json(&output.stdout).unwrap()
        };
        let results = quick(false);
        let flushes = |name: &str| results.get(name).unwrap().flushes_per_op.unwrap();
        // Two journal commits, each with a flush before it and a write through the cache (here: another flush) after
        // it.
        assert!((3.5..4.5).contains(&flushes("replace/plain-calls")), "{}", flushes("replace/plain-calls"));
        assert!((0.9..2.1).contains(&flushes("floor/overwrite-fdatasync")));
        assert!(flushes("store/64xportable") < 1.5);
        assert!(results.get("replace/plain-calls").unwrap().kib_per_op.unwrap() >= 4.0);
        let told = |results: &Results| {
            results.warnings.iter().any(|warning| warning.contains("other processes used this disk"))
        };
        assert!(!told(&results), "{:?}", results.warnings);
        let over = std::sync::atomic::AtomicBool::new(false);
        let noisy = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut other = File::create(at.join("other")).unwrap();
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    other.write_all(&[1; 4096]).unwrap();
                    other.sync_data().unwrap();
                }
            });
            // Stop the other writer whatever the result.
            let noisy = std::panic::catch_unwind(|| quick(false));
            over.store(true, std::sync::atomic::Ordering::Relaxed);
            noisy.unwrap()
        });
        assert!(told(&noisy), "{:?}", noisy.warnings);
        let hidden = quick(true);
        assert_eq!(hidden.get("replace/plain-calls").unwrap().flushes_per_op, None);
        assert!(hidden.environment.warnings.iter().any(|warning| warning.what.contains("devices")), "{hidden:?}");
    });
}

/// Only the measured calls happen between two reads of the clock.
#[test]
fn only_measured_calls_happen_while_timing() {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("the calls of a benchmark", "strace is not installed");
    }
    let dir = dir();
    let log = dir.path().join("log");
    let output = Command::new("strace")
        .args(["-o"])
        .arg(&log)
        .args([env!("CARGO_BIN_EXE_ringbolt"), "bench", "--quick"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let calls = fs::read_to_string(log).unwrap();
    let calls: Vec<&str> = calls.lines().collect();
    // The calls of each replace by plain calls, and of the gap to the next.
    let is_begin = |call: &&str| call.contains("\"temporary\", O_WRONLY|O_CREAT|O_EXCL");
    let begins: Vec<usize> = (0..calls.len()).filter(|at| is_begin(&calls[*at])).collect();
    assert!(begins.len() >= 6, "{}", begins.len());
    let name = |call: &str| call.split('(').next().unwrap_or_default().to_owned();
    let mut between = 0;
    for pair in begins.windows(2) {
        let names: Vec<String> = calls[pair[0]..pair[1]].iter().map(|call| name(call)).collect();
        let expected = ["openat", "pwrite64", "fsync", "close", "renameat", "fsync"];
        assert_eq!(names[..6], expected, "{:?}", &calls[pair[0]..pair[1]]);
        between += usize::from(names.len() > 6);
    }
    // More calls happen only between turns, of which there are six, including the warm-up.
    assert!(between <= 5, "{between} of {}", begins.len());
    assert!(is_clean(dir.path()));
}

fn is_clean(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().all(|entry| entry.unwrap().file_name() == "log")
}

/// A series that fails during the run is named, and nothing is left behind.
#[test]
fn a_failure_during_the_run_is_reported() {
    with_mounts("a benchmark on a disk that gives out", |dir| {
        let at = tmpfs(dir.join("t"), "size=256m,nr_inodes=40");
        let output = run(&at, &["bench", "--quick"]);
        let (told, report) = (String::from_utf8(output.stderr).unwrap(), String::from_utf8(output.stdout).unwrap());
        assert_eq!(output.status.code(), Some(1));
        assert!(told.contains("the results are incomplete, because a series failed"), "{told}");
        assert!(
            report.starts_with("PARTIAL") && report.replace('\n', " ").contains("No space left on device"),
            "{report}"
        );
        assert_eq!(fs::read_dir(&at).unwrap().count(), 0);
    });
}
