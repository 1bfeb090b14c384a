//! Benchmarks of a store: concurrent writers, and batches.

use std::path::Path;
use std::thread;
use std::time::Instant;

use bytes::Bytes;

use super::turn::{Latencies, OPERATIONS_MAX, Pace, Subject};
use crate::commit::barrier::Barrier;
use crate::engine::Engine;
use crate::store::Store;

/// How many keys each writer replaces in turn.
pub(super) const KEYS: usize = 4;

/// Threads that each put one file after the other.
pub(super) struct Writers {
    name: String,
    store: Store,
    keys: Vec<Vec<String>>,
    bytes: Bytes,
}

impl Writers {
    pub(super) fn new(
        name: &str,
        dir: &Path,
        (engine, barrier): (Engine, Barrier),
        writers: usize,
        bytes: Bytes,
    ) -> Result<Writers, String> {
        let store = open(dir, engine, barrier)?;
        let keys = (0..writers).map(|w| (0..KEYS).map(|k| format!("{w}-{k}")).collect()).collect();
        Ok(Writers { name: name.to_owned(), store, keys, bytes })
    }
}

impl Subject for Writers {
    fn series(&self) -> Vec<(String, bool)> {
        vec![(self.name.clone(), true)]
    }

    fn turn(&mut self, pace: Pace, latencies: &mut Latencies) -> Result<(), String> {
        let (store, bytes) = (&self.store, &self.bytes);
        let writer = |keys: &[String]| {
            let (mut pace, mut mine) = (pace, Latencies::new(1, OPERATIONS_MAX / 64));
            for key in keys.iter().cycle() {
                let Some(start) = pace.next() else { break };
                store.put(key, bytes.clone()).map_err(|error| error.to_string())?;
                mine.record(start);
            }
            Ok::<_, String>(mine)
        };
        if let [keys] = &*self.keys {
            return writer(keys).map(|mine| add(latencies, &mine));
        }
        thread::scope(|scope| {
            let threads: Vec<_> = self.keys.iter().map(|keys| scope.spawn(|| writer(keys))).collect();
            for thread in threads {
                let mine = thread.join().map_err(|_| "a writer panicked".to_owned())??;
                add(latencies, &mine);
            }
            Ok(())
        })
    }
}

fn add(all: &mut Latencies, mine: &Latencies) {
    all.by_series[0].extend_from_slice(&mine.by_series[0]);
    all.operations += mine.operations;
}

/// Commits one batch after the other. A latency covers a batch; an operation is one file.
pub(super) struct Batches {
    name: String,
    store: Store,
    keys: Vec<String>,
    bytes: Bytes,
}

impl Batches {
    pub(super) fn new(name: &str, dir: &Path, barrier: Barrier, files: usize, bytes: Bytes) -> Result<Batches, String> {
        let store = open(dir, Engine::Auto, barrier)?;
        Ok(Batches { name: name.to_owned(), store, keys: (0..files).map(|i| i.to_string()).collect(), bytes })
    }
}

impl Subject for Batches {
    fn series(&self) -> Vec<(String, bool)> {
        vec![(self.name.clone(), true)]
    }

    fn turn(&mut self, mut pace: Pace, latencies: &mut Latencies) -> Result<(), String> {
        while let Some(start) = pace.next() {
            let made = Instant::now();
            let mut batch = self.store.batch();
            for key in &self.keys {
                batch.put(key, self.bytes.clone());
            }
            // Building the batch is not part of the measurement.
            let making = made.elapsed();
            latencies.excluded += making;
            batch.commit().into_result().map_err(|error| error.to_string())?;
            latencies.record(start + making);
            latencies.operations += self.keys.len() as u64 - 1;
        }
        Ok(())
    }
}

fn open(dir: &Path, engine: Engine, barrier: Barrier) -> Result<Store, String> {
    Store::builder(dir)
        .create_if_missing(true)
        .engine(engine)
        .barrier(barrier)
        .open()
        .map_err(|error| error.to_string())
}
