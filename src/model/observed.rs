//! An intent log in memory whose every write is a moment of the model.

use std::sync::{Arc, Mutex};

use super::disk::{Content, Name, Place};
use super::engine::Model;
use crate::engine::{EngineKind, Mutant};
use crate::fs::buffer::AlignedBuffer;
use crate::lock;
use crate::log::layout::AREA;
use crate::log::memory::Memory;
use crate::log::record::Change;
use crate::log::scan::scan;
use crate::log::storage::Storage;
use crate::protocol::Version;

/// The changes of a log that are live: the last of each key, with its content or its removal.
pub(super) type Live = Vec<(Place, Option<Content>)>;

/// A log, as it is at one moment.
#[derive(Clone, Debug)]
pub(super) struct Image {
    /// What a restart finds.
    pub(super) disk: Memory,
    /// What was there before each write that is not durable yet, with its offset.
    pub(super) cached: Vec<(u64, Vec<u8>)>,
    /// What recovery would find on each of the disks that a power cut may leave. An error says what is wrong with the log. Empty
    /// during the write of a record that succeeds, for the moments before and behind it have both.
    pub(super) after_cut: Vec<Result<Live, String>>,
}

impl Image {
    fn of(disk: &Memory, cached: &[(u64, Vec<u8>)]) -> Image {
        Image { disk: disk.copy(), cached: cached.to_vec(), after_cut: Vec::new() }
    }

    fn cut(self, mutant: Option<Mutant>) -> Image {
        let image = self;
        let mut after_cut: Vec<_> = image.disks().iter().map(|disk| read_by(mutant, || live(disk))).collect();
        after_cut.dedup();
        Image { after_cut, ..image }
    }

    /// The disks that a power cut may leave: with everything that is cached, without, and with a superblock that is neither.
    /// (Half of a record is none.)
    pub(super) fn disks(&self) -> Vec<Memory> {
        let mut disks = vec![self.disk.clone()];
        if !self.cached.is_empty() {
            let lost = self.disk.copy();
            for (offset, before) in self.cached.iter().rev() {
                let at = *offset as usize;
                lost.damage(|bytes| bytes[at..at + before.len()].copy_from_slice(before));
            }
            let torn = lost.copy();
            // The same bytes again are never torn: each sector is the old one or the new one.
            let changed =
                |(offset, before): &&(u64, Vec<u8>)| self.disk.read(*offset, before.len()).unwrap()[..] != before[..];
            let slots = self.cached.iter().filter(|(offset, _)| *offset < AREA).filter(changed);
            torn.damage(|bytes| slots.for_each(|(offset, _)| bytes[*offset as usize..][..8].fill(0)));
            disks.extend([lost, torn]);
        }
        disks
    }

    /// Every content in it.
    pub(super) fn contents(&self) -> Vec<Content> {
        self.after_cut.iter().flatten().flatten().filter_map(|(_, content)| *content).collect()
    }
}

fn read_by<T>(mutant: Option<Mutant>, read: impl FnOnce() -> T) -> T {
    match mutant {
        Some(mutant) => mutant.within(read),
        None => read(),
    }
}

/// What recovery would write.
fn live(disk: &Memory) -> Result<Live, String> {
    let mut last: Live = Vec::new();
    for record in scan(disk).map_err(|fault| fault.to_string())?.records {
        for entry in &record.entries {
            let place = place(&entry.key);
            last.retain(|(other, _)| *other != place);
            match &entry.change {
                Change::Put(put) => {
                    let bytes = disk.read(record.header.position.offset, record.len as usize).unwrap();
                    let content = Content::of(&bytes[put.value.clone()]);
                    let version = Some(Version::from_nanos(put.version));
                    last.push((place, Some(Content { version, mode: put.mode, ..content })));
                }
                Change::Delete => last.push((place, None)),
                Change::FileRules => {}
            }
        }
    }
    Ok(last)
}

/// The place of a key in the directory `a` or `b`.
pub(super) fn place(key: &str) -> Place {
    let (dir, name) = key.split_once("/k").expect("the keys of the tests");
    Place { dir: u8::from(dir == "b"), name: Name::Key(name.parse().expect("the keys of the tests")) }
}

#[derive(Debug)]
pub(super) struct Observed {
    disk: Memory,
    cached: Mutex<Vec<(u64, Vec<u8>)>>,
    model: Arc<Model>,
    mutant: Option<Mutant>,
}

impl Observed {
    /// A log on this disk, with the writes that its last writer has left in the cache.
    pub(super) fn new(image: &Image, model: &Arc<Model>, mutant: Option<Mutant>) -> Observed {
        let observed = Observed {
            disk: image.disk.clone(),
            cached: Mutex::new(image.cached.clone()),
            model: Arc::clone(model),
            mutant,
        };
        observed.note("the log is opened".into(), &image.cached);
        observed
    }

    /// A clean log on this disk.
    pub(super) fn durable(disk: &Memory, model: &Arc<Model>, mutant: Option<Mutant>) -> Observed {
        Observed::new(&Image { disk: disk.clone(), cached: Vec::new(), after_cut: Vec::new() }, model, mutant)
    }

    fn note(&self, what: String, cached: &[(u64, Vec<u8>)]) {
        self.model.set_log(what, Image::of(&self.disk, cached).cut(self.mutant));
    }
}

impl Storage for Observed {
    fn len(&self) -> u64 {
        self.disk.len()
    }

    fn inode(&self) -> u64 {
        self.disk.inode()
    }

    fn kind(&self) -> EngineKind {
        self.disk.kind()
    }

    fn read(&self, offset: u64, len: usize) -> nix::Result<AlignedBuffer> {
        self.disk.read(offset, len)
    }

    fn write(&self, bytes: &AlignedBuffer, offset: u64) -> nix::Result<()> {
        if offset < AREA {
            self.model.step();
        }
        let before = self.disk.read(offset, bytes.len())?.to_vec();
        let written = self.disk.write(bytes, offset);
        let mut cached = lock(&self.cached);
        if !cached.iter().any(|(other, _)| *other == offset) {
            cached.push((offset, before));
        }
        let what = format!("a write to the log at {offset} reaches the cache: {written:?}");
        if written.is_err() || offset < AREA || self.mutant == Some(Mutant::UnsyncedLog) {
            self.note(what, &cached);
        } else {
            self.model.set_log(what, Image::of(&self.disk, &cached));
        }
        if written.is_ok() && self.mutant != Some(Mutant::UnsyncedLog) {
            // It is durable when it returns, and nothing else is.
            cached.retain(|(other, _)| *other != offset);
            self.note(format!("the write to the log at {offset} is durable"), &cached);
        }
        drop(cached);
        if offset < AREA {
            self.model.step();
        }
        written
    }
}
