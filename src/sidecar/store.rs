//! The one writer of a sidecar's file.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::SidecarError;
use super::file::Held;
use super::options::SidecarOptions;
use super::{KeyId, Purpose, Sidecar, SidecarKey, WrappedKey};
use crate::engine::Selected;
use crate::plan::Existing;

/// A [`Sidecar`] and the only writer of its file. Changes go one after the other, each durable before the next begins; two threads
/// cannot lose each other's.
///
/// What only moves forward is held to that: a change that takes `raft_applied_index` or a key's `local_epoch` back is refused.
/// When a change fails, the value is what it was before it; where the directory could not be synced
/// ([`Outcome::Unknown`](crate::Outcome::Unknown)), what is in the file is not known, and every further change is refused until
/// the store is opened anew.
///
/// A change waits for the disk: on an async runtime, call it from `spawn_blocking`. The directory is locked while the store is
/// open. See the [module](crate::sidecar) for an example.
#[derive(Debug)]
pub struct SidecarStore {
    held: Held,
    /// Held for the time of a change.
    changing: Mutex<()>,
    current: Mutex<Arc<Sidecar>>,
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

    pub(super) fn open_with(path: &Path, engine: Selected, shared: bool) -> Result<SidecarStore, SidecarError> {
        let held = Held::take(path, engine).map_err(|error| match error {
            SidecarError::Io(error) if error.is_not_found() => SidecarError::NotFound { path: path.to_owned() },
            error => error,
        })?;
        let sidecar = held.read(shared)?;
        Ok(SidecarStore::new(held, sidecar))
    }

    pub(super) fn create_with(path: &Path, engine: Selected, sidecar: Sidecar) -> Result<SidecarStore, SidecarError> {
        let held = Held::take(path, engine)?;
        held.write(&sidecar, Existing::Refuse)?;
        Ok(SidecarStore::new(held, sidecar))
    }

    fn new(held: Held, sidecar: Sidecar) -> SidecarStore {
        SidecarStore { held, changing: Mutex::default(), current: Mutex::new(Arc::new(sidecar)) }
    }

    /// The value as the file has it. It waits for nobody.
    pub fn get(&self) -> Arc<Sidecar> {
        Arc::clone(&lock(&self.current))
    }

    /// The path that it was opened by.
    pub fn path(&self) -> &Path {
        self.held.path()
    }

    /// Changes the value, and returns when that is durable. A change that changes nothing writes nothing. `change` must not change
    /// the store in turn: it would wait for itself.
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
        self.change(change, moves_forward)
    }

    /// The same as [`update`](SidecarStore::update), but what only moves forward may be taken back: to repair a node whose state was restored.
    ///
    /// # Errors
    ///
    /// As [`update`](SidecarStore::update), without [`SidecarError::Backwards`].
    pub fn force_update<T>(&self, change: impl FnOnce(&mut Sidecar) -> T) -> Result<T, SidecarError> {
        self.change(|sidecar| Ok(change(sidecar)), |_, _| Ok(()))
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
            let id = loop {
                // The low half of a hash whose key the system's random source has given.
                let id = KeyId::new(RandomState::new().hash_one(sidecar.keys.len()) as u32);
                match id {
                    Some(id) if !sidecar.keys.contains_key(&id) => break id,
                    _ => {}
                }
            };
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
        allowed: impl FnOnce(&Sidecar, &Sidecar) -> Result<(), SidecarError>,
    ) -> Result<T, E> {
        let _turn = lock(&self.changing);
        let before = self.get();
        let mut after = Sidecar::clone(&before);
        let value = change(&mut after)?;
        if after != *before {
            allowed(&before, &after)?;
            self.held.write(&after, Existing::Replace)?;
            *lock(&self.current) = Arc::new(after);
        }
        Ok(value)
    }
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

fn moves_forward(before: &Sidecar, after: &Sidecar) -> Result<(), SidecarError> {
    let check = |field: &dyn Fn() -> String, current: u64, asked: u64| match asked < current {
        true => Err(SidecarError::Backwards { field: field(), current, asked }),
        false => Ok(()),
    };
    check(&|| "raft_applied_index".to_owned(), before.raft_applied_index, after.raft_applied_index)?;
    for (id, key) in &before.keys {
        let Some(after) = after.keys.get(id) else { continue };
        check(&|| format!("keys.{id}.local_epoch"), key.local_epoch.into(), after.local_epoch.into())?;
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
