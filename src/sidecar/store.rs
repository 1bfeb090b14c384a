//! The only writer of a sidecar's file.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::error::SidecarError;
use super::file::{Leniency, LockedFile};
use super::options::SidecarOptions;
use super::{KeyId, Purpose, Sidecar, SidecarKey, WrappedKey};
use crate::engine::Selected;
use crate::lock;
use crate::protocol::Existing;

/// A [`Sidecar`] and the only writer of its file. Changes run one at a time, each durable before the next begins, so
/// concurrent threads cannot lose each other's changes.
///
/// A change is refused if it lowers `raft_applied_index`, the version, or the `local_epoch` of a key, or gives a key
/// another purpose. While the store is open, a removed key may return only with its old epoch or a later one. The file
/// does not remember removed keys, so never reuse a removed id.
///
/// When a change fails, [`get`](SidecarStore::get) returns the last durable value. If the directory could not be synced
/// ([`Outcome::Unknown`](crate::Outcome::Unknown)), the content of the file is unknown and every further change is refused until
/// the store is reopened. The same applies if another program changed the file ([`SidecarError::ChangedBehind`]).
///
/// A change blocks until it is durable: on an async runtime, use `spawn_blocking`. The directory is locked while the
/// store is open. See the [module](crate::sidecar) for an example.
#[derive(Debug)]
pub struct SidecarStore {
    held: LockedFile,
    /// Locked during a change, to serialize changes.
    changing: Mutex<ChangeState>,
    current: Mutex<Arc<Sidecar>>,
}

#[derive(Debug)]
struct ChangeState {
    /// Whether the file has the bytes and mode that a write would give it.
    canonical: bool,
    /// The keys removed since the store was opened.
    removed: BTreeMap<KeyId, SidecarKey>,
}

impl SidecarStore {
    /// Opens the file, with the defaults of [`SidecarOptions`]. Syncs its content first, in case another program wrote
    /// it without a sync.
    ///
    /// # Errors
    ///
    /// As [`SidecarOptions::open`]; [`SidecarError::is_not_found`] on the first boot.
    pub fn open(path: impl AsRef<Path>) -> Result<SidecarStore, SidecarError> {
        SidecarOptions::new().open(path)
    }

    /// Creates the file, which must not exist, with the defaults of [`SidecarOptions`].
    ///
    /// # Errors
    ///
    /// As [`SidecarOptions::create`].
    pub fn create(path: impl AsRef<Path>, sidecar: Sidecar) -> Result<SidecarStore, SidecarError> {
        SidecarOptions::new().create(path, sidecar)
    }

    pub(super) fn open_with(path: &Path, engine: Selected, leniency: Leniency) -> Result<SidecarStore, SidecarError> {
        let held = LockedFile::take(path, engine).map_err(|error| match error {
            SidecarError::Io(error) if error.is_not_found() => SidecarError::NotFound { path: path.to_owned() },
            error => error,
        })?;
        let (sidecar, canonical) = held.read(leniency)?;
        Ok(SidecarStore::new(held, sidecar, canonical))
    }

    pub(super) fn create_with(path: &Path, engine: Selected, sidecar: Sidecar) -> Result<SidecarStore, SidecarError> {
        let held = LockedFile::take(path, engine)?;
        held.sync_parent()?;
        held.write(&sidecar, Existing::Refuse)?;
        Ok(SidecarStore::new(held, sidecar, true))
    }

    fn new(held: LockedFile, sidecar: Sidecar, canonical: bool) -> SidecarStore {
        let changing = ChangeState { canonical, removed: BTreeMap::new() };
        SidecarStore { held, changing: Mutex::new(changing), current: Mutex::new(Arc::new(sidecar)) }
    }

    /// The last durable value. Does not wait for a change in progress.
    pub fn get(&self) -> Arc<Sidecar> {
        Arc::clone(&lock(&self.current))
    }

    /// The path given when the store was opened.
    pub fn path(&self) -> &Path {
        self.held.path()
    }

    /// Changes the value, and returns when the new value is durable. If nothing changed, nothing is written, unless the
    /// mode or the formatting of the file is not canonical. `change` must not change this store again: that deadlocks.
    ///
    /// # Errors
    ///
    /// [`SidecarError::Backwards`]; as [`Sidecar::validate`]; or the write failed, as [`SidecarOptions::write`].
    pub fn update<T>(&self, change: impl FnOnce(&mut Sidecar) -> T) -> Result<T, SidecarError> {
        self.try_update(|sidecar| Ok(change(sidecar)))
    }

    /// Like [`update`](SidecarStore::update), with a `change` that can fail. Nothing is changed then.
    ///
    /// # Errors
    ///
    /// The error of `change`, or as [`update`](SidecarStore::update).
    pub fn try_update<T, E: From<SidecarError>>(
        &self,
        change: impl FnOnce(&mut Sidecar) -> Result<T, E>,
    ) -> Result<T, E> {
        self.change(change, true)
    }

    /// Like [`update`](SidecarStore::update), but allows lower values, to repair a node whose state was restored.
    ///
    /// # Errors
    ///
    /// As [`update`](SidecarStore::update), without [`SidecarError::Backwards`].
    pub fn force_update<T>(&self, change: impl FnOnce(&mut Sidecar) -> T) -> Result<T, SidecarError> {
        self.change(|sidecar| Ok(change(sidecar)), false)
    }

    /// Increments the local epoch of a key, and returns it once it is durable, so that no later start of this node gets it again.
    ///
    /// # Errors
    ///
    /// [`SidecarError::EpochExhausted`] at 65,535, [`SidecarError::NoSuchKey`], or as [`update`](SidecarStore::update).
    /// After an error, the epoch must not be used.
    pub fn bump_local_epoch(&self, id: KeyId) -> Result<u16, SidecarError> {
        self.try_update(|sidecar| {
            let key = sidecar.keys.get_mut(&id).ok_or(SidecarError::NoSuchKey { id })?;
            key.local_epoch = key.local_epoch.checked_add(1).ok_or(SidecarError::EpochExhausted { id })?;
            Ok(key.local_epoch)
        })
    }

    /// Adds a key and makes it the active key of its purpose, in one write. Returns its id, which is random and unused.
    /// The key starts with local epoch 0 and the current time. The old key stays, for data that was encrypted with it.
    ///
    /// # Errors
    ///
    /// As [`update`](SidecarStore::update).
    pub fn rotate(&self, purpose: Purpose, wrapped: impl Into<WrappedKey>) -> Result<KeyId, SidecarError> {
        self.try_update(|sidecar| {
            // The low half of a hash with a key from the system's random source.
            let id = unused_id(sidecar, |attempt| RandomState::new().hash_one(attempt) as u32);
            add(sidecar, id, purpose, wrapped.into())
        })
    }

    /// Like [`rotate`](SidecarStore::rotate), with an id chosen by the caller.
    ///
    /// # Errors
    ///
    /// [`SidecarError::KeyExists`], or as [`update`](SidecarStore::update).
    pub fn rotate_to(&self, id: KeyId, purpose: Purpose, wrapped: impl Into<WrappedKey>) -> Result<(), SidecarError> {
        self.try_update(|sidecar| add(sidecar, id, purpose, wrapped.into()).map(drop))
    }

    fn change<T, E: From<SidecarError>>(
        &self,
        change: impl FnOnce(&mut Sidecar) -> Result<T, E>,
        forward: bool,
    ) -> Result<T, E> {
        // Check this first: a forked child would wait for threads that it does not have.
        self.held.check()?;
        let mut changing = lock(&self.changing);
        let before = self.get();
        let mut after = Sidecar::clone(&before);
        let value = change(&mut after)?;
        if after == *before && changing.canonical {
            return Ok(value);
        }
        if forward {
            moves_forward(&before, &changing.removed, &after)?;
        }
        self.held.write(&after, Existing::Replace)?;
        changing.canonical = true;
        changing.removed.extend(before.keys.iter().map(|(id, key)| (*id, key.clone())));
        changing.removed.retain(|id, _| !after.keys.contains_key(id));
        *lock(&self.current) = Arc::new(after);
        Ok(value)
    }
}

/// Draws ids until one is unused.
fn unused_id(sidecar: &Sidecar, draw: impl FnMut(u32) -> u32) -> KeyId {
    (0..).map(draw).filter_map(KeyId::new).find(|id| !sidecar.keys.contains_key(id)).expect("an endless iterator")
}

fn add(sidecar: &mut Sidecar, id: KeyId, purpose: Purpose, wrapped: WrappedKey) -> Result<KeyId, SidecarError> {
    if sidecar.keys.contains_key(&id) {
        return Err(SidecarError::KeyExists { id });
    }
    let created = format!("{:.0}", jiff::Timestamp::now());
    sidecar.keys.insert(id, SidecarKey { purpose, wrapped, created, local_epoch: 0 });
    sidecar.set_active(purpose, Some(id))?;
    Ok(id)
}

fn moves_forward(before: &Sidecar, removed: &BTreeMap<KeyId, SidecarKey>, after: &Sidecar) -> Result<(), SidecarError> {
    let check = |field: &dyn Fn() -> String, current: u64, asked: u64| match asked < current {
        true => Err(SidecarError::Backwards { field: field(), current, asked }),
        false => Ok(()),
    };
    check(&|| "raft_applied_index".to_owned(), before.raft_applied_index, after.raft_applied_index)?;
    check(&|| "version".to_owned(), before.version().into(), after.version().into())?;
    for (id, key) in before.keys.iter().chain(removed) {
        let Some(after) = after.keys.get(id) else { continue };
        check(&|| format!("keys.{id}.local_epoch"), key.local_epoch.into(), after.local_epoch.into())?;
        if after.purpose != key.purpose {
            return Err(SidecarError::KeyExists { id: *id });
        }
    }
    Ok(())
}

/// Ignores poisoning: a panic in a change leaves the value unchanged.
#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
