//! Searches for a crash state that breaks a promise: records operations, cuts the power, recovers and checks, sometimes
//! with a second cut during the recovery.

use std::path::{Path, PathBuf};

use fastrand::Rng;

use super::cell::{Cell, Tally};
use super::device::Device;
use super::history::{Contents, History, Notes};
use super::lab::Lab;
use super::log_on_disk::{Around, LogOnDisk};
use super::look::look;
use super::mutant::{flushes_by_log, is_of_recovery, within};
use super::states::{State, states, windows};
use super::workload::{Result, Setting, run};
use crate::{Chunks, Record};

/// The number of operations per recording.
const OPERATIONS: usize = 32;
/// Every this many states, cut the power again during the recovery.
const RECUT_EVERY: usize = 8;
/// The number of states tested of such a recovery.
const RECUTS: usize = 3;
/// Every this many states, a superblock of the intent log rots.
const ROT_EVERY: usize = 5;
/// How often to record until a write fails: which are left when a change has been acknowledged is a matter of timing.
const ATTEMPTS: usize = 20;
/// The most states of one recording.
const TRACE_MAX: usize = 250;
/// The same if a write fails in it.
const FAILED_MAX: usize = 40;

/// How to test a cell.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The seed: determines the operations and the choice of states.
    pub seed: u64,
    /// The number of states.
    pub states: usize,
    /// The directory to save the image of the first violation in.
    pub keep: Option<PathBuf>,
}

/// Records and cuts until enough states were tested, or `stop` is set.
///
/// # Errors
///
/// The test itself failed, for example because an operation failed on a healthy disk.
pub fn hunt(cell: &Cell, lab: &Lab, trial: &Trial, stop: &dyn Fn() -> bool) -> Result<Tally> {
    let rng = Rng::with_seed(trial.seed ^ hash(&cell.to_string()));
    let mut hunt = Hunt { cell, lab, trial, stop, rng, tally: Tally::default(), failed: 0 };
    while hunt.goes_on() {
        let trace = hunt.record()?;
        hunt.failed = trace.failed;
        hunt.cut(&trace)?;
    }
    Ok(hunt.tally)
}

struct Hunt<'a> {
    cell: &'a Cell,
    lab: &'a Lab,
    trial: &'a Trial,
    stop: &'a dyn Fn() -> bool,
    rng: Rng,
    tally: Tally,
    /// The log position at which a write failed, in the trace at hand.
    failed: usize,
}

/// The recorded operations and the resulting disk log.
struct Trace {
    history: History,
    base: Chunks,
    log: Vec<Record>,
    /// Where the intent log is.
    on_disk: Option<LogOnDisk>,
    /// The log position at which a write failed: the power is cut later.
    failed: usize,
}

/// A state to test, and what its cut interrupts.
struct Pick {
    state: State,
    around: Around,
}

/// The result of recovering and checking a disk.
struct Checked {
    /// Whether the filesystem could be mounted.
    mounts: bool,
    /// The contents, if the crate could open them.
    found: Option<Contents>,
    /// The violations.
    wrong: Vec<String>,
    /// The log of the recovery, if it was recorded.
    log: Vec<Record>,
    /// The log position when the crate had opened everything.
    opened: usize,
}

impl Hunt<'_> {
    fn goes_on(&self) -> bool {
        self.tally.states < self.trial.states && !(self.stop)()
    }

    fn at<'a>(&self, root: &'a Path) -> Setting<'a> {
        let Cell { engine, barrier, device, .. } = *self.cell;
        Setting { root, engine, barrier, device }
    }

    fn record(&mut self) -> Result<Trace> {
        // Not every run writes back that many changes after they were acknowledged, or even one.
        let first = [self.rng.usize(..12), self.rng.usize(..3)];
        for after in first.into_iter().chain([0; ATTEMPTS]) {
            if let Some(trace) = self.try_record(after)? {
                return Ok(trace);
            }
        }
        Err("no write of a change was left that could fail".into())
    }

    /// Records the operations. If a write is to fail: the one after that many others, `None` if there are fewer.
    fn try_record(&mut self, after: usize) -> Result<Option<Trace>> {
        let Cell { filesystem, options, operation, device, mutant, .. } = *self.cell;
        let (lab, fails) = (self.lab, device == Device::FailedWrite);
        lab.make(filesystem)?;
        lab.disk().force(Vec::new());
        let mount = lab.mount(filesystem, options)?;
        let notes = Notes::new(lab.disk());
        lab.disk().fail_write(fails.then_some(after));
        let at = self.at(mount.path());
        let ran = device.within(|| within(mutant, || run(operation, at, OPERATIONS, &mut self.rng, &notes)));
        let mut log = lab.disk().recorded();
        let failed = lab.disk().failed_at();
        lab.disk().fail_write(None);
        let (history, base, on_disk) = notes.finish();
        mount.unmount()?;
        match ran {
            // A store that no longer knows what is durable refuses the rest.
            Err(_) if failed.is_some() => {}
            ran => ran?,
        }
        if fails && failed.is_none() {
            return Ok(None);
        }
        if let (true, Some(on_disk)) = (mutant.is_some_and(flushes_by_log), &on_disk) {
            on_disk.leave_out_flushes(&base, &mut log);
        }
        Ok(Some(Trace { history, base, log, on_disk, failed: failed.unwrap_or(0) }))
    }

    /// Tests randomly chosen states of a trace, in log order.
    fn cut(&mut self, trace: &Trace) -> Result<()> {
        let most = if self.cell.device == Device::FailedWrite { FAILED_MAX } else { TRACE_MAX };
        let picks = self.pick(trace, most.min(self.trial.states - self.tally.states));
        let mut disk = Replay::new(&trace.base, &trace.log);
        for (n, Pick { mut state, around }) in picks.into_iter().enumerate() {
            if !self.goes_on() {
                break;
            }
            let mut content = disk.at(&state);
            if let (true, Some(on_disk)) = (n % ROT_EVERY == ROT_EVERY / 2, &trace.on_disk) {
                let rot = on_disk.rot(&content, &mut self.rng)?;
                rot.apply(&mut content);
                state.rot = Some(rot);
            }
            let again = n % RECUT_EVERY == RECUT_EVERY - 1;
            let check = |found: &Contents| {
                let violations = trace.history.check(found, state.window.end);
                violations.iter().map(ToString::to_string).collect()
            };
            let seen = self.look(&content, again, &check)?;
            self.count(&seen, &content, &state, None)?;
            self.tally.checkpoints += usize::from(around.checkpoint);
            self.tally.wraps += usize::from(around.wrap);
            self.tally.rotten += usize::from(state.rot.is_some());
            if let (true, Some(found)) = (again, &seen.found) {
                self.cut_again(&content, &state, &seen, found, &check)?;
            }
        }
        Ok(())
    }

    /// Tests cuts during the recovery from a first cut. Once the crate has opened the files, a reader may have seen
    /// them, so they must not change any more.
    fn cut_again(
        &mut self,
        base: &Chunks,
        first: &State,
        seen: &Checked,
        found: &Contents,
        check: &dyn Fn(&Contents) -> Vec<String>,
    ) -> Result<()> {
        let mut disk = Replay::new(base, &seen.log);
        let mut picks = all_states(&seen.log, &mut self.rng);
        self.rng.shuffle(&mut picks);
        picks.truncate(RECUTS);
        picks.sort_by_key(|state| state.window.end);
        for state in picks {
            let content = disk.at(&state);
            let opened = state.window.end >= seen.opened;
            let again = self.look(&content, false, &|now| {
                let mut wrong = check(now);
                if opened && now != found {
                    wrong.push(format!("it has changed its mind after it was opened: {}", difference(found, now)));
                }
                wrong
            })?;
            self.tally.recuts += 1;
            self.count(&again, &content, first, Some(&state))?;
        }
        Ok(())
    }

    /// Chooses states of a trace at random, in log order: up to half of them around a move of the intent log's start or its wrap,
    /// which are few.
    fn pick(&mut self, trace: &Trace, most: usize) -> Vec<Pick> {
        let Trace { base, log, on_disk, failed, .. } = trace;
        let windows = windows(log);
        let around = match on_disk {
            Some(on_disk) => on_disk.around(base, log, &windows),
            None => vec![Around::default(); windows.len()],
        };
        let late = windows.iter().zip(around).filter(|(window, _)| window.end >= *failed);
        let all = late.flat_map(|(window, around)| {
            let states = states(window, log, &mut self.rng);
            states.into_iter().map(move |state| Pick { state, around })
        });
        let (mut near, mut far): (Vec<Pick>, Vec<Pick>) =
            all.partition(|pick| pick.around.checkpoint || pick.around.wrap);
        self.rng.shuffle(&mut near);
        self.rng.shuffle(&mut far);
        let rest = near.split_off(near.len().min(most / 2));
        let mut picked: Vec<Pick> = near.into_iter().chain(far).chain(rest).take(most).collect();
        picked.sort_by_key(|pick| pick.state.window.end);
        picked
    }

    /// Lets the filesystem and the crate recover, then checks the contents.
    fn look(&self, content: &Chunks, record: bool, check: &dyn Fn(&Contents) -> Vec<String>) -> Result<Checked> {
        let (lab, Cell { operation, device, mutant, .. }) = (self.lab, *self.cell);
        lab.load(content.clone())?;
        if record {
            lab.disk().record();
        }
        let mut seen = Checked { mounts: true, found: None, wrong: Vec::new(), log: Vec::new(), opened: 0 };
        let mount = match lab.mount(self.cell.filesystem, self.cell.options) {
            Ok(mount) => mount,
            Err(error) => {
                lab.disk().recorded();
                seen.wrong.push(format!("it does not mount: {error}"));
                return Ok(Checked { mounts: false, ..seen });
            }
        };
        let look = |go_on| {
            let wrong = mutant.filter(|mutant| is_of_recovery(*mutant));
            device.within(|| within(wrong, || look(operation, self.at(mount.path()), go_on)))
        };
        match look(false) {
            Ok(found) => {
                seen.opened = lab.disk().position();
                seen.wrong = check(&found);
                seen.found = Some(found);
            }
            Err(error) => seen.wrong.push(format!("it cannot be opened: {error}")),
        }
        seen.log = lab.disk().recorded();
        if !record
            && seen.found.is_some()
            && let Err(error) = look(true)
        {
            seen.wrong.push(format!("no change can be made: {error}"));
        }
        mount.unmount()?;
        Ok(seen)
    }

    fn count(&mut self, seen: &Checked, content: &Chunks, state: &State, again: Option<&State>) -> Result<()> {
        // If a torn metadata sector prevents the mount, that is the filesystem's limitation. Otherwise it is a
        // violation.
        if !seen.mounts && (state.torn.is_some() || again.is_some_and(|state| state.torn.is_some())) {
            self.tally.unmountable += 1;
            return Ok(());
        }
        self.tally.states += 1;
        self.tally.in_blocks += usize::from(torn_in_blocks(again.unwrap_or(state)));
        if seen.wrong.is_empty() {
            return Ok(());
        }
        self.tally.violating += 1;
        if self.tally.first.is_none() {
            let mut text = format!("{} with --seed {}: {state}", self.cell, self.trial.seed);
            if self.cell.device == Device::FailedWrite {
                text += &format!("\n  a write had failed at {}", self.failed);
            }
            if let Some(again) = again {
                text += &format!("\n  and during the recovery from that: {again}");
            }
            for wrong in &seen.wrong {
                text += &format!("\n  {wrong}");
            }
            if let Some(dir) = &self.trial.keep {
                std::fs::create_dir_all(dir)?;
                let path = dir.join(self.cell.to_string().replace(['/', ' '], "-")).with_extension("image");
                content.save(&path)?;
                text += &format!("\n  the disk as it was then: mount -o loop {} ...", path.display());
            }
            self.tally.first = Some(text);
        }
        Ok(())
    }
}

/// Replays a log from state to state.
struct Replay<'a> {
    log: &'a [Record],
    content: Chunks,
    applied: usize,
}

impl Replay<'_> {
    fn new<'a>(base: &Chunks, log: &'a [Record]) -> Replay<'a> {
        Replay { log, content: base.clone(), applied: 0 }
    }

    /// The disk in a state. States must come in the order of their windows.
    fn at(&mut self, state: &State) -> Chunks {
        let begin = state.window.writes.start;
        self.log[self.applied..begin].iter().for_each(|record| record.apply(&mut self.content));
        self.applied = begin;
        let mut content = self.content.clone();
        state.apply(self.log, &mut content);
        content
    }
}

fn all_states(log: &[Record], rng: &mut Rng) -> Vec<State> {
    windows(log).iter().flat_map(|window| states(window, log, rng)).collect()
}

fn torn_in_blocks(state: &State) -> bool {
    state.torn.as_ref().is_some_and(|torn| torn.in_blocks)
}

fn difference(before: &Contents, now: &Contents) -> String {
    let keys = before.keys().chain(now.keys()).filter(|key| before.get(*key) != now.get(*key));
    let mut keys: Vec<&str> = keys.map(String::as_str).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.join(", ")
}

/// FNV-1a: stable across systems and versions, so that a seed always means the same.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
