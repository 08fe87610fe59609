#![allow(clippy::disallowed_methods, reason = "this module owns the wait between the two looks at the locks")]
//! The life of a lock, as restic has it: look, write, wait 200 ms, look again; refresh every five minutes;
//! stop writing when it could not be refreshed for 22.5 minutes, since others may remove it after 30.
//!
//! | held | shared wanted | exclusive wanted |
//! |---|---|---|
//! | nothing | taken | taken |
//! | shared | taken | refused |
//! | exclusive | refused | refused |

mod holder;

use crate::documents::Documents;
use crate::id::Id;
use crate::layout::ObjectKind;
use crate::lockfile::LockFile;
use jiff::Timestamp;
use recoup_core::env::Env;
use recoup_core::event::{Event, Finding, Severity};
use recoup_core::name::escape;
use recoup_core::units::Span;
use recoup_core::{Error, Kind, Result};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

/// For stores whose listings lag behind.
const WAIT_BEFORE_SECOND_LOOK: Duration = Duration::from_millis(200);
const REFRESH_EVERY: Duration = Duration::from_secs(5 * 60);
/// How often the clocks are asked whether it is time; timers stand still while a machine sleeps.
const LOOK_EVERY: Duration = Duration::from_secs(20);
const STALE_AFTER: Duration = Duration::from_secs(30 * 60);
const USABLE_FOR: Duration = Duration::from_secs(30 * 60 - 5 * 60 * 3 / 2);
/// A lock that cannot be read may still be on its way; it is read so often.
const READS_MAX: u32 = 4;

/// Whether others may work at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// With other holders of shared locks: backup, restore.
    Shared,
    /// Alone: forget.
    Exclusive,
}

/// What is known of a lock that stands in the repository.
#[derive(Clone, Debug)]
pub struct LockInfo {
    /// Its name.
    pub id: Id,
    /// What it says; `None` if it cannot be read.
    pub lock: Option<LockFile>,
    /// Whether its holder is alive.
    pub state: LockState,
}

/// Whether the holder of a lock is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockState {
    /// As far as we know.
    Held,
    /// Not refreshed for half an hour: abandoned, or its holder's clock is wrong.
    Stale,
    /// Its holder ran on this machine and is gone.
    Dead,
    /// The lock cannot be read.
    Unreadable,
}

/// What `unlock` did.
#[derive(Clone, Debug, Default)]
pub struct Unlocked {
    /// Removed.
    pub removed: Vec<LockInfo>,
    /// Left alone.
    pub kept: Vec<LockInfo>,
}

/// A lock that is held. It is refreshed in the background until it is released; dropping it releases it
/// too if the runtime still runs.
#[derive(Debug)]
pub struct LockGuard {
    held: Arc<Held>,
    refresher: JoinHandle<()>,
}

/// Looks at a lock that somebody else holds in this process.
#[derive(Clone, Debug)]
pub struct LockWatch(Arc<Held>);

impl LockWatch {
    /// As [`LockGuard::check`].
    ///
    /// # Errors
    /// As [`LockGuard::check`].
    pub fn check(&self) -> Result<()> {
        self.0.check()
    }
}

#[derive(Debug)]
struct Held {
    documents: Documents,
    exclusive: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Our lock files; the last one counts, the others could not be deleted yet.
    ids: Vec<Id>,
    /// When the last one was written, by both clocks.
    written: (Timestamp, Duration),
    /// Somebody removed it.
    lost: bool,
}

/// Takes a lock; waits up to `wait` for others to finish.
///
/// # Errors
/// `Kind::Locked`, E0411, if somebody else holds the repository; the error names the holder.
pub async fn acquire(documents: &Documents, mode: LockMode, wait: Duration) -> Result<LockGuard> {
    const ASK_EVERY: Duration = Duration::from_secs(2);
    let clock = &documents.env.clock;
    let end = clock.monotonic().saturating_add(wait);
    loop {
        match acquire_now(documents, mode).await {
            Err(err) if err.kind() == Kind::Locked && clock.monotonic() < end => {
                tokio::time::sleep(ASK_EVERY.min(end.saturating_sub(clock.monotonic()))).await;
            }
            result => return result,
        }
    }
}

async fn acquire_now(documents: &Documents, mode: LockMode) -> Result<LockGuard> {
    let exclusive = mode == LockMode::Exclusive;
    refuse_conflicts(documents, exclusive, &[]).await?;
    let guard = LockGuard::write(documents, exclusive).await?;
    // Of two that both wrote before they look again each sees the other, if listings are current.
    if !documents.store.capabilities().current_listing {
        tokio::time::sleep(WAIT_BEFORE_SECOND_LOOK).await;
    }
    let own = guard.held.state().ids.clone();
    if let Err(err) = refuse_conflicts(documents, exclusive, &own).await {
        guard.release().await?;
        return Err(err);
    }
    Ok(guard)
}

/// Every lock in the repository.
///
/// # Errors
/// As the store says.
pub async fn all(documents: &Documents) -> Result<Vec<LockInfo>> {
    let mut found = Vec::new();
    for (id, size) in documents.list(ObjectKind::Lock).await?.objects {
        // Some stores leave an empty file where an upload was cut off.
        if size == 0 {
            continue;
        }
        match read(documents, &id).await {
            Ok(Some(lock)) => {
                let state = state_of(&lock, &documents.env);
                found.push(LockInfo { id, lock: Some(lock), state });
            }
            Ok(None) => {}
            Err(err) if err.kind() == Kind::Corrupt || err.kind() == Kind::Refused => {
                found.push(LockInfo { id, lock: None, state: LockState::Unreadable });
            }
            Err(err) => return Err(err),
        }
    }
    Ok(found)
}

/// Removes dead and stale locks, or all of them.
///
/// # Errors
/// As the store says.
pub async fn unlock(documents: &Documents, everything: bool) -> Result<Unlocked> {
    let mut unlocked = Unlocked::default();
    for info in all(documents).await? {
        if everything || matches!(info.state, LockState::Dead | LockState::Stale) {
            documents.delete(ObjectKind::Lock, &info.id).await?;
            unlocked.removed.push(info);
        } else {
            unlocked.kept.push(info);
        }
    }
    Ok(unlocked)
}

impl LockGuard {
    async fn write(documents: &Documents, exclusive: bool) -> Result<Self> {
        let clock = &documents.env.clock;
        let written = (clock.now(), clock.monotonic());
        let id = documents.save(ObjectKind::Lock, lock_file(&documents.env, exclusive)?).await?;
        let state = Mutex::new(State { ids: vec![id], written, lost: false });
        let held = Arc::new(Held { documents: documents.clone(), exclusive, state });
        let refresher = tokio::spawn(Arc::clone(&held).refresh_forever());
        Ok(LockGuard { held, refresher })
    }

    /// Asks whether the lock is still good. To be asked before every write.
    ///
    /// # Errors
    /// `Kind::Interrupted`, E0466, if it was removed, or not refreshed for so long that others may
    /// remove it.
    pub fn check(&self) -> Result<()> {
        self.held.check()
    }

    /// Something to ask [`LockGuard::check`] with from elsewhere.
    pub fn watch(&self) -> LockWatch {
        LockWatch(Arc::clone(&self.held))
    }

    /// Releases the lock.
    ///
    /// # Errors
    /// As the store says; the lock then stays until its holder is gone.
    pub async fn release(self) -> Result<()> {
        self.refresher.abort();
        self.held.remove().await
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        self.refresher.abort();
        let held = Arc::clone(&self.held);
        if held.state().ids.is_empty() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // Whoever drops a lock without releasing it does not wait; the next run removes what stays.
            runtime.spawn(async move { drop(held.remove().await) });
        }
    }
}

impl Held {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two changes of the state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// By the clock that moved further: one stands still while the machine sleeps, the other can be set.
    fn age(&self) -> Duration {
        let (at, monotonic) = self.state().written;
        let clock = &self.documents.env.clock;
        let wall = Duration::try_from(clock.now().duration_since(at)).unwrap_or_default();
        wall.max(clock.monotonic().saturating_sub(monotonic))
    }

    fn check(&self) -> Result<()> {
        let why = if self.state().lost {
            "somebody removed it"
        } else if self.age() > USABLE_FOR {
            "it could not be refreshed in time"
        } else {
            return Ok(());
        };
        Err(Error::new(Kind::Interrupted, format!("rely on the lock of the repository: {why}"))
            .with("location", self.documents.store.location())
            .code("E0466")
            .effect("nothing more was written; what was complete before stays"))
    }

    async fn refresh_forever(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let age = self.age();
            if age > USABLE_FOR || self.state().lost {
                return;
            }
            // A failure is tried again at the next look, until the lock is too old.
            if age >= REFRESH_EVERY {
                let _ = self.refresh().await;
            }
        }
    }

    /// Writes a new lock file, then deletes the old ones.
    async fn refresh(&self) -> Result<()> {
        let old = self.state().ids.clone();
        let listed = self.documents.list(ObjectKind::Lock).await?.objects;
        if !old.last().is_some_and(|current| listed.iter().any(|(id, _)| id == current)) {
            self.state().lost = true;
            return Ok(());
        }
        let clock = &self.documents.env.clock;
        let written = (clock.now(), clock.monotonic());
        let lock = lock_file(&self.documents.env, self.exclusive)?;
        let id = self.documents.save(ObjectKind::Lock, lock).await?;
        {
            let mut state = self.state();
            state.ids.push(id);
            state.written = written;
        }
        for id in old {
            self.delete(id).await?;
        }
        Ok(())
    }

    async fn delete(&self, id: Id) -> Result<()> {
        self.documents.delete(ObjectKind::Lock, &id).await?;
        self.state().ids.retain(|other| *other != id);
        Ok(())
    }

    async fn remove(&self) -> Result<()> {
        let ids = self.state().ids.clone();
        for id in ids {
            self.delete(id).await?;
        }
        Ok(())
    }
}

fn lock_file(env: &Env, exclusive: bool) -> Result<Vec<u8>> {
    let mut lock = LockFile::new(env, exclusive);
    holder::mark(&mut lock);
    lock.encode()
}

fn state_of(lock: &LockFile, env: &Env) -> LockState {
    let age = Duration::try_from(env.now().duration_since(lock.time.at)).unwrap_or_default();
    if holder::is_provably_dead(lock, env) {
        LockState::Dead
    } else if age > STALE_AFTER {
        LockState::Stale
    } else {
        LockState::Held
    }
}

/// `None` if it went away since the listing.
async fn read(documents: &Documents, id: &Id) -> Result<Option<LockFile>> {
    let mut reads = 1;
    loop {
        let result = documents.load(ObjectKind::Lock, id).await.and_then(|json| LockFile::decode(&json));
        match result {
            Ok(lock) => return Ok(Some(lock)),
            Err(err) if err.kind() == Kind::NotFound => return Ok(None),
            Err(err) if reads == READS_MAX => return Err(err),
            Err(_) => tokio::time::sleep(WAIT_BEFORE_SECOND_LOOK * reads).await,
        }
        reads += 1;
    }
}

/// Removes locks whose holder is provably gone, and refuses if one that is left stands in the way.
async fn refuse_conflicts(documents: &Documents, exclusive: bool, own: &[Id]) -> Result<()> {
    for info in all(documents).await? {
        if own.contains(&info.id) {
            continue;
        }
        if info.state == LockState::Dead {
            documents.delete(ObjectKind::Lock, &info.id).await?;
            tell_removed(documents, &info);
            continue;
        }
        if exclusive || info.lock.as_ref().is_none_or(|lock| lock.exclusive) {
            return Err(locked(documents, &info));
        }
    }
    Ok(())
}

fn tell_removed(documents: &Documents, info: &LockInfo) {
    documents.env.emit(Event::Finding(Finding::new(
        "W0467",
        Severity::Info,
        documents.store.location(),
        format!("removed the lock of a process that is gone ({})", holder_text(info, &documents.env)),
        "nothing",
    )));
}

fn locked(documents: &Documents, info: &LockInfo) -> Error {
    let hint = match info.state {
        LockState::Held | LockState::Dead => "wait until it has finished",
        LockState::Stale => "make sure that it is gone, then run `recoup repo unlock`",
        LockState::Unreadable => {
            "make sure that nobody uses the repository, then run `recoup repo unlock --all`"
        }
    };
    Error::new(Kind::Locked, "lock the repository: somebody else holds it")
        .with("location", documents.store.location())
        .with("holder", holder_text(info, &documents.env))
        .with("lock", info.id)
        .code("E0411")
        .effect("nothing was read or written")
        .hint(hint)
}

/// The holder of a lock in words, for people.
pub fn holder_text(info: &LockInfo, env: &Env) -> String {
    let Some(lock) = &info.lock else { return "unknown, the lock cannot be read".into() };
    let age = Duration::try_from(env.now().duration_since(lock.time.at)).unwrap_or_default();
    format!(
        "process {} of {} on {}, {}, refreshed {} ago",
        lock.pid,
        escape(lock.username.as_bytes()),
        escape(lock.hostname.as_bytes()),
        if lock.exclusive { "exclusive" } else { "shared" },
        Span(Duration::from_secs(age.as_secs()))
    )
}
