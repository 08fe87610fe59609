//! `recoup keys add`: a signing key for this machine, another password for all repositories.

use super::{LOCK_WAIT, reach, shown};
use crate::env::config_dir;
use crate::keys;
use crate::secret::SecretRef;
use crate::session::{Place, Session};
use recoup_core::secret::Secret;
use recoup_core::{Error, Kind, Result};
use recoup_repo::Id;
use recoup_repo::keyfile::PasswordStrength;
use recoup_repo::keys::{self as repository_keys, KeyOptions};
use recoup_repo::repository::Repository;
use recoup_store::local::durable;
use serde::Serialize;
use std::path::Path;

/// A signing key that is there now.
#[derive(Clone, Debug, Serialize)]
pub struct SigningAdded {
    /// Its file.
    pub file: String,
    /// Whether it was made now; otherwise it was there.
    pub made: bool,
    /// As `ssh-keygen -l` prints it.
    pub fingerprint: String,
    /// The two lines of [keys] in recoup.toml.
    pub lines: Vec<String>,
    /// Whether recoup.toml has them already.
    pub declared: bool,
}

/// Makes the signing key of this machine where the configuration says, if there is none.
///
/// # Errors
/// `Kind::Refused` `E0699` if it is declared to be anywhere else than in a file; `E0820` if it would lie inside
/// the project.
pub fn add_signing(session: &Session) -> Result<SigningAdded> {
    let loaded = session.loaded();
    let declared = session.config().keys.as_ref();
    let written = match declared.and_then(|keys| keys.signing.as_ref()) {
        Some(SecretRef::File(path)) => path.clone(),
        Some(other) => {
            return Err(Error::new(
                Kind::Refused,
                "make the signing key: it is declared to be kept elsewhere",
            )
            .with("kept in", other)
            .code("E0699")
            .effect("nothing was made")
            .hint("`ssh-keygen -t ed25519 -N ''` makes one; put it there yourself"));
        }
        None => {
            let file = config_dir(&loaded.variables)?.join(format!("{}.signing", session.app()));
            let home = loaded.variables.home();
            match home.and_then(|home| file.strip_prefix(home).map(Path::to_owned).ok()) {
                Some(below) => format!("~/{}", below.display()),
                None => file.display().to_string(),
            }
        }
    };
    let file = loaded.root.join(loaded.variables.expand_home(&written)?);
    let made = file.symlink_metadata().is_err();
    let comment = format!("{}@{}", session.app(), session.env().host.hostname);
    let signer = keys::signing_key(&file, &loaded.project()?, &comment, session.env())?.signer();
    let known = declared.map(|keys| keys.signers.clone()).unwrap_or_default();
    let is_known = known.contains(&signer);
    let mut signers: Vec<String> = known.iter().map(ToString::to_string).collect();
    if !is_known {
        signers.push(format!("{signer} {comment}"));
    }
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let signers: Vec<String> = signers.iter().map(|s| quoted(s)).collect();
    Ok(SigningAdded {
        file: shown(&file),
        made,
        fingerprint: signer.fingerprint(),
        lines: vec![
            format!("signing = {{ file = {} }}", quoted(&written)),
            format!("signers = [{}]", signers.join(", ")),
        ],
        declared: is_known && declared.is_some_and(|keys| keys.signing.is_some()),
    })
}

/// Another password that opens every repository.
#[derive(Clone, Debug, Serialize)]
pub struct PasswordAdded {
    /// Its file.
    pub file: String,
    /// The key that it opens, by location.
    pub locations: Vec<(String, Id)>,
}

/// Makes another random password in the new file `file`, and a key for it at every location: at all or at none.
///
/// # Errors
/// `Kind::Refused` `E0696` if a location cannot be opened; `E0820`, `E0821` as for every password file. If a key
/// cannot be added somewhere, those that were added before are removed again.
pub async fn add_password(session: &Session, file: &Path) -> Result<PasswordAdded> {
    let doing = "add a password";
    let reached = reach(session, &session.password().await?, doing).await?;
    keys::generate(file, &session.loaded().project()?, session.env())?;
    let password = read(file)?;
    let options =
        KeyOptions { strength: PasswordStrength::Generated, lock_wait: LOCK_WAIT, ..KeyOptions::default() };
    let mut added: Vec<(&Place, &Repository, Id)> = Vec::new();
    for (place, repository) in &reached {
        match repository_keys::add(repository, &password, &options).await {
            Ok(id) => added.push((place, repository, id)),
            Err(error) => return Err(undone(file, &added, error.with("location", &place.name)).await),
        }
    }
    let locations = added.into_iter().map(|(place, _, id)| (place.name.clone(), id)).collect();
    Ok(PasswordAdded { file: shown(file), locations })
}

/// Takes back what was added. The file goes only if nothing needs it.
async fn undone(file: &Path, added: &[(&Place, &Repository, Id)], error: Error) -> Error {
    let mut left = Vec::new();
    for (place, repository, id) in added {
        if repository_keys::remove(repository, *id, LOCK_WAIT).await.is_err() {
            left.push(place.name.clone());
        }
    }
    if left.is_empty() && durable::remove_file(file).is_ok() {
        return error.effect("no key was added, at no location");
    }
    let effect =
        format!("the new password stays in its file; it opens the repository at {}", left.join(", "));
    error.effect(effect).hint("`recoup repo key remove` takes the key away there")
}

/// The password in a file that was just made.
pub(super) fn read(file: &Path) -> Result<Secret> {
    let failed = |e| Error::io("read a password file", e).with("file", shown(file));
    let mut bytes = std::fs::read(file).map_err(failed)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    Ok(Secret::new(bytes))
}
