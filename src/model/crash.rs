//! What a power cut may leave of a disk.

use std::collections::BTreeMap;
use std::fmt;

use super::disk::{BLOCKS, Content, Disk, FileId, Filesystem, INNER, Inode, Name, Place, Record};

/// Names and contents, in order.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Tree(pub(super) Vec<(Place, Content)>);

impl Tree {
    pub(super) fn at(&self, place: Place) -> Option<Content> {
        self.0.iter().find(|(found, _)| *found == place).map(|(_, content)| *content)
    }

    pub(super) fn set(&mut self, place: Place, content: Option<Content>) {
        self.0.retain(|(found, _)| *found != place);
        if let Some(content) = content {
            self.0.push((place, content));
            self.0.sort_unstable();
        }
    }

    /// The keys and their contents, without temporary files and directories.
    pub(super) fn keys(&self) -> Tree {
        Tree(self.0.iter().filter(|(place, content)| !place.is_temp() && !content.is_directory()).copied().collect())
    }

    /// What is reachable: nothing in a directory without a name.
    fn reachable(self) -> Tree {
        if self.has_inner() { self } else { self.only(|place| place.dir != INNER) }
    }

    pub(super) fn has_temporaries(&self) -> bool {
        self.0.iter().any(|(place, _)| place.is_temp())
    }

    pub(super) fn has_inner(&self) -> bool {
        self.0.iter().any(|(_, content)| content.is_directory())
    }

    pub(super) fn only(&self, which: impl Fn(Place) -> bool) -> Tree {
        Tree(self.0.iter().filter(|(place, _)| which(*place)).copied().collect())
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(place, content)| (place, content))).finish()
    }
}

impl Disk {
    /// What readers see before a cut.
    pub(super) fn visible(&self) -> Tree {
        let found = self.names.iter().filter_map(|(place, entry)| Some((*place, entry.now?)));
        Tree(
            found
                .map(|(place, file)| (place, if place.is_temp() { Content::EMPTY } else { self.files[&file].now }))
                .collect(),
        )
        .reachable()
    }

    /// Every tree that a power cut may leave, limited to the `wanted` places. Contents of temporary files are not distinguished:
    /// nobody reads them.
    pub(super) fn crashes(&self, wanted: impl Fn(Place) -> bool) -> impl Iterator<Item = Tree> {
        let journals = match self.filesystem {
            Filesystem::Journaled => 0..=self.log.len(),
            _ => 0..=0,
        };
        let choices: Vec<_> = journals.map(|committed| self.after(committed, &wanted)).collect();
        choices.into_iter().flat_map(move |(names, files)| {
            product(names).flat_map(move |names| contents(&names, &files).map(Tree::reachable).collect::<Vec<_>>())
        })
    }

    /// The values that each name and the states that each file may have when this many journal records are committed.
    #[expect(clippy::type_complexity, reason = "both are used at once, and only here")]
    fn after(
        &self,
        committed: usize,
        wanted: impl Fn(Place) -> bool,
    ) -> (Vec<(Place, Vec<Option<FileId>>)>, BTreeMap<FileId, Vec<Content>>) {
        let mut names: BTreeMap<Place, Vec<Option<FileId>>> = self
            .names
            .iter()
            .filter(|(place, _)| wanted(**place))
            .map(|(place, entry)| {
                let mut values = entry.since.clone();
                match self.filesystem {
                    Filesystem::Posix if !values.contains(&entry.now) => values.push(entry.now),
                    Filesystem::Posix => {}
                    Filesystem::Lazy | Filesystem::Journaled => values.truncate(1),
                }
                (*place, values)
            })
            .collect();
        let mut durable: BTreeMap<FileId, Content> = BTreeMap::new();
        for record in &self.log[..committed] {
            match record {
                Record::Names(changed) => {
                    for (place, value) in changed {
                        names.entry(*place).and_modify(|values| *values = vec![*value]);
                    }
                }
                Record::WrittenOut(file, content) => _ = durable.insert(*file, *content),
            }
        }
        let states = self.files.iter().map(|(file, inode)| (*file, states(inode, durable.get(file).copied())));
        (names.into_iter().collect(), states.collect())
    }

    /// The disk after a cut.
    pub(super) fn restarted(filesystem: Filesystem, tree: &Tree) -> Disk {
        let files = tree.0.iter().zip(0..);
        files.fold(Disk::new(filesystem), |disk, ((place, content), file)| match content.is_directory() {
            true => disk.with_inner(*place),
            false => disk.with(*place, file, *content),
        })
    }
}

/// The contents that a file may have: what was synced last, or anything if it was written since.
fn states(inode: &Inode, written_out: Option<Content>) -> Vec<Content> {
    let (now, durable) = (inode.now, written_out.or(inode.durable));
    if durable == Some(now) {
        return vec![now];
    }
    let mut found: Vec<Content> = durable.into_iter().collect();
    // Any length; each block written or zero; attributes kept or lost.
    for len in 0..=now.len {
        for kept in 0..1_u8 << len {
            let mut content = Content { len, ..now };
            for block in 0..BLOCKS {
                content.bytes[block] = if kept >> block & 1 == 1 { now.bytes[block] } else { 0 };
            }
            found.push(content);
        }
    }
    let bare = Content { version: Content::EMPTY.version, mode: Content::EMPTY.mode, ..now };
    if bare != now {
        found.push(bare);
    }
    found
}

/// Every choice of one value for each name.
fn product(names: Vec<(Place, Vec<Option<FileId>>)>) -> impl Iterator<Item = Vec<(Place, FileId)>> {
    let count: usize = names.iter().map(|(_, values)| values.len()).product();
    (0..count).map(move |mut n| {
        let chosen = names.iter().filter_map(|(place, values)| {
            let value = values[n % values.len()];
            n /= values.len();
            Some((*place, value?))
        });
        chosen.collect()
    })
}

/// Every state of the files that have these names.
fn contents(names: &[(Place, FileId)], files: &BTreeMap<FileId, Vec<Content>>) -> impl Iterator<Item = Tree> {
    const UNREAD: &[Content] = &[Content::EMPTY];
    let mut read: Vec<FileId> = names.iter().filter(|(place, _)| !place.is_temp()).map(|(_, file)| *file).collect();
    read.sort_unstable();
    read.dedup();
    let count: usize = read.iter().map(|file| files[file].len()).product();
    (0..count).map(move |n| {
        let tree = names.iter().map(|(place, file)| {
            let mut n = n;
            for other in read.iter().take_while(|other| *other != file) {
                n /= files[other].len();
            }
            let states = if matches!(place.name, Name::Temp(_)) { UNREAD } else { &files[file][..] };
            (*place, states[n % states.len()])
        });
        Tree(tree.collect())
    })
}
