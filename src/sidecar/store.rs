//! The one writer of a sidecar's file.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::SidecarError;
use super::file::{Held, Leniency};
use super::options::SidecarOptions;
use super::{KeyId, Purpose, Sidecar, SidecarKey, WrappedKey};
use crate::engine::Selected;
use crate::protocol::Existing;

/// A [`Sidecar`] and the only writer of its file. Changes go one after the other, each durable before the next begins; two threads
/// cannot lose each other's.
///
/// What only moves forward is held to that: a change is refused that takes back `raft_applied_index`, the version, or the
/// `local_epoch` of a key; or that gives a key another purpose. A key that was removed may come back while the store is open only
/// with the epoch that it had, or a later one. No file remembers that: never give a removed id again.
///
/// When a change fails, [`get`](SidecarStore::get) gives what was durable before. Where the directory could not be synced
/// ([`Outcome::Unknown`](crate::Outcome::Unknown)), what is in the file is not known, and every further change is refused until
/// the store is opened anew. So it is if somebody else has changed the file ([`SidecarError::ChangedBehind`]).
///
/// A change waits for the disk: on an async runtime, call it from `spawn_blocking`. The directory is locked while the store is
/// open. See the [module](crate::sidecar) for an example.
#[derive(Debug)]
pub struct SidecarStore {
    held: Held,
    /// Held for the time of a change.
    changing: Mutex<Changing>,
    current: Mutex<Arc<Sidecar>>,
}

#[derive(Debug)]
struct Changing {
    /// Whether the file has the bytes and the mode that we would give it.
    tidy: bool,
    /// The keys that were removed.
    removed: BTreeMap<KeyId, SidecarKey>,
}

impl SidecarStore {
    /// Opens the file, with the defaults of [`SidecarOptions`]. What it holds is made durable first, should somebody have written
    /// it without.
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
        let held = Held::take(path, engine).map_err(|error| match error {
            SidecarError::Io(error) if error.is_not_found() => SidecarError::NotFound { path: path.to_owned() },
            error => error,
        })?;
        let (sidecar, tidy) = held.read(leniency)?;
        Ok(SidecarStore::new(held, sidecar, tidy))
    }

    pub(super) fn create_with(path: &Path, engine: Selected, sidecar: Sidecar) -> Result<SidecarStore, SidecarError> {
        let held = Held::take(path, engine)?;
        held.settle()?;
        held.write(&sidecar, Existing::Refuse)?;
        Ok(SidecarStore::new(held, sidecar, true))
    }

    fn new(held: Held, sidecar: Sidecar, tidy: bool) -> SidecarStore {
        let changing = Changing { tidy, removed: BTreeMap::new() };
        SidecarStore { held, changing: Mutex::new(changing), current: Mutex::new(Arc::new(sidecar)) }
    }

    /// The value as it was durable last. It waits for nobody.
    pub fn get(&self) -> Arc<Sidecar> {
        Arc::clone(&lock(&self.current))
    }

    /// The path that it was opened by.
    pub fn path(&self) -> &Path {
        self.held.path()
    }

    /// Changes the value, and returns when that is durable. A change that changes nothing writes nothing,
    /// unless the file was open to others, or written in another way than ours. `change` must not change the store in turn: it would
    /// wait for itself.
    ///
    /// # Errors
    ///
    /// [`SidecarError::Backwards`], what [`Sidecar::validate`] finds, or the write failed; see
    /// [`SidecarOptions::write`].
    pub fn update<T>(&self, change: impl FnOnce(&mut Sidecar) -> T) -> Result<T, SidecarError> {
        self.try_update(|sidecar| Ok(change(sidecar)))
    }

    /// The same with a change that can fail; nothing is changed then.
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

    /// The same as [`update`](SidecarStore::update), but what only moves forward may be taken back: to repair a node whose state was restored.
    ///
    /// # Errors
    ///
    /// As [`update`](SidecarStore::update), without [`SidecarError::Backwards`].
    pub fn force_update<T>(&self, change: impl FnOnce(&mut Sidecar) -> T) -> Result<T, SidecarError> {
        self.change(|sidecar| Ok(change(sidecar)), false)
    }

    /// Adds one to the local epoch of a key, and returns it when that is durable: no later start of this node can get it again.
    ///
    /// # Errors
    ///
    /// [`SidecarError::EpochExhausted`] at 65,535, [`SidecarError::NoSuchKey`], or as [`update`](SidecarStore::update). The epoch must
    /// not be used then.
    pub fn bump_local_epoch(&self, id: KeyId) -> Result<u16, SidecarError> {
        self.try_update(|sidecar| {
            let key = sidecar.keys.get_mut(&id).ok_or(SidecarError::NoSuchKey { id })?;
            key.local_epoch = key.local_epoch.checked_add(1).ok_or(SidecarError::EpochExhausted { id })?;
            Ok(key.local_epoch)
        })
    }

    /// Adds a key and makes it the active one of its purpose, in one write. Returns its id, a random one that no other key
    /// here has. It begins with local epoch 0, created now. The old key stays, for what was encrypted with it.
    ///
    /// # Errors
    ///
    /// As [`update`](SidecarStore::update).
    pub fn rotate(&self, purpose: Purpose, wrapped: impl Into<WrappedKey>) -> Result<KeyId, SidecarError> {
        self.try_update(|sidecar| {
            // The low half of a hash whose key the system's random source has given.
            let id = free(sidecar, |attempt| RandomState::new().hash_one(attempt) as u32);
            add(sidecar, id, purpose, wrapped.into())
        })
    }

    /// The same with an id that was agreed on elsewhere.
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
        // First: a forked child would wait for threads that it has not.
        self.held.check()?;
        let mut changing = lock(&self.changing);
        let before = self.get();
        let mut after = Sidecar::clone(&before);
        let value = change(&mut after)?;
        if after == *before && changing.tidy {
            return Ok(value);
        }
        if forward {
            moves_forward(&before, &changing.removed, &after)?;
        }
        self.held.write(&after, Existing::Replace)?;
        changing.tidy = true;
        changing.removed.extend(before.keys.iter().map(|(id, key)| (*id, key.clone())));
        changing.removed.retain(|id, _| !after.keys.contains_key(id));
        *lock(&self.current) = Arc::new(after);
        Ok(value)
    }
}

/// An id that no key has, drawn until there is one.
fn free(sidecar: &Sidecar, draw: impl FnMut(u32) -> u32) -> KeyId {
    (0..).map(draw).filter_map(KeyId::new).find(|id| !sidecar.keys.contains_key(id)).expect("drawn for ever")
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

/// A panic in a change leaves the value as it was.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
