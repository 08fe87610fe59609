//! The key chain of an application: what opens its repositories, what signs its points, and the kit that
//! outlives this machine. It never shows a secret, and never removes a key before another one was proven.

mod add;
mod list;
mod make;
mod papers;
mod prove;
mod rotate;

pub use add::{PasswordAdded, SigningAdded, add_password, add_signing};
pub use list::{KeyLine, KeyList, LocationKeys, SigningKeyLine, complaints, list};
pub use make::{KitOptions, KitReport, make};
pub use prove::{FileProof, LocationProof, PointProof, ProveOptions, ProveReport, prove, remember};
pub use rotate::{RotateReport, Rotated, rotate};

use crate::keys::record::Current;
use crate::pins::Pins;
use crate::provenance;
use crate::secret::SecretRef;
use crate::session::{Place, Session};
use recoup_core::name::escape;
use recoup_core::secret::Secret;
use recoup_core::{Error, Kind, Result};
use recoup_repo::Id;
use recoup_repo::keyfile::Unlock;
use recoup_repo::keys as repository_keys;
use recoup_repo::repository::Repository;
use std::path::Path;
use std::time::Duration;

/// How long a change of keys waits for others who hold a repository, as a running backup does.
const LOCK_WAIT: Duration = Duration::from_secs(60);

/// How it is now, to be compared with a kit. The repositories are those that this machine saw last. Only a
/// password that lies in a file or a variable is read for fingerprints: nothing is run.
///
/// # Errors
/// As [`crate::config::Loaded::path`].
pub async fn current(session: &Session) -> Result<Current> {
    let pins = Pins::of(session.state());
    let current = Current::of(session.loaded(), |name| pins.get(name).map(|pin| pin.repository))?;
    let password = session.config().keys.as_ref().map(|keys| &keys.password);
    Ok(match password {
        Some(SecretRef::Command(_)) | None => current,
        Some(_) => with_fingerprints(session, current).await,
    })
}

/// The same, with the fingerprints of the application's keys as far as they can be known.
async fn with_fingerprints(session: &Session, mut current: Current) -> Current {
    let Some(key) = session.fingerprint_key().await else { return current };
    if let Ok(found) = provenance::fingerprints(session.loaded(), &key).await {
        current.keys = found.into_iter().map(|(name, known)| (name, known.value().cloned())).collect();
    }
    current
}

/// Opens the repository of every location with `password`, before anything is changed anywhere.
async fn reach(session: &Session, password: &Secret, doing: &str) -> Result<Vec<(Place, Repository)>> {
    let mut reached = Vec::new();
    for place in session.places(None)? {
        let repository = session.repository_with(&place, password).await.map_err(|cause| {
            Error::new(Kind::Refused, format!("{doing}: a location cannot be opened"))
                .with("location", &place.name)
                .code("E0696")
                .effect("this run changed no key")
                .hint("mount it, or let the first backup make it; every location must have the same keys")
                .caused_by(cause)
        })?;
        reached.push((place, repository));
    }
    Ok(reached)
}

/// The keys of a repository that `password` opens.
async fn opened_by(repository: &Repository, password: &Secret) -> Result<Vec<Id>> {
    let mut found = Vec::new();
    for key in repository_keys::list(repository).await? {
        let Ok(file) = key.file else { continue };
        let (password, limits) = (password.clone(), repository.limits().clone());
        let tried = tokio::task::spawn_blocking(move || file.open(&password, &limits)).await;
        let tried = tried.map_err(|cause| Error::bug("try a key").caused_by(cause))?;
        if matches!(tried, Ok(Unlock::Opened(_))) {
            found.push(key.id);
        }
    }
    Ok(found)
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes())
}

/// As in `dana@web-1`.
fn somebody(session: &Session) -> String {
    let host = &session.env().host;
    format!("{}@{}", host.username, host.hostname)
}
