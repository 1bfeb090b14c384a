//! Puts of 4 KiB through the object_store trait: ringbolt and that crate's own `LocalFileSystem`. Both do the same
//! work, taking turns in each round.
//!
//! ```text
//! cargo bench --bench objects --features object_store [-- IN_FLIGHT...]      default: 1 8 64 256
//! ```
//!
//! The directory is `RINGBOLT_BENCH_DIR`, or one in the target directory; `RINGBOLT_BENCH_ROUNDS` is the number of
//! rounds. Prints Markdown tables like the benchmark `load`; ratios are relative to `LocalFileSystem` with
//! `with_fsync(true)`.
#![allow(clippy::print_stdout)]

#[allow(dead_code, reason = "the benchmark of load asks it for more")]
#[path = "load/machine.rs"]
mod machine;
#[path = "load/rounds.rs"]
mod rounds;
#[path = "load/table.rs"]
mod table;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::{ObjectStore, ObjectStoreExt};
use ringbolt::object_store::RingboltStore;
use ringbolt::{Barrier, Engine, Store};

const BYTES: Bytes = Bytes::from_static(&[7; 4096]);
const TURN: Duration = Duration::from_millis(400);

struct Series {
    name: String,
    store: Arc<dyn ObjectStore>,
    /// The ringbolt store, if it chooses its barrier itself.
    chooses: Option<Arc<Store>>,
}

fn main() {
    // `cargo test --benches` only checks that it runs.
    let quick = std::env::args().any(|arg| arg == "--test");
    let asked: Vec<usize> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let in_flight = if asked.is_empty() { vec![1, 8, 64, 256] } else { asked };
    let rounds = std::env::var("RINGBOLT_BENCH_ROUNDS").ok().and_then(|text| text.parse().ok());
    let rounds = if quick { 1 } else { rounds.unwrap_or(11) };
    let turn = if quick { Duration::from_millis(5) } else { TURN };

    let base = std::env::var_os("RINGBOLT_BENCH_DIR").map_or_else(|| env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from);
    let dir = tempfile::Builder::new().prefix("ringbolt-bench-").tempdir_in(&base).expect("a directory to write in");
    let device = machine::Device::of(dir.path());
    println!("{}", machine::describe(dir.path()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let all = series(dir.path());
    for tasks in in_flight {
        let run = |series: &Series| runtime.block_on(put(&series.store, tasks, turn));
        let table = rounds::compare(rounds, &device, &all, |series| series.name.clone(), run);
        println!("\n### {tasks} puts in flight ({rounds} rounds of {} ms)\n", turn.as_millis());
        table.print("LocalFileSystem");
        for store in all.iter().filter_map(|series| series.chooses.as_ref()) {
            println!("\nRingboltStore: {}", store.stats().barrier.reason);
        }
    }
}

/// The series, each in its own directory. Those that this machine does not support are left out.
fn series(dir: &Path) -> Vec<Series> {
    let fresh = |name: &str| {
        let path = dir.join(name);
        std::fs::create_dir(&path).expect("a directory");
        path
    };
    let local = |name: &str, fsync: bool| {
        let store = LocalFileSystem::new_with_prefix(fresh(name)).expect("a store").with_fsync(fsync);
        Series { name: name.to_owned(), store: Arc::new(store), chooses: None }
    };
    let mut all =
        vec![local("LocalFileSystem, fsync", true), local("LocalFileSystem as by default, not durable", false)];
    for (name, engine, barrier) in [
        ("RingboltStore", Engine::Auto, Barrier::Auto),
        ("RingboltStore, per-file", Engine::Portable, Barrier::PerFile),
        ("RingboltStore, per-file, uring", Engine::Uring, Barrier::PerFile),
        ("RingboltStore, filesystem", Engine::Portable, Barrier::Filesystem),
        ("RingboltStore, journal", Engine::Portable, Barrier::Journal),
    ] {
        match Store::builder(fresh(name)).create_if_missing(true).engine(engine).barrier(barrier).open() {
            Ok(store) => {
                let store = RingboltStore::from(store);
                let chooses = (barrier == Barrier::Auto).then(|| Arc::clone(store.store()));
                all.push(Series { name: name.to_owned(), store: Arc::new(store), chooses });
            }
            Err(why) => println!("n/a: {name}: {why}"),
        }
    }
    all
}

/// Runs this many tasks, each doing one put after the other. Returns the number of objects and the actual duration.
async fn put(store: &Arc<dyn ObjectStore>, tasks: usize, turn: Duration) -> (usize, Duration) {
    let begin = Instant::now();
    let task = |task: usize| {
        let store = Arc::clone(store);
        async move {
            let mut objects = 0;
            while begin.elapsed() < turn {
                let path = format!("d{}/{task}-{}", task % 4, objects % 16).into();
                store.put(&path, BYTES.into()).await.expect("put");
                objects += 1;
            }
            objects
        }
    };
    let mut objects = 0;
    for task in (0..tasks).map(|n| tokio::spawn(task(n))).collect::<Vec<_>>() {
        objects += task.await.expect("no panic");
    }
    (objects, begin.elapsed())
}
