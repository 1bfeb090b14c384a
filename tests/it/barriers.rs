//! Every combination of engine and barrier.

use std::path::Path;

use ringbolt::{Barrier, Engine, Store, StoreBuilder};

use crate::help::*;

/// The barriers to test. Where the journal barrier or the intent log does not hold, it is the same as the first.
pub(crate) const BARRIERS: [Barrier; 5] =
    [Barrier::Auto, Barrier::PerFile, Barrier::Filesystem, Barrier::JournalOrAuto, Barrier::IntentLogOrAuto];

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoreConfig {
    pub(crate) engine: Engine,
    pub(crate) barrier: Barrier,
}

impl StoreConfig {
    pub(crate) fn builder(self, dir: &Path) -> StoreBuilder {
        let builder = Store::builder(dir).create_if_missing(true).engine(self.engine).barrier(self.barrier);
        builder.log_bytes(1 << 20)
    }

    /// Opens the store, creating it if it does not exist.
    pub(crate) fn open(self, dir: &Path) -> Store {
        self.builder(dir).open().unwrap()
    }
}

/// Runs a test with every combination, each in a fresh directory. Skips, with a message, those that do not work here.
pub(crate) fn each_config(test: impl Fn(StoreConfig, &Path)) {
    for engine in engines() {
        for barrier in BARRIERS {
            let (config, dir) = (StoreConfig { engine, barrier }, dir());
            match config.builder(dir.path()).open() {
                Err(error) if error.is_unsupported_barrier() => skip(&format!("{config:?}"), error),
                store => {
                    drop(store.unwrap());
                    test(config, dir.path());
                }
            }
        }
    }
}
