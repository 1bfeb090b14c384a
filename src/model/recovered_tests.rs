//! Recoveries by the real code, from what kills and power cuts leave of a committer with a log.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use nix::sys::stat::futimens;

use super::commit_tests::{Do, Rig, rig_on, scratch, sound, tell};
use super::crash::Tree;
use super::disk::{Disk, Filesystem, Name, Place};
use super::history::{History, Moment};
use super::log_tests::logged;
use super::observed::{Image, Observed};
use super::recovery;
use crate::commit::barrier::BarrierKind;
use crate::engine::Mutant;
use crate::log::recovery::recover;
use crate::log::scan::{scan, value};
use crate::log::superblock::State;
use crate::protocol::Version;

/// What a restart finds.
struct Left {
    disk: Disk,
    log: Image,
}

impl Left {
    /// After a kill: what readers saw, and what is on its way to the disk.
    fn by_kill(moment: &Moment) -> Option<Left> {
        let log = Image::clone(moment.log.as_ref()?);
        let mut disk = moment.disk.clone();
        // The next open begins with this, before it looks at the log.
        let _ = recovery::recover(&mut disk, recovery::ORDERS[0], |_, _| Ok::<(), ()>(()));
        Some(Left { disk, log })
    }

    /// After a power cut.
    fn by_cuts(moment: &Moment) -> Vec<Left> {
        let Some(log) = &moment.log else { return Vec::new() };
        let trees: HashSet<Tree> = moment.disk.crashes(|_| true).map(|tree| tree.keys()).collect();
        let mut trees: Vec<Tree> = trees.into_iter().collect();
        trees.sort();
        let left = |disk: &crate::log::memory::Memory, tree: &Tree| Left {
            disk: Disk::restarted(moment.disk.filesystem, tree),
            log: Image { disk: disk.copy(), cached: Vec::new(), after_cut: Vec::new() },
        };
        log.disks().iter().flat_map(|disk| trees.iter().map(move |tree| left(disk, tree))).collect()
    }

    /// Brings the log into the files.
    fn recover(&self, mutant: Option<Mutant>) -> Result<History, String> {
        let at = scratch();
        lay_out(at.path(), &self.disk.visible());
        let rig = rig_on(at, self.disk.clone(), BarrierKind::PerFile, sound(), mutant);
        let log = Image { disk: self.log.disk.copy(), ..self.log.clone() };
        let storage = Observed::new(&log, &rig.model, mutant);
        let contents = scan(&storage).map_err(|fault| format!("the log is refused: {fault}"))?;
        let apply = || {
            let read = |record: &_, range| value(&storage, record, range);
            rig.committer.restore(&contents.records, read, |_, _| ()).map_err(|error| error.to_string())
        };
        let recover = || recover(&storage, &contents, |errno| errno.to_string(), apply);
        let recovered = mutant.map_or_else(recover, |mutant| mutant.within(recover));
        rig.committer.drain();
        recovered?;
        Ok(rig.model.history())
    }
}

/// Makes the files of a tree. Their contents are of no use to a recovery; their names and times may be.
fn lay_out(root: &Path, tree: &Tree) {
    for dir in ["a", "b"] {
        fs::create_dir(root.join(dir)).unwrap();
    }
    for (Place { dir, name }, content) in &tree.0 {
        let Name::Key(key) = name else { panic!("{name:?} was swept") };
        let path = root.join(["a", "b"][usize::from(*dir)]).join(format!("k{key}"));
        fs::write(&path, &content.bytes[..usize::from(content.len)]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(content.mode)).unwrap();
        let time = content.version.unwrap_or(Version::MIN).to_time();
        futimens(File::open(&path).unwrap(), &time, &time).unwrap();
    }
}

/// Recovers, and checks every moment of that: what a cut leaves of it is recovered to something that was promised. Its end is final.
fn check(left: &Left, promise: &HashSet<Tree>, mutant: Option<Mutant>) -> Result<(usize, History), String> {
    let history = left.recover(mutant)?;
    let count = history.check_recovery(promise)?;
    let last = history.moments.last().expect("it opened the log");
    let ends: HashSet<Tree> = last.disk.crashes(|_| true).map(|tree| tree.keys()).collect();
    let is_clean = scan(&last.log.as_ref().expect("it opened the log").disk).unwrap().superblock.state == State::Clean;
    match is_clean && ends == HashSet::from([last.disk.visible().keys()]) {
        true => Ok((count, history)),
        false => Err(format!("the end of a recovery is not durable: {ends:?}")),
    }
}

/// Recovers from everything that kills and cuts leave, or from every so many of the latter; and from every so many of those that
/// happen in the middle of that.
fn check_all(history: &History, Sample { every, again }: Sample, mutant: Option<Mutant>) -> Result<usize, String> {
    let (mut count, mut number) = (0, 0);
    for (at, moment) in history.moments.iter().enumerate() {
        let promise = history.promise(at);
        let cuts = Left::by_cuts(moment).into_iter().filter(|_| {
            number += 1;
            number % every == 0
        });
        for left in Left::by_kill(moment).into_iter().chain(cuts) {
            let (more, recovery) = check(&left, &promise, mutant).map_err(|text| format!("{}: {text}", moment.what))?;
            count += more;
            for moment in recovery.moments.iter().skip(at % again).step_by(again) {
                let cuts = Left::by_cuts(moment);
                let last = cuts.len().saturating_sub(1);
                let some = cuts.into_iter().enumerate().filter(|(n, _)| [0, last].contains(n)).map(|(_, left)| left);
                for left in Left::by_kill(moment).into_iter().chain(some) {
                    count += check(&left, &promise, mutant).map_err(|text| format!("a second recovery: {text}"))?.0;
                }
            }
        }
    }
    Ok(count)
}

/// How much of what may be left is recovered.
#[derive(Clone, Copy)]
struct Sample {
    /// One of so many power cuts, beside all kills.
    every: usize,
    /// One of so many moments of a recovery.
    again: usize,
}

const SOME: Sample = Sample { every: 29, again: 19 };

/// Minutes: `scripts/check-model` asks for it.
const ALL: Sample = Sample { every: 1, again: 5 };

/// Changes whose records depend on one another, with a checkpoint among them.
fn changes(rig: &Rig) {
    rig.make(Do::Put("a/k0", 0));
    let _ = rig.committer.checkpoint();
    rig.make(Do::Put("a/k1", 1));
    rig.commit(&[&[Do::Put("a/k0", 2), Do::Delete("b/k0")]]);
    rig.make(Do::Rename("a/k1", "b/k1"));
    rig.committer.drain();
}

#[test]
fn kills_and_cuts_are_recovered_and_so_are_those_in_the_middle_of_that() {
    let sample = if std::env::var_os("RINGBOLT_TEST_EVERY_CUT").is_some() { ALL } else { SOME };
    let (mut count, begin) = (0, Instant::now());
    for filesystem in Filesystem::ALL {
        let rig = logged(filesystem, sound(), None, None);
        changes(&rig);
        let checked = check_all(&rig.model.history(), sample, None);
        count += checked.unwrap_or_else(|text| panic!("{filesystem:?}: {text}"));
    }
    tell("recoveries", count, begin);
}

#[test]
fn mutants_of_recovery_are_caught() {
    for mutant in [Mutant::OpenEnd, Mutant::OldTail, Mutant::CachedSuperblock, Mutant::TrustedStamp] {
        for filesystem in Filesystem::ALL {
            // Only the recovery is wrong.
            let rig = logged(filesystem, sound(), None, None);
            changes(&rig);
            let found = check_all(&rig.model.history(), SOME, Some(mutant));
            assert!(found.is_err(), "{mutant} on {filesystem:?}");
        }
    }
}
