//! Publishes data files, then the manifest that names them, in one ordered batch. A reader that sees the manifest sees
//! every file.
//!
//! Run `cargo run --example manifest [DIR]`; the default is a temporary directory. An interrupted publish leaves files
//! that no manifest names; the next start removes them.
#![allow(clippy::print_stdout, reason = "it shows what it does")]

use std::collections::BTreeSet;
use std::error::Error;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ringbolt::{Reader, Result, Store};

const MANIFEST: &str = "MANIFEST";

/// The files named by the manifest; empty if there is none yet.
fn named(reader: &Reader) -> Result<BTreeSet<String>> {
    match reader.get(MANIFEST) {
        Err(error) if error.is_not_found() => Ok(BTreeSet::new()),
        result => Ok(String::from_utf8_lossy(&result?).lines().map(str::to_owned).collect()),
    }
}

/// Publishes in one commit. Everything before `then` is durable before the manifest changes. If any of it fails, the
/// manifest is unchanged.
fn publish(store: &Store, generation: u64) -> Result<()> {
    let names: Vec<_> = (0..4).map(|part| format!("data/{generation:06}-{part}")).collect();
    let mut batch = store.batch();
    for name in &names {
        batch.put(name, format!("content of {name}"));
    }
    batch.then().put(MANIFEST, names.join("\n"));
    batch.commit().into_result().map(drop)
}

/// Removes the files that the manifest does not name. Call this only when no reader uses an older manifest.
fn collect(store: &Store) -> Result<usize> {
    let named = named(&store.reader())?;
    let mut batch = store.batch();
    for key in store.list("data/")? {
        let key = key?;
        if !named.contains(&key) {
            batch.delete(key);
        }
    }
    batch.commit().into_result().map(|dropped| dropped.len())
}

/// Reads all files of the current manifest, repeatedly, until `done` is set. A missing file is an error.
fn read(reader: &Reader, done: &AtomicBool) -> Result<u64> {
    let mut files = 0;
    loop {
        let last = done.load(Ordering::Acquire);
        for name in named(reader)? {
            assert_eq!(reader.get(&name)?, format!("content of {name}"));
            files += 1;
        }
        if last {
            return Ok(files);
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let fresh = tempfile::tempdir()?;
    let dir = std::env::args_os().nth(1).map_or_else(|| fresh.path().to_owned(), PathBuf::from);
    let store = Store::builder(&dir).create_if_missing(true).open()?;
    let found = named(&store.reader())?;
    println!("found {} files named, dropped {} others", found.len(), collect(&store)?);
    let last = found.last().and_then(|name| name.get(5..11)?.parse().ok()).unwrap_or(0);

    let done = AtomicBool::new(false);
    let reader = Reader::open(&dir)?; // another process can do the same
    let files = thread::scope(|scope| {
        let reading = scope.spawn(|| read(&reader, &done));
        let published: Result<()> = (last + 1..=last + 20).try_for_each(|generation| publish(&store, generation));
        done.store(true, Ordering::Release);
        let read = reading.join().expect("every file that is named holds what it should")?;
        published.map(|()| read)
    })?;
    println!("published generations {} to {}", last + 1, last + 20);
    println!("a concurrent reader read {files} files named by manifests; none was missing");

    println!("dropped {} files of older generations", collect(&store)?);
    println!("left: {}", store.list("data/")?.collect::<Result<Vec<_>>>()?.join(", "));
    store.put("data/orphan", "from a publish that was cut short")?;
    Ok(())
}
