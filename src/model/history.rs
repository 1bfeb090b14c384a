//! The history of a real committer, and the check of what a power cut could have left at each moment.

use std::collections::{BTreeSet, HashSet};

use super::crash::Tree;
use super::disk::{Content, Disk, Place};
use super::promise::{Effect, Progress, Unit, allowed};
use super::recovery::recover_tree;

/// The disk and the progress of the operations after a call.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    what: String,
    disk: Disk,
    progress: Progress,
    /// What recovery applies to the files, in order: the live changes of an intent log.
    logged: Vec<(Place, Option<Content>)>,
}

impl Moment {
    pub(super) fn new(what: String, disk: &Disk, progress: &Progress) -> Moment {
        Moment { what, disk: disk.clone(), progress: progress.clone(), logged: Vec::new() }
    }

    pub(super) fn with_log(self, logged: &[(Place, Option<Content>)]) -> Moment {
        Moment { logged: logged.to_vec(), ..self }
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

    fn check_where(&self, units: &[Unit], wanted: impl Fn(Place) -> bool) -> Result<usize, String> {
        let initial = self.moments[0].disk.visible().keys().only(&wanted);
        let mut known: Option<(&Progress, HashSet<Tree>)> = None;
        let mut count = 0;
        for (i, Moment { disk, progress, logged, .. }) in self.moments.iter().enumerate() {
            if known.as_ref().is_none_or(|(last, _)| *last != progress) {
                known = Some((progress, allowed(&initial, units, progress, false)));
            }
            let promise = &known.as_ref().expect("it was just made").1;
            for tree in disk.crashes(&wanted) {
                count += 1;
                let mut recovered = tree.clone();
                logged
                    .iter()
                    .filter(|(place, _)| wanted(*place))
                    .for_each(|(place, content)| recovered.set(*place, *content));
                if !promise.contains(&recovered.keys()) {
                    return Err(self.violation(i, &recovered, promise));
                }
                if !logged.is_empty() {
                    // What the log holds is written again whatever the files are: a second cut changes nothing.
                    continue;
                }
                match recover_tree(disk.filesystem, &tree, true) {
                    Ok(more) => count += more,
                    Err(found) => return Err(self.violation(i, &found, &HashSet::from([tree.keys()]))),
                }
            }
        }
        Ok(count)
    }

    fn violation(&self, last: usize, found: &Tree, allowed: &HashSet<Tree>) -> String {
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
