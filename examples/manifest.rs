//! Data files, then the manifest that names them, in one ordered batch: who sees the manifest sees every file.
//!
//! `cargo run --example manifest [DIR]`: without a directory, in one of its own that it removes. A publish that was cut short leaves
//! files that no manifest names; they are dropped at the next start.
#![allow(clippy::print_stdout, reason = "it shows what it does")]

use std::collections::BTreeSet;
use std::error::Error;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ringbolt::{Reader, Result, Store};

const MANIFEST: &str = "MANIFEST";

/// What the manifest names; nothing before the first.
fn named(reader: &Reader) -> Result<BTreeSet<String>> {
    match reader.get(MANIFEST) {
        Err(error) if error.is_not_found() => Ok(BTreeSet::new()),
        result => Ok(String::from_utf8_lossy(&result?).lines().map(str::to_owned).collect()),
    }
}

/// One commit. Everything before `then` is durable before the manifest changes; and if any of it fails, the manifest does not.
fn publish(store: &Store, generation: u64) -> Result<()> {
    let names: Vec<_> = (0..4).map(|part| format!("data/{generation:06}-{part}")).collect();
    let mut batch = store.batch();
    for name in &names {
        batch.put(name, format!("content of {name}"));
    }
    batch.then().put(MANIFEST, names.join("\n"));
    batch.commit().into_result().map(drop)
}

/// Drops the files that no manifest names. Only while nobody reads by an older one.
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

/// Reads by one manifest after the other until it is told to end; a file that is named and missing is an error.
fn read(reader: &Reader, over: &AtomicBool) -> Result<u64> {
    let mut files = 0;
    loop {
        let last = over.load(Ordering::Acquire);
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

    let over = AtomicBool::new(false);
    let reader = Reader::open(&dir)?; // as another process would
    let files = thread::scope(|scope| {
        let reading = scope.spawn(|| read(&reader, &over));
        let published: Result<()> = (last + 1..=last + 20).try_for_each(|generation| publish(&store, generation));
        over.store(true, Ordering::Release);
        let read = reading.join().expect("every file that is named holds what it should")?;
        published.map(|()| read)
    })?;
    println!("published generations {} to {}", last + 1, last + 20);
    println!("a reader beside it read {files} files that a manifest named, and missed none");

    println!("dropped {} files of older generations", collect(&store)?);
    println!("left: {}", store.list("data/")?.collect::<Result<Vec<_>>>()?.join(", "));
    store.put("data/orphan", "from a publish that was cut short")?;
    Ok(())
}
