//! Where the intent log of a store lies on the disk, and what the writes to it are.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use fastrand::Rng;

use super::states::{Rot, Window};
use crate::{Chunks, Record};

/// The unit in which its extents are asked for.
const SECTOR: u64 = 512;
/// The places in a log, and the fields of a superblock: see `docs/log-format.md`.
const SLOTS: [u64; 2] = [0, 64 << 10];
const AREA: u64 = 128 << 10;
const SUPERBLOCK: &[u8] = b"RBLTLOG\n";
const START: Range<usize> = 88..104;
const SUPERBLOCK_LEN: usize = 256;

/// The blocks of a log. They were allocated when it was made, and stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogOnDisk {
    extents: Vec<Extent>,
}

/// Bytes of the log that are together on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Extent {
    in_log: u64,
    on_disk: Range<u64>,
}

/// What a cut in a window interrupts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Around {
    /// The start of the log moves: its superblock is written, or is the next or the last thing that was.
    pub(super) checkpoint: bool,
    /// A record goes to the beginning of the area: it is written, or is the next or the last thing that was.
    pub(super) wrap: bool,
}

impl LogOnDisk {
    /// Finds the log of a store on a mounted filesystem.
    pub(super) fn find(store: &Path) -> io::Result<LogOnDisk> {
        let log = store.join(".ringbolt/log");
        let output = Command::new("filefrag").args(["-v", "-b512"]).arg(&log).output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let extents: Vec<Extent> = said.lines().filter_map(extent).collect();
        let len: u64 = extents.iter().map(|extent| extent.on_disk.end - extent.on_disk.start).sum();
        if !output.status.success() || len != std::fs::metadata(&log)?.len() {
            return Err(io::Error::other(format!("filefrag does not find {}: {said}", log.display())));
        }
        Ok(LogOnDisk { extents })
    }

    /// Its ranges of the disk.
    pub(super) fn ranges(&self) -> Vec<Range<u64>> {
        self.extents.iter().map(|extent| extent.on_disk.clone()).collect()
    }

    /// Whether a request writes to the log.
    fn is_written(&self, record: &Record) -> bool {
        self.written(record).is_some()
    }

    /// Which windows are around the move of the log's start, and around its wrap.
    pub(super) fn around(&self, base: &Chunks, log: &[Record], windows: &[Window]) -> Vec<Around> {
        let mut around = vec![Around::default(); windows.len()];
        let near = |place: usize| {
            let at = windows.partition_point(|window| window.end <= place);
            at.saturating_sub(1)..(at + 2).min(windows.len())
        };
        for place in self.starts_moved(base, log) {
            around[near(place)].iter_mut().for_each(|around| around.checkpoint = true);
        }
        let mut last = 0;
        for (place, record) in log.iter().enumerate() {
            let Some((at, _)) = self.written(record).filter(|(at, _)| *at >= AREA) else { continue };
            if at == AREA && last > AREA {
                around[near(place)].iter_mut().for_each(|around| around.wrap = true);
            }
            last = at;
        }
        around
    }

    /// The places of the superblocks that move the start of the log, both of each change.
    pub(super) fn starts_moved(&self, base: &Chunks, log: &[Record]) -> Vec<usize> {
        let before = self.slot(0).map(|at| base.read(at + START.start as u64, START.len())).unwrap_or_default();
        let mut started = [before.clone(), before];
        let mut places = Vec::new();
        for (place, record) in log.iter().enumerate() {
            let Some((at, bytes)) = self.written(record) else { continue };
            let Some(slot) = SLOTS.iter().position(|slot| *slot == at) else { continue };
            let Some(start) = bytes.get(START) else { continue };
            if started[slot] != start {
                started[slot] = start.to_vec();
                places.push(place);
            }
        }
        places
    }

    /// Leaves out the last flush before each move of the start, unless it may be the flush of a write of the log.
    pub(super) fn leave_out_flushes(&self, base: &Chunks, log: &mut [Record]) {
        let moves = self.starts_moved(base, log);
        for place in &moves {
            let is_own = |at: usize| at.checked_sub(1).is_some_and(|before| self.is_written(&log[before]));
            let before = (0..*place).rev().take_while(|at| !moves.contains(at));
            let mut flushes = before.filter(|at| matches!(log[*at], Record::Flush));
            let Some(flush) = flushes.find(|at| !is_own(*at)) else { continue };
            // The device has one flush for all who wait for one.
            let mut waiting =
                log[..flush].iter().rev().take_while(|record| !matches!(record, Record::Flush | Record::Forced));
            if !waiting.any(|record| self.is_written(record)) {
                // Positions stay as they are.
                log[flush] = Record::Zero { offset: 0, len: 0 };
            }
        }
    }

    /// Rot in one of the superblock slots of a disk.
    pub(super) fn rot(&self, content: &Chunks, rng: &mut Rng) -> io::Result<Rot> {
        let slots = (0..SLOTS.len()).filter_map(|slot| self.slot(slot));
        let slots: Vec<u64> = slots.filter(|at| content.read(*at, SUPERBLOCK.len()) == SUPERBLOCK).collect();
        let at = *rng.choice(&slots).ok_or_else(|| io::Error::other("the log has no superblock"))?;
        let count = rng.usize(1..=16);
        let offset = rng.usize(..=SUPERBLOCK_LEN - count) as u64;
        Ok(Rot { offset: at + offset, flips: (0..count).map(|_| rng.u8(1..)).collect() })
    }

    fn slot(&self, slot: usize) -> Option<u64> {
        let holds = |extent: &&Extent| (extent.in_log..extent.in_log + extent.len()).contains(&SLOTS[slot]);
        self.extents.iter().find(holds).map(|extent| extent.on_disk.start + SLOTS[slot] - extent.in_log)
    }

    /// What a request writes to the log, and where in the log.
    fn written<'a>(&self, record: &'a Record) -> Option<(u64, &'a [u8])> {
        let Record::Write { offset, bytes } = record else { return None };
        let extent = self.extents.iter().find(|extent| extent.on_disk.contains(offset))?;
        Some((extent.in_log + offset - extent.on_disk.start, bytes))
    }
}

impl Extent {
    fn len(&self) -> u64 {
        self.on_disk.end - self.on_disk.start
    }
}

/// A line of `filefrag -v`: `number: first.. last of the file: first.. last of the disk: length: flags`.
fn extent(line: &str) -> Option<Extent> {
    let mut fields = line.split(':');
    let _number: u64 = fields.next()?.trim().parse().ok()?;
    let mut block = || fields.next()?.split("..").next()?.trim().parse::<u64>().ok();
    let (in_log, on_disk) = (block()?, block()?);
    let len = block()?;
    Some(Extent { in_log: in_log * SECTOR, on_disk: on_disk * SECTOR..(on_disk + len) * SECTOR })
}

#[cfg(test)]
#[path = "log_on_disk_tests.rs"]
mod tests;
