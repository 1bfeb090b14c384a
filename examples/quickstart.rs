//! The basics of a store: put, get, list, compare and swap, batches and errors.
//!
//! Run `cargo run --example quickstart [DIR]`; the default is a temporary directory. That is often on a tmpfs, where
//! nothing survives a power cut.
#![allow(clippy::print_stdout, reason = "it shows what it does")]

use std::error::Error;
use std::path::PathBuf;

use ringbolt::{PutOptions, Store};

fn main() -> Result<(), Box<dyn Error>> {
    let fresh = tempfile::tempdir()?;
    let dir = std::env::args_os().nth(1).map_or_else(|| fresh.path().to_owned(), PathBuf::from);
    let store = Store::builder(&dir).create_if_missing(true).open()?; // one writer at a time; readers never block
    println!("engine: {}", store.engine().kind);

    // When `put` returns, the file survives a power cut. Missing directories are created durably.
    let first = store.put("volumes/7/meta", "v1")?;
    let (bytes, version) = store.get_versioned("volumes/7/meta")?;
    assert_eq!((&bytes[..], version), (&b"v1"[..], Some(first)));
    println!("volumes/7/meta holds {:?}", String::from_utf8_lossy(&bytes));

    // Compare and swap: the second put with the same expected version fails and changes nothing.
    store.put_if("volumes/7/meta", first, "v2")?;
    match store.put_if("volumes/7/meta", first, "v3") {
        Err(error) if error.is_version_mismatch() => println!("v3 came too late; {:?}", error.outcome()),
        result => return Err(format!("two of the same version: {result:?}").into()),
    }

    // Change several keys in one commit, with a result for each.
    let mut batch = store.batch();
    batch.put("volumes/8/meta", "v1").put("volumes/9/meta", "v1");
    batch.put_with("motd", "hello\n", PutOptions::new().mode(0o644)).put_new("volumes/7/meta", "taken");
    for result in batch.commit().results() {
        match result {
            Ok(_) => {}
            Err(error) if error.is_already_exists() => println!("one of four failed alone, at the {}", error.step()),
            Err(error) => return Err(error.to_string().into()),
        }
    }
    println!("keys: {}", store.list("")?.collect::<Result<Vec<_>, _>>()?.join(", "));

    store.delete("volumes/9/meta")?;
    let error = store.get("volumes/9/meta").expect_err("it was deleted");
    println!("volumes/9/meta: not found is {}, errno {:?}", error.is_not_found(), error.raw_os_error());
    println!("a key cannot leave the store: {}", store.put("../escape", "x").expect_err("no such key"));
    store.close()?;
    Ok(())
}
