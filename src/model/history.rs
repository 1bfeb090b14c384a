//! The history of a real committer, and the check of what a power cut could have left at each moment.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Debug;
use std::sync::Arc;

use super::crash::Tree;
use super::disk::{Disk, Place};
use super::observed::{Image, Live};
use super::promise::{Effect, Progress, Unit, allowed};
use super::recovery::recover_tree;

/// The disk and the progress of the operations after a call.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    pub(super) what: String,
    pub(super) disk: Disk,
    pub(super) progress: Progress,
    /// The intent log, if there is one: recovery applies its live changes to the files.
    pub(super) log: Option<Arc<Image>>,
}

impl Moment {
    pub(super) fn new(what: String, disk: &Disk, progress: &Progress) -> Moment {
        Moment { what, disk: disk.clone(), progress: progress.clone(), log: None }
    }

    pub(super) fn with_log(self, log: Option<Arc<Image>>) -> Moment {
        Moment { log, ..self }
    }

    /// What a power cut may leave of the log.
    fn logs(&self) -> &[Result<Live, String>] {
        const NONE: &[Result<Live, String>] = &[Ok(Vec::new())];
        self.log.as_ref().map_or(NONE, |log| &log.after_cut)
    }
}

#[derive(Debug)]
pub(super) struct History {
    pub(super) units: Vec<Unit>,
    pub(super) moments: Vec<Moment>,
}

impl History {
    /// Checks every tree that a cut could leave at any moment, all keys at once. Returns their number, or a description of the
    /// violation.
    pub(super) fn check(&self) -> Result<usize, String> {
        self.check_where(&self.units, |_| true)
    }

    /// The same key by key, for histories with too many operations to try every order.
    pub(super) fn check_each_key(&self) -> Result<usize, String> {
        let place = |unit: &Unit| match unit.effect {
            Effect::Put { place, .. } | Effect::Delete { place } => place,
            Effect::Rename { .. } => unreachable!("a rename has two keys"),
        };
        let keys: BTreeSet<Place> = self.units.iter().map(place).collect();
        let check = |key: Place| {
            let units: Vec<Unit> = self.units.iter().filter(|unit| place(unit) == key).copied().collect();
            self.check_where(&units, |place| place == key)
        };
        keys.into_iter().map(check).sum()
    }

    /// What a power cut may leave at a moment.
    pub(super) fn promise(&self, moment: usize) -> HashSet<Tree> {
        let initial = self.moments[0].disk.visible().keys();
        allowed(&initial, &self.units, &self.moments[moment].progress, false)
    }

    /// Checks the moments of a recovery, which must leave what was promised when it was needed.
    pub(super) fn check_recovery(&self, promise: &HashSet<Tree>) -> Result<usize, String> {
        // Before the first one it has not read the log.
        let moments = (0..self.moments.len()).filter(|moment| self.moments[*moment].log.is_some());
        moments.map(|moment| self.check_moment(moment, promise, &|_| true)).sum()
    }

    fn check_where(&self, units: &[Unit], wanted: impl Fn(Place) -> bool) -> Result<usize, String> {
        let initial = self.moments[0].disk.visible().keys().only(&wanted);
        let mut known: Option<(&Progress, HashSet<Tree>)> = None;
        let mut count = 0;
        for (i, Moment { progress, .. }) in self.moments.iter().enumerate() {
            if known.as_ref().is_none_or(|(last, _)| *last != progress) {
                known = Some((progress, allowed(&initial, units, progress, false)));
            }
            count += self.check_moment(i, &known.as_ref().expect("it was just made").1, &wanted)?;
        }
        Ok(count)
    }

    fn check_moment(
        &self,
        i: usize,
        promise: &HashSet<Tree>,
        wanted: &impl Fn(Place) -> bool,
    ) -> Result<usize, String> {
        let moment = &self.moments[i];
        let mut count = 0;
        for log in moment.logs() {
            let log =
                log.as_ref().map_err(|text| self.violation(i, &format!("a log that is refused: {text}"), promise))?;
            let live: Live = log.iter().filter(|(place, _)| wanted(*place)).copied().collect();
            for tree in moment.disk.crashes(wanted) {
                count += 1;
                let mut recovered = tree.clone();
                live.iter().for_each(|(place, content)| recovered.set(*place, *content));
                if !promise.contains(&recovered.keys()) {
                    return Err(self.violation(i, &recovered, promise));
                }
                if !live.is_empty() {
                    // What the log holds is written again whatever the files are: see `recovered_tests.rs`.
                    continue;
                }
                match recover_tree(moment.disk.filesystem, &tree, true) {
                    Ok(more) => count += more,
                    Err(found) => return Err(self.violation(i, &found, &HashSet::from([tree.keys()]))),
                }
            }
        }
        Ok(count)
    }

    fn violation(&self, last: usize, found: &dyn Debug, allowed: &HashSet<Tree>) -> String {
        let Moment { disk, .. } = &self.moments[last];
        let steps: String = self.moments[..=last].iter().map(|moment| format!("  {}\n", moment.what)).collect();
        let allowed: BTreeSet<&Tree> = allowed.iter().collect();
        format!(
            "on {:?}, after these calls:\n{steps}the power goes\n  before it: {:?}\n  left:      {found:?}\n  allowed:   {allowed:?}",
            disk.filesystem,
            disk.visible()
        )
    }
}
