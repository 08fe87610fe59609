//! The key files of an open repository: listed, added, removed, replaced. Nothing is removed before
//! another key file was read back and opened, so that whatever stops this in between, a password works.

use crate::documents::{self, put_new};
use crate::id::Id;
use crate::keyfile::{KeyFile, PasswordStrength, Unlock};
use crate::layout::{self, ObjectKind};
use crate::locks::LockMode;
use crate::repository::Repository;
use recoup_core::secret::Secret;
use recoup_core::{Error, Kind, Result};
use std::time::Duration;

/// A key file of the repository.
#[derive(Debug)]
pub struct KeyInfo {
    /// Its name.
    pub id: Id,
    /// What it says, or why it cannot be used.
    pub file: Result<KeyFile>,
    /// Whether it is the one that took our password.
    pub is_current: bool,
}

/// How a key file is made.
#[derive(Clone, Debug, Default)]
pub struct KeyOptions {
    /// How the password came to be.
    pub strength: PasswordStrength,
    /// Host name to write into it, instead of ours.
    pub hostname: Option<String>,
    /// User name to write into it, instead of ours.
    pub username: Option<String>,
    /// How long to wait for others who hold the repository.
    pub lock_wait: Duration,
}

/// Every key file, by name. Nothing of it is secret.
///
/// # Errors
/// As the store says.
pub async fn list(repository: &Repository) -> Result<Vec<KeyInfo>> {
    let mut keys = Vec::new();
    for (id, _) in repository.documents().list(ObjectKind::Key).await?.objects {
        match read(repository, &id).await {
            Err(err) if err.kind() == Kind::NotFound => {}
            Err(err) if !matches!(err.kind(), Kind::Corrupt | Kind::Unsupported) => return Err(err),
            file => keys.push(KeyInfo { id, file, is_current: repository.key_id() == Some(id) }),
        }
    }
    Ok(keys)
}

/// The one key file whose name begins with `wanted`.
///
/// # Errors
/// `Kind::NotFound` or `Kind::Config`, E0490, if there is none or several.
pub async fn find(repository: &Repository, wanted: &str) -> Result<Id> {
    let wanted = wanted.to_ascii_lowercase();
    let listed = repository.documents().list(ObjectKind::Key).await?.objects;
    let mut found = listed.iter().map(|(id, _)| *id).filter(|id| id.to_string().starts_with(&wanted));
    let (first, second) = (found.next(), found.next());
    let shown = recoup_core::name::escape(wanted.chars().take(80).collect::<String>().as_bytes());
    let none = |kind, why: &str| {
        Err(Error::new(kind, format!("find the key \"{shown}\": {why}"))
            .code("E0490")
            .effect("no key was changed"))
    };
    match (first, second) {
        _ if wanted.is_empty() => none(Kind::Config, "no id was given"),
        (None, _) => none(Kind::NotFound, "no key has such an id"),
        (Some(_), Some(_)) => none(Kind::Config, "several keys have such an id"),
        (Some(id), None) => Ok(id),
    }
}

/// Adds a key file that `password` opens, and opens it before it says so.
///
/// # Errors
/// `Kind::Locked`, E0411; `Kind::Corrupt`, E0491, if what is stored does not open, and then it is gone
/// again; as the store says.
pub async fn add(repository: &Repository, password: &Secret, options: &KeyOptions) -> Result<Id> {
    repository.refuse_version_1()?;
    let lock = repository.lock_within(LockMode::Shared, options.lock_wait).await?;
    let added = write_and_prove(repository, password, options).await;
    lock.release().await?;
    added
}

/// Removes the key file `id`.
///
/// # Errors
/// `Kind::Locked`, E0411; `Kind::Refused`, E0490, if it is the one in use, or the one in use is not there
/// any more; `Kind::NotFound`, E0490.
pub async fn remove(repository: &Repository, id: Id, lock_wait: Duration) -> Result<()> {
    repository.refuse_version_1()?;
    let lock = repository.lock_within(LockMode::Exclusive, lock_wait).await?;
    let removed = remove_locked(repository, id).await;
    lock.release().await?;
    removed
}

/// Replaces the key file in use by one that `password` opens; gives the names of the new and the old one.
///
/// # Errors
/// As [`add`] and [`remove`]. After an error the old password works still.
pub async fn change_password(
    repository: &Repository,
    password: &Secret,
    options: &KeyOptions,
) -> Result<(Id, Id)> {
    repository.refuse_version_1()?;
    let lock = repository.lock_within(LockMode::Exclusive, options.lock_wait).await?;
    let changed = change_locked(repository, password, options).await;
    lock.release().await?;
    changed
}

async fn change_locked(repository: &Repository, password: &Secret, options: &KeyOptions) -> Result<(Id, Id)> {
    let old = repository.key_id().ok_or_else(|| refused("it is not known which key is in use"))?;
    let new = write_and_prove(repository, password, options).await?;
    repository
        .documents()
        .delete(ObjectKind::Key, &old)
        .await
        .map_err(|err| err.with("key", old).effect("the new password works, and the old one still does"))?;
    Ok((new, old))
}

async fn remove_locked(repository: &Repository, id: Id) -> Result<()> {
    let current = repository.key_id().ok_or_else(|| refused("it is not known which key is in use"))?;
    if current == id {
        return Err(refused("it is the key in use; open the repository with another password to remove it"));
    }
    // The one that stays is read again: it may have been removed or damaged since it was opened.
    match read(repository, &current).await {
        Ok(_) => {}
        Err(err) if matches!(err.kind(), Kind::NotFound | Kind::Corrupt | Kind::Unsupported) => {
            return Err(
                refused("the key in use is not there any more, so this may be the last").caused_by(err)
            );
        }
        Err(err) => return Err(err),
    }
    let listed = repository.documents().list(ObjectKind::Key).await?.objects;
    if !listed.iter().any(|(other, _)| *other == id) {
        return Err(Error::new(Kind::NotFound, "remove a key: there is none of this id")
            .with("key", id)
            .code("E0490")
            .effect("no key was changed"));
    }
    repository.documents().delete(ObjectKind::Key, &id).await
}

fn refused(why: &str) -> Error {
    Error::new(Kind::Refused, format!("remove a key: {why}")).code("E0490").effect("no key was removed")
}

async fn read(repository: &Repository, id: &Id) -> Result<KeyFile> {
    let bytes = repository.store().get(&layout::key(ObjectKind::Key, id), None).await?;
    if Id::of(&bytes) != *id {
        let what = "read a key file: the bytes are not what its name says";
        return Err(Error::new(Kind::Corrupt, what).with("key", id).code("E0414"));
    }
    KeyFile::decode(&bytes).map_err(|err| err.with("key", id))
}

async fn write_and_prove(repository: &Repository, password: &Secret, options: &KeyOptions) -> Result<Id> {
    let before = documents::list(&**repository.store(), ObjectKind::Key).await?.objects.len();
    let allowed = repository.limits().keys_max;
    if before >= allowed {
        let text = format!("add a key: there are {before}, and no more than {allowed} are tried");
        return Err(Error::new(Kind::Refused, text).code("E0490").effect("no key was changed"));
    }
    let (key, secret, mut env) = (repository.key().clone(), password.clone(), repository.env().clone());
    env.host.hostname = options.hostname.clone().unwrap_or(env.host.hostname);
    env.host.username = options.username.clone().unwrap_or(env.host.username);
    let strength = options.strength;
    let file = blocking(move || KeyFile::create(&secret, &key, strength, &env)).await?;
    let bytes = file.encode()?;
    let id = Id::of(&bytes);
    put_new(&**repository.store(), ObjectKind::Key, &id, bytes.into()).await?;
    match prove(repository, &id, password).await {
        Ok(()) => Ok(id),
        Err(err) => {
            // What does not open must not look like a key. If it cannot be removed it is a damaged one.
            let _ = repository.documents().delete(ObjectKind::Key, &id).await;
            Err(err)
        }
    }
}

/// Reads the stored key file as a stranger would: it takes the password and gives the master key.
async fn prove(repository: &Repository, id: &Id, password: &Secret) -> Result<()> {
    let file = read(repository, id).await?;
    let (password, limits) = (password.clone(), repository.limits().clone());
    match blocking(move || file.open(&password, &limits)).await? {
        Unlock::Opened(key) if key.is_same(repository.key()) => Ok(()),
        _ => Err(Error::new(Kind::Corrupt, "open the key file that was just stored")
            .with("key", id)
            .code("E0491")
            .effect("it was removed again; the keys that were there before are as they were")),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|cause| Error::bug("derive a key").caused_by(cause))?
}
