//! Where this host keeps what it knows of a repository that no recoup.toml names.

use super::open::Options;
use recoup_core::name::escape;
use recoup_core::{Error, Kind, Result};
use recoup_ops::env::{Variables, state_dir};
use recoup_repo::Id;
use recoup_repo::check::LedgerPlace;
use recoup_repo::repository::Repository;
use recoup_store::local::Local;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

/// The directory of the state of recoup, whoever it is about.
pub(crate) fn base() -> Result<PathBuf> {
    state_dir(&Variables::of_process(), "")
}

/// The place for what is known of `repository` at the location that `open` names. A copy of it elsewhere has
/// another: what was verified here was not verified there.
pub(crate) async fn of_repository(repository: &Repository, open: &Options) -> Result<LedgerPlace> {
    let path = open.path()?;
    let path = std::fs::canonicalize(&path).map_err(|e| Error::io("find the repository on the disk", e))?;
    let place = Id::of(path.as_os_str().as_bytes()).to_string();
    let (Some(id), Some(place)) = (repository.id().get(..16), place.get(..16)) else {
        return Err(Error::new(Kind::Corrupt, "read the id of the repository"));
    };
    // The names of applications never start with a dot.
    let dir = state_dir(&Variables::of_process(), ".repositories")?.join(format!("{id}-{place}"));
    let location = format!("local:{}", escape(path.as_os_str().as_bytes()));
    Ok(LedgerPlace { store: Arc::new(Local::create(dir).await?), location })
}
