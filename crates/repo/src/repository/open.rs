//! Creating and opening: which key takes the password, and what to make of leftovers.

use super::Repository;
use crate::config::Config;
use crate::crypto::MasterKey;
use crate::documents::{self, put_new};
use crate::id::Id;
use crate::keyfile::{KeyFile, PasswordStrength, Unlock};
use crate::layout::{self, ObjectKind};
use crate::limits::Limits;
use crate::problem::Problem;
use bytes::Bytes;
use recoup_core::env::Env;
use recoup_core::event::{Event, Finding, Severity};
use recoup_core::secret::Secret;
use recoup_core::{Error, Kind, Result};
use recoup_store::{Put, Store, StoreExt};
use std::sync::Arc;

/// What to create.
#[derive(Clone, Copy, Debug, Default)]
pub struct InitOptions {
    /// How the password came to be.
    pub password_strength: PasswordStrength,
    /// Cut files as another repository does; random if absent.
    pub chunker_polynomial: Option<u64>,
}

/// Writes the key, then the config, each durable before the next: what has a config has a key.
pub(super) async fn init(
    store: Arc<dyn Store>,
    password: &Secret,
    options: &InitOptions,
    env: &Env,
) -> Result<Repository> {
    let there = |what: &str| Error::new(Kind::Exists, what).with("location", store.location()).code("E0460");
    if store.has(&layout::config()).await? {
        return Err(there("create a repository: there is one").effect("nothing was changed"));
    }
    refuse_leftovers(&*store).await?;
    let keys = documents::list(&*store, ObjectKind::Key).await?.objects;
    let (key, own, key_id) = if keys.is_empty() {
        let key = MasterKey::random(env);
        let id = write_key(&*store, &key, password, options.password_strength, env).await?;
        (key, Some(id), Some(id))
    } else {
        let tried = try_keys(&store, password, &Limits::default()).await?;
        (tried.key.ok_or_else(|| half_finished(&*store, &keys))?, None, tried.key_id)
    };
    let config = Config::new(env, options.chunker_polynomial)?;
    let sealed = Bytes::from(key.seal(env, &config.encode()?));
    match store.put(&layout::config(), sealed, Put::Create).await {
        Ok(()) => {}
        Err(err) if err.kind() == Kind::Exists => {
            // Somebody else was faster; our key opens nothing.
            if let Some(id) = own {
                store.delete(&layout::key(ObjectKind::Key, &id)).await?;
            }
            return Err(there("create a repository: somebody else just did"));
        }
        Err(err) => return Err(err),
    }
    let config = read_config(&*store, &key).await?;
    let mut repository = Repository::new(store, key, config, Limits::default(), env);
    if let Some(inner) = Arc::get_mut(&mut repository.0) {
        inner.key_id = key_id;
    }
    Ok(repository)
}

pub(super) async fn open(
    store: Arc<dyn Store>,
    password: &Secret,
    limits: Limits,
    env: &Env,
) -> Result<Repository> {
    if !store.has(&layout::config()).await? {
        return Err(no_repository(&*store).await);
    }
    let tried = try_keys(&store, password, &limits).await?;
    let Some(key) = tried.key else { return Err(no_key(&*store, &tried)) };
    for problem in &tried.problems {
        env.emit(Event::Finding(Finding::new(
            problem.code,
            Severity::Warning,
            format!("{} {}", store.location(), problem.object),
            problem.problem.clone(),
            "keep the other key files safe; the data is not affected",
        )));
    }
    let config = read_config(&*store, &key).await?;
    let mut repository = Repository::new(store, key, config, limits, env);
    if let Some(inner) = Arc::get_mut(&mut repository.0) {
        inner.key_problems = tried.problems;
        inner.key_id = tried.key_id;
    }
    Ok(repository)
}

async fn refuse_leftovers(store: &dyn Store) -> Result<()> {
    for kind in [ObjectKind::Snapshot, ObjectKind::Index, ObjectKind::Pack] {
        let count = documents::list(store, kind).await?.objects.len();
        if count > 0 {
            return Err(lost_config(
                store,
                &format!("there are {count} objects in {}", layout::prefix(kind)),
            ));
        }
    }
    Ok(())
}

fn lost_config(store: &dyn Store, why: &str) -> Error {
    Error::new(Kind::Refused, format!("use a location without a config: {why}"))
        .with("location", store.location())
        .code("E0463")
        .effect("nothing was changed")
}

/// Key files, but no config and nothing else: creation stopped in between, with another password.
fn half_finished(store: &dyn Store, keys: &[(Id, u64)]) -> Error {
    let names: Vec<String> = keys.iter().map(|(id, _)| format!("keys/{id}")).collect();
    Error::new(Kind::Refused, "create a repository: there are key files of one that was never finished")
        .with("location", store.location())
        .with("files", names.join(" "))
        .code("E0462")
        .effect("nothing was changed")
        .hint("use the password of the first attempt, or remove these files if nobody needs them")
}

async fn no_repository(store: &dyn Store) -> Error {
    for kind in [ObjectKind::Snapshot, ObjectKind::Index, ObjectKind::Pack] {
        match documents::list(store, kind).await {
            Ok(listed) if listed.objects.is_empty() => {}
            Ok(_) => return lost_config(store, "its data is there"),
            Err(err) => return err,
        }
    }
    Error::new(Kind::NotFound, "open the repository: there is none")
        .with("location", store.location())
        .code("E0410")
        .effect("nothing was read or written")
}

async fn write_key(
    store: &dyn Store,
    key: &MasterKey,
    password: &Secret,
    strength: PasswordStrength,
    env: &Env,
) -> Result<Id> {
    let (key, password, env) = (key.clone(), password.clone(), env.clone());
    let file = blocking(move || KeyFile::create(&password, &key, strength, &env)).await?;
    let bytes = file.encode()?;
    let id = Id::of(&bytes);
    put_new(store, ObjectKind::Key, &id, bytes.into()).await?;
    Ok(id)
}

/// What came of trying a password.
struct Tried {
    key: Option<MasterKey>,
    key_id: Option<Id>,
    wrong: usize,
    problems: Vec<Problem>,
}

/// Tries the cheapest keys first. All attempts together cost no more than one may, so that a hundred
/// planted key files do not keep us busy.
async fn try_keys(store: &Arc<dyn Store>, password: &Secret, limits: &Limits) -> Result<Tried> {
    let mut tried = Tried { key: None, key_id: None, wrong: 0, problems: Vec::new() };
    let mut files = Vec::new();
    for (id, _) in documents::list(&**store, ObjectKind::Key).await?.objects {
        match read_key(&**store, &id).await {
            Ok(file) => files.push((id, file)),
            Err(err) if matches!(err.kind(), Kind::Corrupt | Kind::Unsupported | Kind::NotFound) => {
                tried.problems.push(unusable(&id, &err));
            }
            Err(err) => return Err(err),
        }
    }
    files.sort_by_key(|(_, file)| file.cost().work_bytes());
    let mut left = limits.clone();
    for (nr, (id, file)) in files.into_iter().enumerate() {
        if nr >= limits.keys_max {
            let text = format!("it was not tried, since {} others were", limits.keys_max);
            tried.problems.push(unusable(&id, &Error::new(Kind::Refused, text).code("E0415")));
            continue;
        }
        let cost = file.cost().work_bytes();
        let (password, allowed) = (password.clone(), left.clone());
        match blocking(move || file.open(&password, &allowed)).await {
            Ok(Unlock::Opened(key)) => {
                (tried.key, tried.key_id) = (Some(key), Some(id));
                break;
            }
            Ok(Unlock::WrongPassword) => tried.wrong += 1,
            Err(err) => tried.problems.push(unusable(&id, &err)),
        }
        left.scrypt_work_bytes_max = left.scrypt_work_bytes_max.saturating_sub(cost);
    }
    Ok(tried)
}

async fn read_key(store: &dyn Store, id: &Id) -> Result<KeyFile> {
    let bytes = store.get(&layout::key(ObjectKind::Key, id), None).await?;
    if Id::of(&bytes) != *id {
        return Err(
            Error::new(Kind::Corrupt, "read a key file: the bytes are not what its name says").code("E0414")
        );
    }
    KeyFile::decode(&bytes)
}

fn unusable(id: &Id, err: &Error) -> Problem {
    Problem::new(err.stable_code().unwrap_or("E0414"), format!("key {id}"), err.to_string())
}

fn no_key(store: &dyn Store, tried: &Tried) -> Error {
    let damaged =
        tried.problems.iter().map(|p| format!("{}: {}", p.object, p.problem)).collect::<Vec<_>>().join("; ");
    let err = if tried.wrong > 0 {
        Error::new(Kind::Denied, "open the repository: no key takes this password")
            .with("location", store.location())
            .with("keys", tried.wrong)
            .code("E0412")
    } else {
        Error::new(Kind::Corrupt, "open the repository: no key file can be used")
            .with("location", store.location())
            .code("E0469")
    };
    let err = err.effect("nothing was read or written");
    if damaged.is_empty() { err } else { err.with("unusable keys", damaged) }
}

async fn read_config(store: &dyn Store, key: &MasterKey) -> Result<Config> {
    let mut sealed = store.get(&layout::config(), None).await?.to_vec();
    let json = key.open_in_place(&mut sealed).map_err(|err| err.with("object", "config").code("E0418"))?;
    Config::decode(json)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|cause| Error::bug("derive a key").caused_by(cause))?
}
