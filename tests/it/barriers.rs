//! Every way to open a store: each engine with each barrier.

use std::path::Path;

use ringbolt::{Barrier, Engine, Store, StoreBuilder};

use crate::help::*;

/// Where the journal barrier does not hold, the last is as good as the first.
pub(crate) const BARRIERS: [Barrier; 4] =
    [Barrier::Auto, Barrier::PerFile, Barrier::Filesystem, Barrier::JournalOrAuto];

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) engine: Engine,
    pub(crate) barrier: Barrier,
}

impl Way {
    pub(crate) fn builder(self, dir: &Path) -> StoreBuilder {
        Store::builder(dir).create_if_missing(true).engine(self.engine).barrier(self.barrier)
    }

    /// That it works is asserted; where a barrier does not hold, it says so in the place of a test.
    pub(crate) fn open(self, dir: &Path) -> Store {
        self.builder(dir).open().unwrap()
    }
}

/// Runs a test in every way that this machine allows, each in a fresh directory.
pub(crate) fn each_way(test: impl Fn(Way, &Path)) {
    for engine in engines() {
        for barrier in BARRIERS {
            let (way, dir) = (Way { engine, barrier }, dir());
            match way.builder(dir.path()).open() {
                Err(error) if error.is_unsupported_barrier() => skip(&format!("{way:?}"), error),
                store => {
                    drop(store.unwrap());
                    test(way, dir.path());
                }
            }
        }
    }
}
