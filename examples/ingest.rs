//! Stores many small files from 64 threads. Each file is durable when its put returns.
//!
//! Run `cargo run --release --example ingest [COUNT [DIR]]`. The default is 100,000 files in a temporary directory.
//! Progress goes to standard error. Ctrl-C leaves only complete files: a file gets its name once it is complete and
//! durable, and the next open of the store removes temporary files.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it shows what it does")]

use std::error::Error;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use ringbolt::{Result, Store};

const THREADS: usize = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let fresh = tempfile::tempdir()?;
    let mut args = std::env::args_os().skip(1);
    let count: u64 = args.next().map_or(Ok(100_000), |text| text.to_string_lossy().parse())?;
    let dir = args.next().map_or_else(|| fresh.path().to_owned(), PathBuf::from);
    let store = Store::builder(&dir).create_if_missing(true).open()?;
    eprintln!("{count} files into {dir:?}");

    let (next, done, begin) = (AtomicU64::new(0), AtomicU64::new(0), Instant::now());
    let worker = || -> Result<()> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            // Concurrent puts are made durable together, without an explicit batch. Neighbouring files share a
            // directory, because a commit syncs each of its directories once.
            store.put(format!("{:03}/{number:06}", number / 1000), format!("file {number}\n").repeat(64))?;
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if done.is_multiple_of((count / 20).clamp(1, 5000)) {
                eprintln!("{done} durable, {:.0} a second", done as f64 / begin.elapsed().as_secs_f64());
            }
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(worker)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a worker does not panic"))
    })?;

    let (took, stats) = (begin.elapsed().as_secs_f64(), store.stats());
    let syncs = stats.syncs.files + stats.syncs.ranges + stats.syncs.filesystems + stats.syncs.directories;
    println!("{count} files durable in {took:.2} s: {:.0} a second", count as f64 / took);
    println!("{:.3} syncs a file ({:?})", syncs as f64 / stats.changes.max(1) as f64, stats.syncs);
    println!("{} commits of up to {} files", stats.batches, stats.largest_batch);
    store.close()?;
    Ok(())
}
