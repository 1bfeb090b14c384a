use std::sync::{Arc, Mutex, OnceLock, Weak};

use bytes::Bytes;

use super::layout::{AREA, Layout, SLOTS};
use super::memory::Memory;
use super::record::{Change, Entry, Put};
use super::storage::Storage;
use super::superblocks::Superblocks;
use super::writer::{Log, Refused};
use crate::engine::{EngineKind, Payload};
use crate::fs::buffer::AlignedBuffer;
use crate::lock;
use crate::protocol::{Owner, Version};

const LEN: u64 = 256 << 10;

/// A put that takes the longest record.
fn longest() -> [Entry<Payload>; 1] {
    let value = Bytes::from(vec![7; 16_000]).into();
    let put = Put { version: 1, mode: 0o600, owner: Owner { uid: 0, gid: 0 }, value };
    [Entry { key: "k".into(), change: Change::Put(put) }]
}

/// The superblock that is written meanwhile, and what came of the record.
type Appended = (u64, Result<u64, Refused>);

/// A log on which another writer appends before and behind every write of a superblock.
#[derive(Debug)]
struct Contended {
    disk: Memory,
    log: Arc<OnceLock<Weak<Log>>>,
    appended: Arc<Mutex<Vec<Appended>>>,
}

impl Contended {
    fn append(&self, offset: u64) {
        if let Some(log) = self.log.get().and_then(Weak::upgrade) {
            let appended = log.append(&longest(), Version::MIN);
            lock(&self.appended).push((offset, appended));
        }
    }
}

impl Storage for Contended {
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
        if offset >= AREA {
            return self.disk.write(bytes, offset);
        }
        self.append(offset);
        let written = self.disk.write(bytes, offset);
        self.append(offset);
        written
    }
}

/// Until both superblocks name the new start, the old one may be what a restart finds.
#[test]
fn nothing_before_the_start_is_overwritten_while_it_moves() {
    let disk = Memory::new(4096, LEN as usize);
    let superblocks = Superblocks::create(&disk, Layout::new(4096, LEN).unwrap(), [3; 16]).unwrap();
    let (own, appended) = (Arc::new(OnceLock::new()), Arc::new(Mutex::new(Vec::new())));
    let storage = Contended { disk, log: Arc::clone(&own), appended: Arc::clone(&appended) };
    let log = Arc::new(Log::begin(Box::new(storage), superblocks, 1, Version::MIN).unwrap());
    while log.append(&longest(), Version::MIN).is_ok() {}
    own.set(Arc::downgrade(&log)).unwrap();
    log.advance(log.last()).unwrap();
    let full = Err(Refused::Full);
    let [first, second] = SLOTS;
    assert_eq!(*lock(&appended), [(first, full), (first, full), (second, full), (second, full)]);
    log.append(&longest(), Version::MIN).unwrap();
}
