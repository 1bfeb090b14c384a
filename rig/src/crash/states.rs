//! The crash states of a log: the possible contents of a disk with a volatile cache after a power cut.
//!
//! Everything before a completed flush is on the disk. Of the writes since then, up to the next flush, any subset may
//! be: the cache writes in any order. Those writes are a [`Window`]. A write with forced unit access is on the disk
//! when it has completed, and leaves the other writes in the cache.

use std::fmt;
use std::ops::Range;

use fastrand::Rng;

use crate::{Chunks, Record};

/// With up to this many writes, every subset is a state.
const ALL_SUBSETS_UP_TO: usize = 4;
/// With more writes, the number of random subsets; and as many states with one write, with all but one, and with the
/// first few.
const RANDOM: usize = 4;
/// The size of a sector, which a disk writes atomically.
const SECTOR: usize = 512;
/// The size of a block: a disk may write those of a long write in any order.
const BLOCK: usize = 4096;

/// The writes between two flushes, or after the last; or the first of these, up to one with forced unit access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Log positions, without the surrounding flushes.
    pub writes: Range<usize>,
    /// Those of them that are on the disk in every state: writes with forced unit access that have completed.
    pub forced: Vec<usize>,
    /// The last log position at which a power cut can leave this window's states: the next flush, or the next write with
    /// forced unit access, until it completes.
    pub end: usize,
}

/// A crash state: which part of the log is on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The window of the power cut. Everything before it is on the disk.
    pub window: Window,
    /// Which of its writes are on the disk, as log positions in order.
    pub kept: Vec<usize>,
    /// A torn write: one of those.
    pub torn: Option<Torn>,
    /// Bytes that have rotted since.
    pub rot: Option<Rot>,
}

/// A write of which only parts are on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Its log position.
    pub place: usize,
    /// The parts: whole sectors.
    pub parts: Vec<Range<usize>>,
    /// Whether it is torn at blocks, in any order, and not at one sector.
    pub in_blocks: bool,
}

/// Bytes of the disk that have changed by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rot {
    /// Where they are.
    pub offset: u64,
    /// Each is combined with one of these (exclusive or).
    pub flips: Vec<u8>,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range { start, end } = self.window.writes;
        write!(f, "cut at {} of the log, with {:?} of the writes {start}..{end}", self.window.end, self.kept)?;
        if let Some(Torn { place, parts, .. }) = &self.torn {
            write!(f, ", of write {place} only the bytes {parts:?}")?;
        }
        match &self.rot {
            Some(Rot { offset, flips }) => write!(f, ", {} rotten bytes at {offset} of the disk", flips.len()),
            None => Ok(()),
        }
    }
}

impl State {
    /// Applies the state to a disk that has everything before its window.
    pub fn apply(&self, log: &[Record], chunks: &mut Chunks) {
        for &place in &self.kept {
            match (&self.torn, &log[place]) {
                (Some(torn), Record::Write { offset, bytes }) if torn.place == place => {
                    for part in &torn.parts {
                        chunks.write(offset + part.start as u64, &bytes[part.clone()]);
                    }
                }
                (_, record) => record.apply(chunks),
            }
        }
        if let Some(rot) = &self.rot {
            rot.apply(chunks);
        }
    }
}

impl Rot {
    /// Changes the bytes of a disk.
    pub fn apply(&self, chunks: &mut Chunks) {
        let Rot { offset, flips } = self;
        let bytes = chunks.read(*offset, flips.len());
        let bytes: Vec<u8> = bytes.iter().zip(flips).map(|(byte, flip)| byte ^ flip).collect();
        chunks.write(*offset, &bytes);
    }
}

/// The windows of a log, in order. Two consecutive flushes have an empty window between them.
pub fn windows(log: &[Record]) -> Vec<Window> {
    let mut windows = Vec::new();
    let mut begin = 0;
    let mut forced: Vec<usize> = Vec::new();
    for (place, record) in log.iter().enumerate() {
        match record {
            Record::Write { .. } | Record::Zero { .. } => {}
            Record::Flush => {
                windows.push(Window { writes: begin..place, forced: std::mem::take(&mut forced), end: place });
                begin = place + 1;
            }
            Record::Forced => {
                windows.push(Window { writes: begin..place, forced: forced.clone(), end: place });
                forced.push(place - 1);
            }
        }
    }
    windows.push(Window { writes: begin..log.len(), forced, end: log.len() });
    windows
}

/// The states of a window. With up to four writes in the cache: every subset. With more: none, all, random subsets, single
/// writes, all but one, and the first few. Plus states with a torn write.
pub fn states(window: &Window, log: &[Record], rng: &mut Rng) -> Vec<State> {
    let is_loose = |place: &usize| {
        matches!(log[*place], Record::Write { .. } | Record::Zero { .. }) && !window.forced.contains(place)
    };
    let loose: Vec<usize> = window.writes.clone().filter(is_loose).collect();
    let mut kept: Vec<Vec<usize>> = Vec::new();
    if loose.len() <= ALL_SUBSETS_UP_TO {
        for subset in 0..1usize << loose.len() {
            kept.push(loose.iter().enumerate().filter(|(i, _)| subset >> i & 1 == 1).map(|(_, w)| *w).collect());
        }
    } else {
        kept.extend([Vec::new(), loose.clone()]);
        for _ in 0..RANDOM {
            kept.push(loose.iter().copied().filter(|_| rng.bool()).collect());
            let one = loose[rng.usize(..loose.len())];
            kept.push(vec![one]);
            kept.push(loose.iter().copied().filter(|place| *place != one).collect());
            kept.push(loose[..rng.usize(1..loose.len())].to_vec());
        }
    }
    let torn = [SECTOR, BLOCK].into_iter().filter_map(|unit| torn(&loose, log, unit, rng));
    let all = kept.into_iter().map(|kept| (kept, None)).chain(torn.map(|(kept, torn)| (kept, Some(torn))));
    let state = |(mut kept, torn): (Vec<usize>, Option<Torn>)| {
        kept.extend(&window.forced);
        kept.sort_unstable();
        State { window: window.clone(), kept, torn, rot: None }
    };
    all.map(state).collect()
}

/// A torn write, alone or after the writes before it: at one sector boundary, or with any of its blocks.
fn torn(loose: &[usize], log: &[Record], unit: usize, rng: &mut Rng) -> Option<(Vec<usize>, Torn)> {
    let units = |place: &usize| match &log[*place] {
        Record::Write { bytes, .. } => bytes.len() / unit,
        _ => 0,
    };
    let large: Vec<usize> = loose.iter().copied().filter(|place| units(place) >= 2).collect();
    let place = *large.get(rng.usize(..large.len().max(1)))?;
    let count = units(&place);
    let in_blocks = unit == BLOCK;
    let parts = if in_blocks {
        // At least one of them, and not all.
        let (one, other) = (rng.usize(..count), rng.usize(1..count));
        let is_kept: Vec<bool> = (0..count).map(|_| rng.bool()).collect();
        let is_kept = |n: usize| n == one || n != (one + other) % count && is_kept[n];
        (0..count).filter(|n| is_kept(*n)).map(|n| n * unit..(n + 1) * unit).collect()
    } else {
        let cut = rng.usize(1..count) * unit;
        vec![if rng.bool() { 0..cut } else { cut..count * unit }]
    };
    let kept = if rng.bool() { loose.iter().copied().filter(|other| *other <= place).collect() } else { vec![place] };
    Some((kept, Torn { place, parts, in_blocks }))
}

#[cfg(test)]
#[path = "states_tests.rs"]
mod tests;
