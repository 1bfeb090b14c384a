//! The crash states of a log: the possible contents of a disk with a volatile cache after a power cut.
//!
//! Everything before a completed flush is on the disk. Of the writes since then, up to the next flush, any subset may
//! be: the cache writes in any order. Those writes are a [`Window`].

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

/// The writes between two flushes, or after the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Log positions, without the surrounding flushes.
    pub writes: Range<usize>,
    /// The last log position at which a power cut can leave this window's states: the next flush, until it completes.
    pub end: usize,
}

/// A crash state: which part of the log is on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The window of the power cut. Everything before it is on the disk.
    pub window: Window,
    /// Which of its writes are on the disk, as log positions.
    pub kept: Vec<usize>,
    /// A torn write: one of those, of which only these bytes (whole sectors) are on the disk.
    pub torn: Option<(usize, Range<usize>)>,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range { start, end } = self.window.writes;
        write!(f, "cut at {} of the log, with {:?} of the writes {start}..{end}", self.window.end, self.kept)?;
        match &self.torn {
            Some((place, bytes)) => write!(f, ", of write {place} only the bytes {}..{}", bytes.start, bytes.end),
            None => Ok(()),
        }
    }
}

impl State {
    /// Applies the state to a disk that has everything before its window.
    pub fn apply(&self, log: &[Record], chunks: &mut Chunks) {
        for &place in &self.kept {
            match (&self.torn, &log[place]) {
                (Some((torn, bytes)), Record::Write { offset, bytes: all }) if *torn == place => {
                    chunks.write(offset + bytes.start as u64, &all[bytes.clone()]);
                }
                (_, record) => record.apply(chunks),
            }
        }
    }
}

/// The windows of a log, in order. Two consecutive flushes have an empty window between them.
pub fn windows(log: &[Record]) -> Vec<Window> {
    let mut windows = Vec::new();
    let mut begin = 0;
    for (place, record) in log.iter().enumerate() {
        if matches!(record, Record::Flush) {
            windows.push(Window { writes: begin..place, end: place });
            begin = place + 1;
        }
    }
    windows.push(Window { writes: begin..log.len(), end: log.len() });
    windows
}

/// The states of a window. With up to four writes: every subset. With more: none, all, random subsets, single writes,
/// all but one, and the first few. Plus states with a torn write.
pub fn states(window: &Window, log: &[Record], rng: &mut Rng) -> Vec<State> {
    let writes: Vec<usize> = window.writes.clone().collect();
    let state = |kept: Vec<usize>| State { window: window.clone(), kept, torn: None };
    let mut states = Vec::new();
    if writes.len() <= ALL_SUBSETS_UP_TO {
        for subset in 0..1usize << writes.len() {
            states.push(state(
                writes.iter().enumerate().filter(|(i, _)| subset >> i & 1 == 1).map(|(_, w)| *w).collect(),
            ));
        }
    } else {
        states.extend([state(Vec::new()), state(writes.clone())]);
        for _ in 0..RANDOM {
            states.push(state(writes.iter().copied().filter(|_| rng.bool()).collect()));
            let one = writes[rng.usize(..writes.len())];
            states.push(state(vec![one]));
            states.push(state(writes.iter().copied().filter(|place| *place != one).collect()));
            states.push(state(writes[..rng.usize(1..writes.len())].to_vec()));
        }
    }
    states.extend(torn(window, &writes, log, rng));
    states
}

/// A state with one torn write, alone or after the writes before it.
fn torn(window: &Window, writes: &[usize], log: &[Record], rng: &mut Rng) -> Option<State> {
    let sectors = |place: &usize| match &log[*place] {
        Record::Write { bytes, .. } => bytes.len() / SECTOR,
        _ => 0,
    };
    let large: Vec<usize> = writes.iter().copied().filter(|place| sectors(place) >= 2).collect();
    let place = *large.get(rng.usize(..large.len().max(1)))?;
    let cut = rng.usize(1..sectors(&place)) * SECTOR;
    let bytes = if rng.bool() { 0..cut } else { cut..sectors(&place) * SECTOR };
    let kept = if rng.bool() { writes.iter().copied().filter(|other| *other <= place).collect() } else { vec![place] };
    Some(State { window: window.clone(), kept, torn: Some((place, bytes)) })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn write(offset: u64, len: usize) -> Record {
        Record::Write { offset, bytes: Arc::from(vec![offset as u8 + 1; len]) }
    }

    #[test]
    fn windows_lie_between_flushes() {
        let log = [write(0, 512), Record::Flush, Record::Flush, write(1, 512), write(2, 512), Record::Flush];
        let found: Vec<_> = windows(&log).into_iter().map(|window| (window.writes, window.end)).collect();
        assert_eq!(found, [(0..1, 1), (2..2, 2), (3..5, 5), (6..6, 6)]);
    }

    #[test]
    fn every_subset_of_a_few_and_some_of_many() {
        let mut rng = Rng::with_seed(1);
        for count in 0..9 {
            let log: Vec<Record> = (0..count).map(|n| write(n, 512)).collect();
            let window = &windows(&log)[0];
            let mut found = states(window, &log, &mut rng);
            assert!(found.iter().all(|state| state.torn.is_none()), "one sector cannot be torn");
            assert!(found[0].kept.is_empty() && found.iter().any(|state| state.kept.len() == count as usize));
            found.dedup();
            match count {
                0..=4 => assert_eq!(found.len(), 1 << count),
                _ => assert!(found.len() > 12),
            }
        }
    }

    #[test]
    fn a_torn_write_keeps_whole_sectors() {
        let log = [write(0, 4096)];
        for seed in 0..100 {
            let all = states(&windows(&log)[0], &log, &mut Rng::with_seed(seed));
            let torn = all.iter().find(|state| state.torn.is_some()).unwrap();
            let mut chunks = Chunks::new(4096);
            torn.apply(&log, &mut chunks);
            let sectors: Vec<Vec<u8>> = (0..8).map(|n| chunks.read(n * 512, 512)).collect();
            assert!(sectors.iter().all(|sector| sector.iter().all(|byte| *byte == sector[0])));
            let kept = sectors.iter().filter(|sector| sector[0] == 1).count();
            assert!((1..8).contains(&kept), "{torn}: {kept}");
        }
    }
}
