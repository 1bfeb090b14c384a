//! `Barrier::Auto`: learns from recent commits which barrier costs less here, by the number of files in a commit.
//!
//! The cost of a commit is its time per file. Commits are classified by size, in powers of two. When the other barrier has
//! not been measured for a while, an experiment measures it again. Experiments are paid from a budget of a twentieth of the
//! time that commits take: what an experiment costs beyond the expected is subtracted, and no experiment starts while the
//! budget is overdrawn.

use std::collections::HashMap;
use std::time::Duration;

use super::barrier::{Allowed, Barrier, BarrierKind};
use super::stats::BarrierStats;

/// The number of size classes. Each is around a power of two (48 to 95 files are "about 64"); the last holds all from 1,536.
const CLASSES: usize = 12;

/// The share of the commit time that experiments may take.
const SHARE: f64 = 1.0 / 20.0;

/// The largest budget for experiments, which is also the initial one.
const BUDGET_MAX: Duration = Duration::from_millis(100);

/// The first experiment in a class comes after this many commits, and each further one after twice as many as the one before:
/// a single measurement may have met a bad moment.
const TRIED_AFTER: u32 = 4;

/// The largest number of commits between two experiments.
const STALE_AFTER: u32 = 64;

/// A `syncfs` that takes no longer than this is always worth an experiment.
const PATIENCE: Duration = Duration::from_millis(50);

/// The weight of a new measurement in the estimate.
const WEIGHT: f64 = 0.3;

#[derive(Debug)]
pub(super) struct Auto {
    configured: Barrier,
    allowed: Allowed,
    classes: [Class; CLASSES],
    budget_s: f64,
    last: Option<BarrierKind>,
    batches: HashMap<BarrierKind, u64>,
    experiments: u64,
}

/// The estimates for commits of one size class.
#[derive(Clone, Copy, Debug, Default)]
struct Class {
    /// Seconds per file.
    per_file: Option<f64>,
    filesystem: Option<f64>,
    /// Commits since the other barrier was last measured.
    since_experiment: u32,
    experiments: u32,
}

impl Class {
    fn is_due(&self) -> bool {
        // The fourth doubling reaches STALE_AFTER.
        self.since_experiment >= (TRIED_AFTER << self.experiments.min(4)).min(STALE_AFTER)
    }
}

/// The barrier that a commit must use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) kind: BarrierKind,
    /// The size class of the experiment, if this is one.
    experiment: Option<usize>,
}

impl Auto {
    pub(super) fn new(configured: Barrier, allowed: Allowed) -> Auto {
        Auto {
            configured,
            allowed,
            classes: Default::default(),
            budget_s: BUDGET_MAX.as_secs_f64(),
            last: None,
            batches: HashMap::new(),
            experiments: 0,
        }
    }

    /// Chooses the barrier for a commit of about `files` files. Before an experiment with `syncfs`, calls `quiet` to find out
    /// whether a `syncfs` takes no longer than the given time now.
    pub(super) fn choose(&mut self, files: usize, quiet: impl FnOnce(Duration) -> bool) -> Choice {
        let plain = |kind| Choice { kind, experiment: None };
        match &self.allowed {
            // A single file is not worth the sync of a filesystem.
            Allowed::Only(BarrierKind::Filesystem) if files < 2 => return plain(BarrierKind::PerFile),
            Allowed::Only(kind) => return plain(*kind),
            Allowed::Either { no_filesystem: Some(_), .. } => return plain(BarrierKind::PerFile),
            Allowed::Either { no_filesystem: None, .. } if files < 2 => return plain(BarrierKind::PerFile),
            Allowed::Either { no_filesystem: None, .. } => {}
        }
        let class = &mut self.classes[class_of(files)];
        class.since_experiment += 1;
        let (Some(per_file), filesystem) = (class.per_file, class.filesystem) else {
            return plain(BarrierKind::PerFile);
        };
        let filesystem_costs = filesystem.unwrap_or(2.0 * per_file);
        let best = cheaper(per_file, filesystem_costs);
        let extra_s = (filesystem_costs - per_file).abs() * files as f64;
        if !class.is_due() || self.budget_s < extra_s.min(BUDGET_MAX.as_secs_f64()) {
            return plain(best);
        }
        let other = if best == BarrierKind::PerFile { BarrierKind::Filesystem } else { BarrierKind::PerFile };
        let patience = Duration::from_secs_f64(per_file * files as f64).saturating_mul(4).max(PATIENCE);
        if other == BarrierKind::Filesystem && !quiet(patience) {
            return plain(best);
        }
        Choice { kind: other, experiment: Some(class_of(files)) }
    }

    /// Learns the cost of a commit that put `files` files (`None` if the cost says nothing about the barrier). Returns whether
    /// the commit used another barrier than the one before.
    pub(super) fn learn(&mut self, choice: Choice, files: Option<usize>, took: Duration) -> bool {
        *self.batches.entry(choice.kind).or_default() += 1;
        let changed = self.last.replace(choice.kind).is_some_and(|last| last != choice.kind);
        if let Some(class) = choice.experiment {
            self.classes[class].since_experiment = 0;
            self.classes[class].experiments = self.classes[class].experiments.saturating_add(1);
            self.experiments += 1;
        }
        if let Some(files) = files.filter(|files| *files > 0) {
            self.weigh(choice, files, took);
        }
        changed
    }

    fn weigh(&mut self, choice: Choice, files: usize, took: Duration) {
        let took_s = took.as_secs_f64();
        let tried = choice.experiment.map(|class| self.classes[class]);
        let class = &mut self.classes[class_of(files)];
        let (cost, other) = match choice.kind {
            BarrierKind::PerFile => (&mut class.per_file, class.filesystem),
            BarrierKind::Filesystem => (&mut class.filesystem, class.per_file),
            BarrierKind::Journal | BarrierKind::IntentLog => return,
        };
        let now = took_s / files as f64;
        // An experiment replaces the estimate: the old one is too old.
        *cost = Some(match *cost {
            Some(before) if tried.is_none() => before + WEIGHT * (now - before),
            _ => now,
        });
        self.budget_s = (self.budget_s + took_s * SHARE).min(BUDGET_MAX.as_secs_f64());
        if let Some(tried) = tried {
            // Subtract what the experiment cost beyond the other barrier. If that has no estimate in the class of the actual
            // size, use the estimate of the class in which the experiment was chosen.
            let estimate = if choice.kind == BarrierKind::Filesystem { tried.per_file } else { tried.filesystem };
            self.budget_s -= other.or(estimate).map_or(0.0, |other| (took_s - other * files as f64).max(0.0));
        }
    }

    pub(super) fn stats(&self) -> BarrierStats {
        let batches = |kind| self.batches.get(&kind).copied().unwrap_or(0);
        BarrierStats {
            configured: self.configured,
            last: self.last,
            reason: self.reason(),
            per_file: batches(BarrierKind::PerFile),
            filesystem: batches(BarrierKind::Filesystem),
            journal: batches(BarrierKind::Journal),
            intent_log: batches(BarrierKind::IntentLog),
            experiments: self.experiments,
        }
    }

    /// Forgets what was done, and keeps what was learned.
    pub(super) fn reset_counts(&mut self) {
        self.last = None;
        self.batches.clear();
        self.experiments = 0;
    }

    pub(super) fn reason(&self) -> String {
        match &self.allowed {
            Allowed::Either { no_preferred: Some(why), .. } => format!("{}; {why}", self.choice()),
            _ => self.choice(),
        }
    }

    fn choice(&self) -> String {
        match &self.allowed {
            Allowed::Only(kind) if matches!(self.configured, Barrier::JournalOrAuto | Barrier::IntentLogOrAuto) => {
                format!("{kind} holds here")
            }
            Allowed::Only(_) => "requested".into(),
            Allowed::Either { no_filesystem: Some(why), .. } => format!("per-file: {why}"),
            Allowed::Either { no_filesystem: None, .. } => {
                // The class of single files has no choice.
                let known = self.classes.iter().enumerate().skip(1).filter_map(|(i, class)| {
                    let (per_file, filesystem) = (class.per_file? * 1e6, class.filesystem? * 1e6);
                    let best = cheaper(per_file, filesystem);
                    Some(format!(
                        "about {} files: {best} (per-file {per_file:.0} us a file, filesystem {filesystem:.0})",
                        1 << i
                    ))
                });
                let known = known.collect::<Vec<_>>().join("; ");
                if known.is_empty() { "per-file: no other barrier has been measured yet".into() } else { known }
            }
        }
    }
}

/// Prefers `syncfs` up to a tenth above the cost of `PerFile`: it flushes the device far less often, and flushes wear it.
fn cheaper(per_file: f64, filesystem: f64) -> BarrierKind {
    if filesystem < per_file * 1.1 { BarrierKind::Filesystem } else { BarrierKind::PerFile }
}

fn class_of(files: usize) -> usize {
    let files = files.max(1);
    ((files + files / 3).ilog2() as usize).min(CLASSES - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn either() -> Auto {
        Auto::new(Barrier::Auto, Allowed::Either { no_filesystem: None, no_preferred: None })
    }

    /// Runs commits of `files` files that cost `cost_us` a file. Returns the share of commits that used `syncfs`, and the share
    /// of the time that experiments took beyond the cheaper barrier.
    fn run(auto: &mut Auto, files: usize, commits: usize, cost_us: impl Fn(BarrierKind) -> u64) -> (f64, f64) {
        let (mut filesystem, mut total, mut wasted) = (0, 0, 0);
        let best = cost_us(BarrierKind::PerFile).min(cost_us(BarrierKind::Filesystem));
        for _ in 0..commits {
            let choice = auto.choose(files, |_| true);
            let cost = cost_us(choice.kind) * files as u64;
            auto.learn(choice, Some(files), Duration::from_micros(cost));
            filesystem += usize::from(choice.kind == BarrierKind::Filesystem);
            total += cost;
            wasted += cost - best * files as u64;
        }
        (filesystem as f64 / commits as f64, wasted as f64 / total as f64)
    }

    #[test]
    fn it_chooses_the_cheaper_barrier() {
        let mut auto = either();
        let syncfs_wins = |kind| if kind == BarrierKind::Filesystem { 80 } else { 150 };
        let (share, _) = run(&mut auto, 64, 1000, syncfs_wins);
        assert!(share > 0.9, "{share}");
        assert!(auto.stats().reason.contains("about 64 files: filesystem"), "{}", auto.stats().reason);
        // Small commits are another class.
        let (share, _) = run(&mut auto, 4, 1000, |kind| if kind == BarrierKind::Filesystem { 400 } else { 150 });
        assert!(share < 0.1, "{share}");
        assert_eq!(auto.choose(1, |_| true).kind, BarrierKind::PerFile);
    }

    /// Another program begins to write. `syncfs` is given up after one commit and is hardly tried while the filesystem is
    /// busy. When it is quiet again, an experiment finds out.
    #[test]
    fn it_notices_when_the_filesystem_becomes_busy_and_quiet_again() {
        let mut auto = either();
        run(&mut auto, 64, 200, |kind| if kind == BarrierKind::Filesystem { 80 } else { 150 });
        let busy = |kind| if kind == BarrierKind::Filesystem { 20_000 } else { 200 };
        let (share, _) = run(&mut auto, 64, 1, busy);
        assert!(share > 0.9);
        let (share, wasted) = run(&mut auto, 64, 20_000, busy);
        assert!(share < 0.01 && wasted < 1.5 * SHARE, "{share} {wasted}");
        let (share, _) = run(&mut auto, 64, 20_000, |kind| if kind == BarrierKind::Filesystem { 80 } else { 150 });
        assert!(share > 0.2, "{share}");
    }

    /// A first experiment at a bad moment is soon repeated.
    #[test]
    fn one_bad_moment_decides_nothing_for_long() {
        let mut auto = either();
        let tries = std::cell::Cell::new(0);
        for _ in 0..40 {
            let choice = auto.choose(64, |_| true);
            let cost = match choice.kind {
                BarrierKind::Filesystem if tries.replace(tries.get() + 1) == 0 => 400,
                BarrierKind::Filesystem => 80,
                _ => 150,
            };
            auto.learn(choice, Some(64), Duration::from_micros(cost * 64));
        }
        assert!(tries.get() > 20, "{}", tries.get());
    }

    #[test]
    fn experiments_take_a_bounded_share() {
        for dear in [151, 300, 2_000, 100_000] {
            let mut auto = either();
            let (_, wasted) =
                run(&mut auto, 64, 50_000, |kind| if kind == BarrierKind::Filesystem { dear } else { 150 });
            assert!(wasted < 1.5 * SHARE, "{dear}: {wasted}");
            assert!(auto.stats().experiments > 0);
        }
    }

    #[test]
    fn no_experiment_where_syncfs_does_not_hold_or_would_take_long() {
        let mut auto =
            Auto::new(Barrier::Auto, Allowed::Either { no_filesystem: Some("not here".into()), no_preferred: None });
        assert_eq!(run(&mut auto, 64, 1000, |_| 1).0, 0.0);
        assert!(auto.stats().reason.contains("not here"));
        let mut auto = either();
        for _ in 0..1000 {
            let choice = auto.choose(64, |_| false);
            assert_eq!(choice.kind, BarrierKind::PerFile);
            auto.learn(choice, Some(64), Duration::from_millis(1));
        }
    }
}
