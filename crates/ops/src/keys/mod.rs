//! The key to everything: made once, kept outside the project, written on paper, and never lost by
//! recoup itself. Also fingerprints, by which two points can be compared in the keys their data needs.
//! What opens repositories with it stands in `keychain`.

mod block;
mod fingerprint;
mod names;
mod qr;
pub mod record;
mod secret_part;
mod shares;
mod symbols;
mod text;

pub use block::{Block, BlockLocation};
pub use fingerprint::FingerprintKey;
pub use names::{KitId, Split};
pub use secret_part::{Part, combine, parts, read as read_part};
pub use text::{Sheet, kit_facts, page, secret as secret_text, sheet, sheet_facts};

use recoup_core::crypto::{SEED_BYTES, SigningKey};
use recoup_core::env::Env;
use recoup_core::name::escape;
use recoup_core::secret::Secret;
use recoup_core::{Error, Kind, Result};
use recoup_store::local::durable;
use serde::{Deserialize, Serialize};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Random bytes in a generated repository password: 256 bits.
const PASSWORD_BYTES: usize = 32;

/// Makes a repository password and keeps it in the new file `path`, mode 0600, outside `project`.
/// Nothing is ever overwritten: an old password may be the only key to old points.
///
/// # Errors
/// `Kind::Exists` (E0821) if the file is there, `Kind::Refused` (E0820) if it lies inside the project.
pub fn generate(path: &Path, project: &Path, env: &Env) -> Result<()> {
    let random = Zeroizing::new(env.random::<PASSWORD_BYTES>());
    let mut text = Zeroizing::new(hex::encode(random.as_slice()));
    text.push('\n');
    create(path, project, "repository password", text.as_bytes())
}

/// The signing key in the file `path`; it is made if there is none, mode 0600, outside `project`.
///
/// # Errors
/// `Kind::Refused` (E0820) if it would lie inside the project; as [`SigningKey::decode`] for what is there.
pub fn signing_key(path: &Path, project: &Path, comment: &str, env: &Env) -> Result<SigningKey> {
    if path.symlink_metadata().is_ok() {
        let file = std::fs::read(path).map_err(|e| Error::io("read the signing key", e))?;
        return SigningKey::decode(&Secret::new(file))
            .map_err(|e| e.with("file", escape(path.as_os_str().as_bytes())));
    }
    let seed = Zeroizing::new(env.random::<SEED_BYTES>());
    let key = SigningKey::from_seed(&seed, comment)?;
    create(path, project, "signing key", key.encode()?.expose())?;
    Ok(key)
}

fn create(path: &Path, project: &Path, what: &str, text: &[u8]) -> Result<()> {
    let folder = path.parent();
    let folder = folder.ok_or_else(|| Error::new(Kind::Config, format!("find the folder of the {what}")))?;
    durable::create_dir_all(folder, 0o700)?;
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if real(folder).starts_with(real(project)) {
        return Err(Error::new(Kind::Refused, format!("keep the {what} inside the project"))
            .with("file", path.display())
            .code("E0820"));
    }
    durable::create(path, text, 0o600).map_err(|error| match error.kind() {
        Kind::Exists => Error::new(Kind::Exists, format!("make a {what}: the file is there already"))
            .with("file", path.display())
            .code("E0821")
            .effect("the file was not touched"),
        _ => error,
    })
}

/// Somebody said that the sheet is stored where a fire here does not reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// Id of the repository whose sheet it is.
    pub repository: String,
    /// When it was said.
    pub time: jiff::Timestamp,
    /// The user who said it.
    pub by: String,
}

fn confirmation_file(state: &Path) -> PathBuf {
    state.join("sheet.json")
}

/// Notes in the state directory that the sheet was stored away.
///
/// # Errors
/// As the file system says.
pub fn confirm(state: &Path, repository: &str, env: &Env) -> Result<Confirmation> {
    let said = Confirmation {
        repository: repository.to_owned(),
        time: env.now(),
        by: format!("{}@{}", env.host.username, env.host.hostname),
    };
    let text =
        serde_json::to_vec_pretty(&said).map_err(|e| Error::bug("write down a confirmation").caused_by(e))?;
    durable::create_dir_all(state, 0o700)?;
    durable::write(&confirmation_file(state), &text, 0o600)?;
    Ok(said)
}

/// Takes the confirmation back: what is stored away opens nothing any more.
///
/// # Errors
/// As the file system says.
pub fn unconfirm(state: &Path) -> Result<()> {
    durable::remove_file(&confirmation_file(state))
}

/// Whether somebody confirmed that the sheet of `repository` is stored away. A confirmation of
/// another repository, or one that cannot be read, is none.
pub fn confirmed(state: &Path, repository: &str) -> Option<Confirmation> {
    let text = std::fs::read(confirmation_file(state)).ok()?;
    let said: Confirmation = serde_json::from_slice(&text).ok()?;
    (said.repository == repository).then_some(said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_password_is_made_once_and_outside_the_project() {
        let dir = tempfile::tempdir().unwrap();
        let project = dir.path().join("project");
        std::fs::create_dir_all(&project).unwrap();
        let path = dir.path().join("config/shop.password");
        let env = recoup_testkit::env::real();
        generate(&path, &project, &env).unwrap();
        let first = std::fs::read_to_string(&path).unwrap();
        assert_eq!(first.trim_end().len(), 64);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(generate(&path, &project, &env).unwrap_err().stable_code(), Some("E0821"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), first);
        let inside = generate(&project.join("keys/pw"), &project, &env).unwrap_err();
        assert_eq!(inside.stable_code(), Some("E0820"));
    }

    #[test]
    fn a_confirmation_belongs_to_one_repository() {
        let dir = tempfile::tempdir().unwrap();
        let env = recoup_testkit::env::real();
        assert_eq!(confirmed(dir.path(), "a"), None);
        let said = confirm(dir.path(), "a", &env).unwrap();
        assert_eq!(confirmed(dir.path(), "a"), Some(said));
        assert_eq!(confirmed(dir.path(), "b"), None);
    }
}
