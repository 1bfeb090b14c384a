//! Workloads: a few dozen operations of one kind, as programs use the crate.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use fastrand::Rng;
use ringbolt::sidecar::{KeyId, Purpose, Sidecar, SidecarOptions};
use ringbolt::{Barrier, Engine, PutOptions, Store, WriteOptions};

use super::device::Device;
use super::history::{Effect, Notes};
use super::log_on_disk::LogOnDisk;
use super::operation::Operation;

/// The engine, the barrier and the directory.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// The root of the filesystem.
    pub root: &'a Path,
    /// The engine.
    pub engine: Engine,
    /// The barrier.
    pub barrier: Barrier,
    /// The disk.
    pub device: Device,
}

pub(super) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Runs this many operations. The recording starts after the setup.
pub(super) fn run(operation: Operation, at: Setting<'_>, count: usize, rng: &mut Rng, notes: &Notes) -> Result<()> {
    let mut work = Recorder { at, rng, notes };
    match operation {
        Operation::Write => work.write(count),
        Operation::Open => work.open(count),
        Operation::Put => work.put(count),
        Operation::Delete => work.delete(count),
        Operation::Rename => work.rename(count),
        Operation::Emptied => work.emptied(count),
        Operation::Batch => work.batch(count),
        Operation::Groups => work.groups(count),
        Operation::Crowd => work.crowd(count),
        Operation::Sidecar => work.sidecar(count),
    }
}

impl Setting<'_> {
    /// Opens the store for all store operations.
    pub fn store(&self) -> ringbolt::Result<Store> {
        self.store_at(&self.root.join("store"))
    }

    /// Opens another store.
    pub fn store_at(&self, path: &Path) -> ringbolt::Result<Store> {
        let builder = Store::builder(path).engine(self.engine).barrier(self.barrier).create_if_missing(true);
        // A short log: a run goes round it, and makes checkpoints.
        builder.log_bytes(256 << 10).open()
    }

    /// The path of `keys.json`.
    pub fn sidecar(&self) -> (std::path::PathBuf, SidecarOptions) {
        (self.root.join("keys.json"), SidecarOptions::new().engine(self.engine))
    }
}

struct Recorder<'a, 'r> {
    at: Setting<'a>,
    rng: &'r mut Rng,
    notes: &'a Notes,
}

impl Recorder<'_, '_> {
    fn write(&mut self, count: usize) -> Result<()> {
        self.notes.start();
        for _ in 0..count {
            let key = self.name(12);
            let content = content(self.rng, &key);
            let options = WriteOptions::new().engine(self.at.engine).create_parents(true);
            self.one("write", vec![put(&key, &content)], || options.write(self.at.root.join(&key), content.to_vec()))?;
        }
        Ok(())
    }

    fn open(&mut self, count: usize) -> Result<()> {
        self.notes.start();
        for n in 0..count.div_ceil(8) {
            let store = self.at.store_at(&self.at.root.join(format!("store{n}")))?;
            let key = format!("store{n}/first");
            let content = content(self.rng, &key);
            self.one("first put", vec![put(&key, &content)], || store.put("first", content.to_vec()))?;
            store.close()?;
        }
        Ok(())
    }

    fn put(&mut self, count: usize) -> Result<()> {
        let store = self.at.store()?;
        self.seed(&store, &["old/0", "old/1"])?;
        let mut fresh = 0;
        for _ in 0..count {
            let key = self.name(10);
            let content = content(self.rng, &key);
            let bytes = content.to_vec();
            let effects = vec![put(&key, &content)];
            match self.rng.usize(..6) {
                0 => {
                    fresh += 1;
                    let key = format!("new/{fresh}");
                    let effects = vec![put(&key, &content)];
                    self.one("put_new", effects, || store.put_new(&key, bytes))?;
                }
                1 => {
                    let (_, version) = store.get_versioned("old/0")?;
                    let version = version.expect("the filesystems here keep versions");
                    self.one("put_if", vec![put("old/0", &content)], || store.put_if("old/0", version, bytes))?;
                }
                2 => {
                    let options = PutOptions::new().mode(0o640);
                    let mut file = store.writer(&key, options)?;
                    file.write_all(&bytes)?;
                    self.one("commit of a file", effects, || file.commit())?;
                }
                _ => drop(self.one("put", effects, || store.put(&key, bytes))?),
            }
        }
        Ok(store.close()?)
    }

    fn delete(&mut self, count: usize) -> Result<()> {
        let store = self.at.store()?;
        let keys: Vec<String> = (0..count).map(|n| format!("{}/{n}", ["a", "b", "a/c"][n % 3])).collect();
        self.seed(&store, &keys)?;
        for key in &keys {
            self.one("delete", vec![(key.clone(), None)], || store.delete(key))?;
        }
        Ok(store.close()?)
    }

    fn rename(&mut self, count: usize) -> Result<()> {
        let store = self.at.store()?;
        let keys: Vec<String> = (0..count).map(|n| format!("{}/{n}", ["a", "b", "a/c"][n % 3])).collect();
        self.seed(&store, &keys)?;
        for (n, from) in keys.iter().enumerate() {
            let to = match self.rng.usize(..4) {
                0 => format!("{}.new", from),
                1 => format!("deep/er/{n}"),
                // Rename over a file that was already renamed, never over one still to be renamed.
                _ => format!("b/target{}", self.rng.usize(..3)),
            };
            let content: Arc<[u8]> = store.get(from)?.to_vec().into();
            self.one("rename", vec![(from.clone(), None), put(&to, &content)], || store.rename(from, &to))?;
        }
        Ok(store.close()?)
    }

    fn emptied(&mut self, count: usize) -> Result<()> {
        let store = self.at.store()?;
        self.seed(&store, &["other"])?;
        for n in 0..count.div_ceil(4) {
            let place = format!("e{}", n % 3);
            let key = format!("{place}/deep/er");
            let inside = content(self.rng, &key);
            self.one("put into a directory", vec![put(&key, &inside)], || store.put(&key, inside.to_vec()))?;
            self.one("delete that empties it", vec![(key.clone(), None)], || store.delete(&key))?;
            let instead = content(self.rng, &place);
            let create = || store.put_with(&place, instead.to_vec(), PutOptions::new().create_new(n % 2 == 1));
            self.one("put in its place", vec![put(&place, &instead)], create)?;
            self.one("delete", vec![(place.clone(), None)], || store.delete(&place))?;
        }
        Ok(store.close()?)
    }

    fn batch(&mut self, count: usize) -> Result<()> {
        const EACH: usize = 8;
        let store = self.at.store()?;
        let seeds: Vec<String> = (0..count).map(|n| format!("s/{n}")).collect();
        self.seed(&store, &seeds)?;
        for n in 0..count.div_ceil(EACH) {
            let mut batch = store.batch();
            let mut begun = Vec::new();
            for i in 0..EACH {
                let seed = seeds.get(n * EACH + i);
                match (self.rng.usize(..6), seed) {
                    (0, Some(seed)) => {
                        begun.push(self.notes.begin("delete in a batch", vec![(seed.clone(), None)], None));
                        batch.delete(seed);
                    }
                    (1, Some(seed)) => {
                        let to = format!("moved/{n}.{i}");
                        let content: Arc<[u8]> = store.get(seed)?.to_vec().into();
                        let effects = vec![(seed.clone(), None), put(&to, &content)];
                        begun.push(self.notes.begin("rename in a batch", effects, None));
                        batch.rename(seed, to);
                    }
                    (kind, _) => {
                        // Use each key only once per batch: the rule does not say which of two changes is visible.
                        let key = if kind < 4 { format!("r/{i}") } else { format!("d{}/{n}.{i}", i % 2) };
                        let content = content(self.rng, &key);
                        begun.push(self.notes.begin("put in a batch", vec![put(&key, &content)], None));
                        batch.put(&key, content.to_vec());
                    }
                }
            }
            batch.commit().into_result()?;
            begun.into_iter().for_each(|op| self.notes.acknowledge(op));
        }
        Ok(store.close()?)
    }

    fn groups(&mut self, count: usize) -> Result<()> {
        const FILES: usize = 5;
        let store = self.at.store()?;
        self.seed(&store, &["MANIFEST", "CURRENT"])?;
        for n in 0..count.div_ceil(FILES + 2) {
            let mut batch = store.batch();
            let files: Vec<String> = (0..FILES).map(|i| format!("data{}/{n}.{i}", i % 2)).collect();
            let groups = [files, vec!["MANIFEST".to_owned()], vec!["CURRENT".to_owned()]];
            let mut begun: Vec<usize> = Vec::new();
            for group in &groups {
                let contents: Vec<Arc<[u8]>> = group.iter().map(|key| content(self.rng, key)).collect();
                let effects = group.iter().zip(&contents).map(|(key, content)| put(key, content)).collect();
                if !begun.is_empty() {
                    batch.then();
                }
                begun.push(self.notes.begin("ordered group", effects, begun.last().copied()));
                for (key, content) in group.iter().zip(contents) {
                    batch.put(key, content.to_vec());
                }
            }
            batch.commit().into_result()?;
            begun.into_iter().for_each(|op| self.notes.acknowledge(op));
        }
        Ok(store.close()?)
    }

    fn crowd(&mut self, count: usize) -> Result<()> {
        const WRITERS: usize = 4;
        let store = self.at.store()?;
        self.seed(&store, &["d0/0", "d1/1"])?;
        let seeds: Vec<u64> = (0..WRITERS).map(|_| self.rng.u64(..)).collect();
        thread::scope(|scope| {
            let writers = seeds.into_iter().enumerate().map(|(writer, seed)| {
                let (store, notes) = (&store, self.notes);
                scope.spawn(move || -> Result<()> {
                    let mut rng = Rng::with_seed(seed);
                    for n in 0..count.div_ceil(WRITERS) {
                        let key = match rng.usize(..3) {
                            0 => format!("d{}/{writer}.{n}", n % 2),
                            _ => format!("d{}/{writer}", rng.usize(..2)),
                        };
                        let content = content(&mut rng, &key);
                        let op = notes.begin("put of one of four", vec![put(&key, &content)], None);
                        store.put(&key, content.to_vec())?;
                        notes.acknowledge(op);
                    }
                    Ok(())
                })
            });
            let writers: Vec<_> = writers.collect();
            // Checkpoints, one after the other, while the log is written. An error of one poisons the store, and so ends the writers.
            while self.at.barrier == Barrier::IntentLog && writers.iter().any(|writer| !writer.is_finished()) {
                if store.checkpoint().is_err() {
                    break;
                }
            }
            writers.into_iter().try_for_each(|writer| writer.join().unwrap_or_else(|_| Err("a writer panicked".into())))
        })?;
        Ok(store.close()?)
    }

    fn sidecar(&mut self, count: usize) -> Result<()> {
        let (path, options) = self.at.sidecar();
        let read = || -> Result<Vec<Effect>> { Ok(vec![put("keys.json", &std::fs::read(&path)?.into())]) };
        self.notes.start();
        let op = self.notes.begin("create", Vec::new(), None);
        let store = options.create(&path, Sidecar::default())?;
        self.notes.acknowledge_with(op, read()?);
        let mut id: Option<KeyId> = None;
        for _ in 0..count {
            let op = self.notes.begin("change of the sidecar", Vec::new(), None);
            match (self.rng.usize(..4), id) {
                (0, _) | (_, None) => id = Some(store.rotate(Purpose::Storage, vec![self.rng.u8(..); 60])?),
                (1, Some(_)) => store.update(|sidecar| sidecar.raft_applied_index += 1)?,
                (_, Some(id)) => drop(store.bump_local_epoch(id)?),
            }
            self.notes.acknowledge_with(op, read()?);
        }
        Ok(())
    }

    /// Runs one operation, and records its begin and acknowledgement.
    fn one<T, E: Into<Box<dyn Error + Send + Sync>>>(
        &self,
        what: &'static str,
        effects: Vec<Effect>,
        act: impl FnOnce() -> std::result::Result<T, E>,
    ) -> Result<T> {
        let op = self.notes.begin(what, effects, None);
        let done = act().map_err(Into::into)?;
        self.notes.acknowledge(op);
        Ok(done)
    }

    /// Puts the initial files, then starts recording.
    fn seed(&self, store: &Store, keys: &[impl AsRef<str>]) -> Result<()> {
        for key in keys {
            let key = key.as_ref();
            let content: Arc<[u8]> = format!("{key} as it was").into_bytes().into();
            self.one("seed", vec![put(key, &content)], || store.put(key, content.to_vec()))?;
        }
        nix::unistd::syncfs(std::fs::File::open(self.at.root)?)?;
        if self.at.barrier == Barrier::IntentLog {
            self.notes.log_is_at(LogOnDisk::find(store.path())?, self.at.device == Device::Fua);
        }
        self.notes.start();
        Ok(())
    }

    /// Chooses a name: at the top level, in a shared directory, or in its own directory.
    fn name(&mut self, many: usize) -> String {
        let n = self.rng.usize(..many);
        match n % 3 {
            0 => format!("f{n}"),
            1 => format!("dir/f{n}"),
            _ => format!("new{}/a/b/f{n}", self.rng.usize(..many)),
        }
    }
}

fn put(key: &str, content: &Arc<[u8]>) -> Effect {
    (key.to_owned(), Some(Arc::clone(content)))
}

/// A unique content, from part of a block to many blocks.
fn content(rng: &mut Rng, key: &str) -> Arc<[u8]> {
    let len = *rng.choice(&[17, 100, 4096, 4097, 12_288, 40_000]).unwrap_or(&17);
    let mut bytes = Vec::with_capacity(len + 64);
    let head = format!("{:016x} {key}\n", rng.u64(..));
    bytes.extend_from_slice(head.as_bytes());
    bytes.extend(std::iter::repeat_with(|| rng.u8(..)).take(len.saturating_sub(head.len())));
    bytes.into()
}
