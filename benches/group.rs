//! Group commit of 4 KiB files, by number of writers and by batch size.
//!
//! ```text
//! cargo bench --bench group [-- --save-baseline NAME | --baseline NAME]
//! ```
//!
//! Finds regressions between versions, so it uses a fixed barrier, which does not adapt during a run. An iteration is
//! one put by every writer, or one batch. Throughput is in files. The directory is `RINGBOLT_BENCH_DIR`, or one in the
//! target directory.

mod common;

use std::path::Path;
use std::sync;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringbolt::{Barrier, Engine, Store};

const BYTES: Bytes = Bytes::from_static(&[7; 4096]);
const WRITERS: [usize; 4] = [1, 2, 8, 64];
const FILES: [usize; 3] = [1, 16, 256];

/// The number of keys that each writer replaces in rotation.
const KEYS: u64 = 4;

fn writers(criterion: &mut Criterion) {
    each_store(criterion, "group/writers", &WRITERS, put_at_once);
}

fn batches(criterion: &mut Criterion) {
    each_store(criterion, "group/batch", &FILES, commit_batches);
}

/// Benchmarks `work` on a store with each engine. The arguments of `work` are the files per iteration and the
/// iterations.
fn each_store(criterion: &mut Criterion, name: &str, sizes: &[usize], work: fn(&Store, usize, u64) -> Duration) {
    let base = common::fresh_dir();
    let mut group = common::group(criterion, name);
    for (engine, word) in common::ENGINES {
        let store = match open(&base.path().join(word), engine) {
            Ok(store) => store,
            Err(why) => {
                common::skip(&format!("{name}/{word}"), why);
                continue;
            }
        };
        for files in sizes {
            group.throughput(Throughput::Elements(*files as u64));
            // One-time work is not measured: creating names, and starting threads that sync.
            work(&store, *files, KEYS);
            group.bench_function(BenchmarkId::new(word, files), |bencher| {
                bencher.iter_custom(|iterations| work(&store, *files, iterations));
            });
        }
        store.close().expect("close");
    }
    group.finish();
}

fn open(dir: &Path, engine: Engine) -> ringbolt::Result<Store> {
    Store::builder(dir).create_if_missing(true).engine(engine).barrier(Barrier::PerFile).open()
}

/// Measures from when all threads have started until the last one ends.
fn put_at_once(store: &Store, writers: usize, each: u64) -> Duration {
    let ready = sync::Barrier::new(writers);
    let writer = |writer: usize| {
        let keys: Vec<String> = (0..KEYS).map(|key| format!("{writer}-{key}")).collect();
        ready.wait();
        let begin = Instant::now();
        for key in keys.iter().cycle().take(each as usize) {
            store.put(key, BYTES).expect("put");
        }
        (begin, Instant::now())
    };
    let times: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..writers).map(|w| scope.spawn(move || writer(w))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let begin = times.iter().map(|time| time.0).min().expect("a writer");
    let end = times.iter().map(|time| time.1).max().expect("a writer");
    end - begin
}

/// Building the batches is not timed.
fn commit_batches(store: &Store, files: usize, batches: u64) -> Duration {
    let keys: Vec<String> = (0..files).map(|file| format!("batch-{file}")).collect();
    let mut took = Duration::ZERO;
    for _ in 0..batches {
        let mut batch = store.batch();
        for key in &keys {
            batch.put(key, BYTES);
        }
        let begin = Instant::now();
        batch.commit().into_result().expect("commit");
        took += begin.elapsed();
    }
    took
}

criterion_group!(benches, writers, batches);
criterion_main!(benches);
