//! Files and directories. See `README.md` in this folder.

mod apply;
pub mod beneath;
mod capture;
pub mod config;
mod connect;
pub mod exclude;
pub mod glob;
mod ignores;
mod reader;
pub mod restore;
pub mod roots;
mod trail;
pub mod walk;

pub use config::FilesConfig;

use crate::artifact::{Capture, Check, Description, Facts};
use crate::process::{Held, Holding, holders};
use crate::single::entry_of_path;
use crate::source::{CaptureContext, Source};
use async_trait::async_trait;
use exclude::Excludes;
use recoup_core::entry::{Entry, EntryKind, Folder};
use recoup_core::env::Env;
use recoup_core::event::{Finding, Severity};
use recoup_core::name::{NodeName, escape};
use recoup_core::{Error, Kind, Result};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use walk::{Databases, Options, Walk};

/// One live directory, or one file.
pub struct Files {
    path: PathBuf,
    exclude: Excludes,
}

impl Files {
    /// The files at `path`, which need not exist now.
    ///
    /// # Errors
    /// `Kind::Config` (E0520) for an ignore line that cannot be understood.
    pub fn new(path: &Path, config: &FilesConfig) -> Result<Self> {
        let mut exclude = Excludes::default();
        exclude.git_lines(&config.ignore)?;
        let path = std::path::absolute(path).map_err(|e| Error::io("find the current directory", e))?;
        Ok(Files { path, exclude })
    }

    fn live(&self) -> PathBuf {
        std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone())
    }

    /// What of `restored` takes the place of the live path: all of it, or the one file in it.
    fn part(&self, restored: &Path) -> PathBuf {
        let live = self.live();
        let file = live.file_name().map(|name| restored.join(name));
        match file {
            Some(file) if file.is_file() && !live.is_dir() => file,
            _ => restored.to_path_buf(),
        }
    }

    fn shown(&self) -> String {
        escape(self.path.as_os_str().as_bytes())
    }
}

#[async_trait]
impl Source for Files {
    fn kind(&self) -> &'static str {
        "files"
    }

    async fn describe(&self, _env: &Env) -> Result<Description> {
        match connect::find(&self.path) {
            Ok(root) => {
                let bytes = std::fs::metadata(&root.path).ok().filter(|m| m.is_file()).map(|m| m.len());
                Ok(Description {
                    exists: true,
                    bytes,
                    facts: capture::facts_of(&root),
                    ..Description::default()
                })
            }
            Err(error) if error.kind() == Kind::NotFound => Ok(Description::default()),
            Err(error) => Err(error),
        }
    }

    async fn capture(&self, context: &CaptureContext<'_>) -> Result<Capture> {
        let root = connect::find(&self.path)?;
        let databases = Arc::new(capture::LiveDatabases::new(context.scratch, context.env.clock.clone())?);
        let options =
            Options { exclude: self.exclude.clone(), databases: Databases::Copy(databases.clone()) };
        let walk = Walk::new(options);
        let (entry, folder): (Entry, Box<dyn Folder>) = if root.is_dir {
            walk.folder(&root.path)?
        } else {
            let file = entry_of_path(&root.path)?;
            let now = context.env.now();
            let dir = Entry::plain(NodeName::new(*b"files")?, EntryKind::Dir, 0o700, now);
            let one = capture::OneFile { walk: walk.clone(), path: root.path.clone() };
            (Entry { uid: file.uid, gid: file.gid, ..dir }, Box::new(one))
        };
        let mut findings = Vec::new();
        if root.followed {
            let message = format!(
                "{} is a symbolic link to {}, which was captured",
                self.shown(),
                crate::place::shown(&root.path)
            );
            findings.push(Finding::new(
                "E0527",
                Severity::Info,
                context.address,
                message,
                "nothing, if that is meant",
            ));
        }
        let facts = capture::facts_of(&root);
        let after = capture::After {
            root,
            walk,
            databases,
            previous: context.previous.cloned(),
            address: context.address.to_owned(),
        };
        Ok(Capture { root: entry, folder, position: None, facts, findings, after: Box::new(after) })
    }

    async fn prove(&self, restored: &Path, facts: &Facts, env: &Env) -> Result<Vec<Check>> {
        let (restored, facts, clock) = (restored.to_path_buf(), facts.clone(), env.clock.clone());
        let address = self.shown();
        blocking(move || restore::prove(&restored, &facts, &address, clock.as_ref())).await
    }

    async fn holders(&self) -> Result<Holding> {
        let live = self.live();
        blocking(move || held(&live)).await
    }

    fn keep_path(&self, label: &str) -> PathBuf {
        let live = self.live();
        let name = live.file_name().unwrap_or_default().to_string_lossy().into_owned();
        crate::place::parent(&live).join(format!(".{name}.recoup-{label}"))
    }

    async fn switch(&self, restored: &Path, keep: &Path, _env: &Env) -> Result<()> {
        let (live, restored, keep) = (self.live(), self.part(restored), keep.to_path_buf());
        blocking(move || restore::Switch::new(&live, &keep).forward(&restored, || held(&live))).await
    }

    async fn switch_back(&self, _restored: &Path, keep: &Path, _env: &Env) -> Result<()> {
        let (live, keep) = (self.live(), keep.to_path_buf());
        blocking(move || restore::Switch::new(&live, &keep).back(|| held(&live))).await
    }
}

fn held(live: &Path) -> Result<Holding> {
    if live.is_dir() { holders(&[Held::Beneath(live)]) } else { holders(&[Held::File(live)]) }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| Error::bug("work with files on their own thread").caused_by(e))?
}
