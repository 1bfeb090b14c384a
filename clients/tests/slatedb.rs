//! SlateDB, a key-value store on object storage, running on ringbolt. Acknowledged writes survive a kill, and its
//! garbage collection, which needs compare and swap, works.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::Path as FsPath;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use ringbolt::object_store::RingboltStore;
use slatedb::Db;
use slatedb::admin::AdminBuilder;
use slatedb::config::{FlushOptions, FlushType, GarbageCollectorDirectoryOptions, GarbageCollectorOptions, Settings};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const DB: &str = "db";

fn settings() -> Settings {
    Settings { flush_interval: Some(Duration::from_millis(5)), garbage_collector_options: None, ..Settings::default() }
}

async fn open(store: Arc<dyn ObjectStore>) -> Result<Db> {
    Ok(Db::builder(DB, store).with_settings(settings()).build().await?)
}

fn ringbolt(dir: &FsPath) -> Result<Arc<dyn ObjectStore>> {
    let store = ringbolt::Store::builder(dir).create_if_missing(true).open()?;
    Ok(Arc::new(RingboltStore::from(store)))
}

/// The child: puts increasing numbers under a few keys, and prints each once it is durable.
#[tokio::test(flavor = "multi_thread")]
async fn writer_to_kill() -> Result<()> {
    let Some(dir) = std::env::var_os("RINGBOLT_TEST_KILL") else { return Ok(()) };
    let db = open(ringbolt(dir.as_ref())?).await?;
    for n in 0u64.. {
        let put = db.put(format!("key{}", n % 10), n.to_le_bytes()).await?;
        put.await_durable().await?;
        // The parent may have closed the pipe.
        if writeln!(std::io::stdout(), "ack {n}").is_err() {
            break;
        }
    }
    Ok(())
}

/// Kills the child while it puts: no acknowledged write is lost, and the database opens again each time.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut acknowledged = BTreeMap::new();
    for round in 0..8u64 {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["writer_to_kill", "--exact", "--nocapture"])
            .env("RINGBOLT_TEST_KILL", dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut told = BufReader::new(child.stdout.take().ok_or("piped")?);
        let number = |line: &str| line.rsplit("ack ").next().and_then(|n| n.trim_end().parse::<u64>().ok());
        let enough = 15 + 7 * round;
        let mut last = None;
        let mut line = String::new();
        // Also read what was printed before the kill, except for an incomplete line.
        while told.read_line(&mut line)? > 0 {
            if line.ends_with('\n') {
                last = number(&line).max(last);
            }
            if last >= Some(enough) {
                child.kill()?;
            }
            line.clear();
        }
        child.wait()?;
        let last = last.ok_or("the child has acknowledged nothing")?;
        for n in 0..=last {
            acknowledged.insert(format!("key{}", n % 10), n);
        }

        let db = open(ringbolt(dir.path())?).await?;
        for (key, n) in &acknowledged {
            let found = db.get(key).await?.ok_or_else(|| format!("round {round}: {key} is lost"))?;
            let found = u64::from_le_bytes(found.as_ref().try_into()?);
            // One more write than acknowledged may have happened.
            assert!(found == *n || found == last + 1, "round {round}: {key} is {found}, acknowledged was {n}");
        }
        db.close().await?;
    }
    Ok(())
}

async fn manifests(store: &dyn ObjectStore) -> Result<usize> {
    Ok(store.list(Some(&Path::from(format!("{DB}/manifest")))).try_collect::<Vec<_>>().await?.len())
}

/// Creates manifests, then collects garbage. Returns the number of manifests before and after.
async fn collect(store: &Arc<dyn ObjectStore>, rounds: std::ops::Range<u64>) -> Result<(usize, usize)> {
    let last = rounds.end - 1;
    for round in rounds {
        let db = open(Arc::clone(store)).await?;
        for key in 0u64..20 {
            db.put(key.to_be_bytes(), round.to_be_bytes()).await?;
        }
        db.flush_with_options(FlushOptions { flush_type: FlushType::MemTable }).await?;
        db.close().await?;
    }
    let before = manifests(&**store).await?;
    let all = Some(GarbageCollectorDirectoryOptions { interval: None, min_age: Duration::ZERO, dry_run: false });
    let options = GarbageCollectorOptions { manifest_options: all, ..GarbageCollectorOptions::default() };
    // SlateDB logs what it cannot collect, but returns no error.
    AdminBuilder::new(DB, Arc::clone(store)).build().run_gc_once(options).await?;
    let after = manifests(&**store).await?;
    let db = open(Arc::clone(store)).await?;
    for key in 0u64..20 {
        assert_eq!(db.get(key.to_be_bytes()).await?.as_deref(), Some(&last.to_be_bytes()[..]));
    }
    db.close().await?;
    Ok((before, after))
}

/// SlateDB records its progress in an object. The first collection creates it; each later one replaces it by compare
/// and swap.
#[tokio::test(flavor = "multi_thread")]
async fn its_garbage_collection_shrinks_the_list_of_manifests_every_time() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let store = ringbolt(dir.path())?;
    for rounds in [0..6, 6..12, 12..18] {
        let (before, after) = collect(&store, rounds).await?;
        assert!(before > 10 && after < 5, "{before} manifests, then {after}");
    }
    Ok(())
}

/// For comparison: object_store's `LocalFileSystem` has no compare and swap, so collection works only once.
#[tokio::test(flavor = "multi_thread")]
async fn on_the_stock_store_of_files_it_shrinks_once() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(dir.path())?);
    let (before, after) = collect(&store, 0..6).await?;
    assert!(before > 10 && after < 5, "{before} manifests, then {after}");
    let (before, after) = collect(&store, 6..12).await?;
    assert!(before > 10 && after == before, "{before} manifests, then {after}: it can compare and swap by now");
    Ok(())
}
