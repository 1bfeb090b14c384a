//! What one durable 4 KiB replace costs: ringbolt's engines, six plain calls, and atomic-write-file, round by round in
//! turn, with 1, 8 and 64 writers. The directory is `RINGBOLT_BENCH_DIR`, else one in the target directory.
//!
//! Prints the median files/s over the rounds, its ratio to the plain calls of the same round, and context switches a file.
#![allow(clippy::print_stdout)]

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use ringbolt::{Engine, Store};

const SIZE: usize = 4096;

/// One of the things that are compared: puts the bytes under a name.
struct Series {
    name: &'static str,
    put: Box<dyn Fn(&str) + Sync>,
}

fn main() {
    // `cargo test --benches` only asks whether it runs.
    let quick = std::env::args().any(|arg| arg == "--test");
    let (rounds, round) = if quick { (1, Duration::from_millis(5)) } else { (9, Duration::from_millis(400)) };
    let base = std::env::var_os("RINGBOLT_BENCH_DIR").map_or_else(|| env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from);
    let dir = tempfile::Builder::new().prefix("ringbolt-bench-").tempdir_in(&base).expect("a directory to write in");
    println!("directory {}, {SIZE} bytes a file, {rounds} rounds of {} ms", base.display(), round.as_millis());

    let all = series(dir.path());
    for writers in [1, 8, 64] {
        let mut rates = vec![Vec::new(); all.len()];
        let mut switches = vec![Vec::new(); all.len()];
        for turn in 0..rounds {
            // The order rotates, so that no series always follows the same one.
            for i in (0..all.len()).map(|i| (i + turn) % all.len()) {
                let (rate, switched) = measure(&all[i], writers, round);
                rates[i].push(rate);
                switches[i].push(switched);
            }
        }
        println!("\n{writers} writer(s)            files/s   x plain (min-max)     switches/file");
        for (i, series) in all.iter().enumerate() {
            let ratios: Vec<f64> = rates[i].iter().zip(&rates[0]).map(|(rate, plain)| rate / plain).collect();
            println!(
                "{:20} {:9.0}   {:.2} ({:.2}-{:.2})   {:10.1}",
                series.name,
                median(&rates[i]),
                median(&ratios),
                ratios.iter().copied().fold(f64::INFINITY, f64::min),
                ratios.iter().copied().fold(0.0, f64::max),
                median(&switches[i])
            );
        }
    }
}

fn series(dir: &Path) -> Vec<Series> {
    let sub = |name: &str| {
        let path = dir.join(name);
        std::fs::create_dir(&path).expect("a fresh directory");
        path
    };
    let (plain, awf) = (sub("plain"), sub("atomic-write-file"));
    let plain_dir = Arc::new(File::open(&plain).expect("just created"));
    let mut all = vec![
        Series { name: "plain calls", put: Box::new(move |name| plain_replace(&plain, &plain_dir, name)) },
        Series { name: "atomic-write-file", put: Box::new(move |name| peer(&awf.join(name))) },
    ];
    for (name, engine) in [("portable", Engine::Portable), ("uring", Engine::Uring)] {
        match Store::builder(sub(name)).engine(engine).open() {
            Ok(store) => {
                all.push(Series { name, put: Box::new(move |key| store.put(key, &[7u8; SIZE][..]).expect("put")) });
            }
            Err(error) => println!("{name}: n/a: {error}"),
        }
    }
    all
}

/// Files/s, and context switches a file.
fn measure(series: &Series, writers: usize, round: Duration) -> (f64, f64) {
    let before = switches();
    let begin = Instant::now();
    let files: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..writers)
            .map(|writer| {
                scope.spawn(move || {
                    let mut files = 0;
                    while begin.elapsed() < round {
                        (series.put)(&format!("{writer}-{}", files % 16));
                        files += 1;
                    }
                    files
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    (files as f64 / begin.elapsed().as_secs_f64(), (switches() - before) as f64 / files as f64)
}

/// The same six calls, as a careful programmer would write them, with a counter for a name.
fn plain_replace(dir: &Path, held: &File, name: &str) {
    let temp = dir.join(format!("{name}.tmp"));
    let mut file = OpenOptions::new().write(true).create_new(true).open(&temp).expect("open");
    file.write_all(&[7u8; SIZE]).expect("write");
    file.sync_all().expect("fsync");
    drop(file);
    std::fs::rename(&temp, dir.join(name)).expect("rename");
    held.sync_all().expect("fsync of the directory");
}

fn peer(path: &Path) {
    let mut file = atomic_write_file::AtomicWriteFile::open(path).expect("open");
    file.write_all(&[7u8; SIZE]).expect("write");
    file.commit().expect("commit");
}

fn switches() -> i64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("getrusage");
    usage.voluntary_context_switches() + usage.involuntary_context_switches()
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
