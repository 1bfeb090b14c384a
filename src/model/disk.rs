//! A filesystem in memory: what is visible, and what is certain to survive a power cut.

use std::collections::{BTreeMap, BTreeSet};

use nix::errno::Errno;

pub(super) use super::content::{BLOCKS, Content, Name, Place};
use crate::protocol::{Call, Condition, Existing};

pub(super) type FileId = u8;
pub(super) type DirId = u8;

/// A directory within another one. It is represented by a file number, so that its name can be removed and given to a file. The
/// other directories always exist.
pub(super) const INNER: DirId = 2;
pub(super) const INNER_FILE: FileId = FileId::MAX - 1;

/// How a filesystem treats what is not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Filesystem {
    /// The minimum of POSIX: each name may independently have any value since the last sync of its directory.
    Posix,
    /// Like `Posix`, but nothing is written before a sync: a cut leaves what was synced last.
    Lazy,
    /// Names change in one order, through a journal, and a cut leaves a prefix of it. A rename is one change. A sync commits the
    /// journal up to the last record that concerns it. Data that was written out is durable with any later commit.
    Journaled,
}

impl Filesystem {
    pub(super) const ALL: [Filesystem; 3] = [Filesystem::Posix, Filesystem::Lazy, Filesystem::Journaled];
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Inode {
    pub(super) now: Content,
    /// The durable content, as of the last sync.
    pub(super) durable: Option<Content>,
    /// A sync failed: its dirty data is marked clean, and no later sync writes it.
    tainted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    pub(super) now: Option<FileId>,
    /// Its values since the last sync of its directory, starting with the durable one and without the current one.
    pub(super) since: Vec<Option<FileId>>,
    /// A sync of its directory failed: no later one makes this value durable.
    lost: bool,
}

/// A journal record that is not committed yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Record {
    Names(Vec<(Place, Option<FileId>)>),
    /// All data of the file was written out before this record.
    WrittenOut(FileId, Content),
}

impl Record {
    fn holds(&self, file: FileId) -> bool {
        match self {
            Record::Names(names) => names.iter().any(|(_, value)| *value == Some(file)),
            Record::WrittenOut(written, _) => *written == file,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Disk {
    pub(super) filesystem: Filesystem,
    pub(super) files: BTreeMap<FileId, Inode>,
    pub(super) names: BTreeMap<Place, Entry>,
    pub(super) log: Vec<Record>,
    /// The journal has failed: every call fails.
    dead: bool,
}

/// The operands of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Operands {
    /// The target.
    pub(super) to: Place,
    pub(super) temp: Name,
    pub(super) source: Option<Place>,
    /// The content for the temporary file, and its number.
    pub(super) bytes: [u8; BLOCKS],
    pub(super) file: FileId,
}

impl Disk {
    pub(super) fn new(filesystem: Filesystem) -> Disk {
        Disk { filesystem, files: BTreeMap::new(), names: BTreeMap::new(), log: Vec::new(), dead: false }
    }

    /// Adds a durable file with a durable name.
    pub(super) fn with(mut self, place: Place, file: FileId, content: Content) -> Disk {
        self.files.insert(file, Inode { now: content, durable: Some(content), tainted: false });
        self.names.insert(place, Entry { now: Some(file), since: vec![Some(file)], lost: false });
        self
    }

    /// Adds a durable empty directory: [`INNER`].
    pub(super) fn with_inner(self, place: Place) -> Disk {
        self.with(place, INNER_FILE, Content::DIRECTORY)
    }

    /// Whether a file can be created in a directory: not if it was removed.
    fn is_reachable(&self, dir: DirId) -> bool {
        dir != INNER || self.names.values().any(|entry| entry.now == Some(INNER_FILE))
    }

    /// Adds a file that is written and not synced, as through a guard.
    pub(super) fn add(&mut self, place: Place, file: FileId, content: Content) {
        self.files.insert(file, Inode { now: content, durable: None, tainted: false });
        self.change(vec![(place, Some(file))]);
    }

    pub(super) fn file_at(&self, place: Place) -> Option<FileId> {
        self.names.get(&place).and_then(|entry| entry.now)
    }

    /// Runs a call. Returns the number of bytes of a write.
    pub(super) fn apply(&mut self, call: &Call, operands: &Operands) -> Result<usize, Errno> {
        if self.dead && !matches!(call, Call::StartSync | Call::CloseFile | Call::Compare { .. } | Call::CheckSource) {
            return Err(Errno::EROFS);
        }
        let temp = Place { dir: operands.to.dir, name: operands.temp };
        match call {
            Call::CreateTemp { mode } => {
                if self.file_at(temp).is_some() {
                    return Err(Errno::EEXIST);
                }
                if !self.is_reachable(temp.dir) {
                    return Err(Errno::ENOENT);
                }
                self.add(temp, operands.file, Content { mode: *mode, ..Content::EMPTY });
            }
            Call::SetOwner(owner) => {
                let content = &mut self.inode(operands)?.now;
                content.owner = Some(owner.uid);
                content.mode &= !0o6000;
            }
            Call::SetAttributes => self.inode(operands)?.now.attributes = true,
            Call::SetMode { mode } => self.inode(operands)?.now.mode = *mode,
            Call::Write { range, sync } => {
                let content = &mut self.inode(operands)?.now;
                content.bytes[range.clone()].copy_from_slice(&operands.bytes[range.clone()]);
                content.len = content.len.max(u8::try_from(range.end).expect("a few bytes"));
                content.mode &= !0o6000;
                if *sync {
                    self.sync_file(operands.file);
                }
                return Ok(range.len());
            }
            Call::Stamp { version } => self.inode(operands)?.now.version = Some(*version),
            Call::StartSync | Call::CloseFile | Call::Describe => {}
            Call::SyncFile => self.sync_file(operands.file),
            Call::WriteOut | Call::SyncRange => {
                let Inode { now, tainted, .. } = *self.inode(operands)?;
                if self.filesystem == Filesystem::Journaled && !tainted {
                    self.log.push(Record::WrittenOut(operands.file, now));
                }
            }
            Call::SyncFilesystem => self.sync_all(),
            Call::Compare { .. } if self.file_at(operands.to) == Some(INNER_FILE) => return Err(Errno::ESTALE),
            Call::Unlink if self.file_at(operands.to) == Some(INNER_FILE) => return Err(Errno::EISDIR),
            Call::Compare { expected } => {
                let found = self.file_at(operands.to).map(|file| self.files[&file].now.version);
                return if found == Some(Some(*expected)) { Ok(0) } else { Err(Errno::ESTALE) };
            }
            Call::Publish { existing: Existing::Refuse } | Call::PublishByLink
                if self.file_at(operands.to).is_some() =>
            {
                return Err(Errno::EEXIST);
            }
            Call::Publish { .. } | Call::Move if self.file_at(operands.to) == Some(INNER_FILE) => {
                return Err(Errno::EISDIR);
            }
            Call::ClearName { existing } => match self.file_at(operands.to) {
                Some(INNER_FILE)
                    if self.names.iter().any(|(place, entry)| place.dir == INNER && entry.now.is_some()) =>
                {
                    return Err(Errno::EISDIR);
                }
                Some(INNER_FILE) => self.change(vec![(operands.to, None)]),
                Some(_) if *existing == Existing::Refuse => return Err(Errno::EEXIST),
                _ => {}
            },
            Call::Publish { .. } => self.rename(temp, operands.to)?,
            Call::PublishByLink => {
                let file = self.file_at(temp).ok_or(Errno::ENOENT)?;
                self.change(vec![(operands.to, Some(file))]);
            }
            Call::CheckSource => match self.file_at(operands.source.ok_or(Errno::EBADF)?) {
                None => return Err(Errno::ENOENT),
                Some(INNER_FILE) => return Err(Errno::EISDIR),
                Some(_) => {}
            },
            Call::Move => self.rename(operands.source.ok_or(Errno::EBADF)?, operands.to)?,
            Call::Unlink => self.remove(operands.to)?,
            Call::SyncDir => self.sync_dir(operands.to.dir),
            Call::SyncSourceDir => self.sync_dir(operands.source.ok_or(Errno::EBADF)?.dir),
            Call::RemoveTemp => self.remove(temp)?,
            Call::Admit(condition) => self.admit(operands.to, *condition)?,
            Call::SyncPresent => {
                for place in [Some(operands.to), operands.source].into_iter().flatten() {
                    self.file_at(place).into_iter().for_each(|file| self.sync_file(file));
                    self.sync_dir(place.dir);
                }
            }
            // A commit writes to its log by itself.
            Call::LogFileRules | Call::LogChange => return Err(Errno::EOPNOTSUPP),
        }
        Ok(0)
    }

    fn admit(&self, place: Place, condition: Condition) -> Result<(), Errno> {
        let found = self.file_at(place);
        let version = found.and_then(|file| self.files[&file].now.version);
        match condition {
            Condition::Put(Existing::Match(expected)) | Condition::Delete(Some(expected))
                if version != Some(expected) =>
            {
                Err(Errno::ESTALE)
            }
            Condition::Put(Existing::Refuse) if found.is_some() => Err(Errno::EEXIST),
            Condition::Put(Existing::Replace) | Condition::Delete(None) if found == Some(INNER_FILE) => {
                Err(Errno::EISDIR)
            }
            Condition::Delete(None) if found.is_none() => Err(Errno::ENOENT),
            Condition::Put(_) | Condition::Delete(_) => Ok(()),
        }
    }

    /// The damage of a call that fails.
    pub(super) fn fail(&mut self, call: &Call, operands: &Operands, errno: Errno) {
        match call {
            Call::WriteOut | Call::SyncFile | Call::SyncRange => self.taint(operands.file),
            // Refused before anything was written.
            Call::Write { sync: true, .. } if errno == Errno::EOPNOTSUPP => {}
            // Its data is in the page cache; after a device error the cache does not write it again.
            Call::Write { range, sync: true } => {
                let _ = self.apply(&Call::Write { range: range.clone(), sync: false }, operands);
                if errno != Errno::EINTR {
                    self.taint(operands.file);
                }
            }
            Call::SyncFilesystem => {
                self.files.keys().copied().collect::<Vec<_>>().into_iter().for_each(|file| self.taint(file));
                self.lose(|_| true);
            }
            Call::SyncDir | Call::SyncPresent => self.lose_dir(operands.to.dir),
            Call::SyncSourceDir => self.lose_dir(operands.source.map_or(operands.to.dir, |source| source.dir)),
            _ => {}
        }
    }

    fn inode(&mut self, operands: &Operands) -> Result<&mut Inode, Errno> {
        self.files.get_mut(&operands.file).ok_or(Errno::EBADF)
    }

    fn rename(&mut self, from: Place, to: Place) -> Result<(), Errno> {
        let file = self.file_at(from).ok_or(Errno::ENOENT)?;
        if self.file_at(to) != Some(file) {
            self.change(vec![(to, Some(file)), (from, None)]);
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, place: Place) -> Result<(), Errno> {
        self.file_at(place).ok_or(Errno::ENOENT)?;
        self.change(vec![(place, None)]);
        Ok(())
    }

    fn change(&mut self, names: Vec<(Place, Option<FileId>)>) {
        for (place, now) in &names {
            let entry = self.names.entry(*place).or_insert(Entry { now: None, since: vec![None], lost: false });
            let before = std::mem::replace(&mut entry.now, *now);
            entry.lost = false;
            // Sorted, so that equal disks compare equal. The first value is the durable one. A journal has its own order.
            if self.filesystem != Filesystem::Journaled && !entry.since.contains(&before) {
                entry.since.push(before);
                entry.since[1..].sort_unstable();
            }
        }
        if self.filesystem == Filesystem::Journaled {
            self.log.push(Record::Names(names));
        }
    }

    fn sync_file(&mut self, file: FileId) {
        self.commit(self.log.iter().rposition(|record| record.holds(file)));
        if let Some(inode) = self.files.get_mut(&file).filter(|inode| !inode.tainted) {
            inode.durable = Some(inode.now);
        }
    }

    pub(super) fn sync_dir(&mut self, dir: DirId) {
        let concerns =
            |record: &Record| matches!(record, Record::Names(names) if names.iter().any(|(place, _)| place.dir == dir));
        self.commit(self.log.iter().rposition(concerns));
        self.settle(|place| place.dir == dir);
    }

    fn sync_all(&mut self) {
        self.files.keys().copied().collect::<Vec<_>>().into_iter().for_each(|file| self.sync_file(file));
        self.commit(self.log.len().checked_sub(1));
        self.settle(|_| true);
    }

    /// Commits the journal through this record.
    fn commit(&mut self, last: Option<usize>) {
        let Some(last) = last else { return };
        for record in self.log.drain(..=last) {
            match record {
                Record::Names(names) => {
                    for (place, value) in names {
                        self.names.get_mut(&place).expect("it was changed").since[0] = value;
                    }
                }
                Record::WrittenOut(file, content) => {
                    if let Some(inode) = self.files.get_mut(&file).filter(|inode| !inode.tainted) {
                        inode.durable = Some(content);
                    }
                }
            }
        }
        self.forget();
    }

    /// Makes the current values of these names durable, on filesystems without a journal.
    fn settle(&mut self, which: impl Fn(Place) -> bool) {
        if self.filesystem == Filesystem::Journaled {
            return;
        }
        for (_, entry) in self.names.iter_mut().filter(|(place, entry)| which(**place) && !entry.lost) {
            entry.since = vec![entry.now];
        }
        self.forget();
    }

    /// Forgets names that are durably absent, and files without a name.
    fn forget(&mut self) {
        let log = &self.log;
        let waits = |place: &Place| {
            log.iter().any(|record| matches!(record, Record::Names(names) if names.iter().any(|name| name.0 == *place)))
        };
        self.names.retain(|place, entry| entry.now.is_some() || entry.since != [None] || waits(place));
        let held: BTreeSet<FileId> =
            self.names.values().flat_map(|entry| entry.since.iter().chain([&entry.now]).copied().flatten()).collect();
        self.files.retain(|file, _| held.contains(file) || log.iter().any(|record| record.holds(*file)));
    }

    fn taint(&mut self, file: FileId) {
        if let Some(inode) = self.files.get_mut(&file).filter(|inode| inode.durable != Some(inode.now)) {
            inode.tainted = true;
        }
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead
    }

    /// Whether no failed sync has left anything behind.
    pub(super) fn is_sound(&self) -> bool {
        !self.dead && self.names.values().all(|entry| !entry.lost) && self.files.values().all(|inode| !inode.tainted)
    }

    fn lose_dir(&mut self, dir: DirId) {
        self.dead = self.filesystem == Filesystem::Journaled;
        self.lose(|place| place.dir == dir);
    }

    fn lose(&mut self, which: impl Fn(Place) -> bool) {
        for (_, entry) in self.names.iter_mut().filter(|(place, _)| which(**place)) {
            entry.lost |= entry.since != [entry.now];
        }
    }
}
