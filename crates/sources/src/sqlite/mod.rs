//! SQLite databases. See `README.md` in this folder.

pub mod capture;
pub mod config;
pub mod connect;
pub mod inspect;
mod restore;

pub use config::SqliteConfig;

use crate::artifact::{Capture, Check, Description, Facts};
use crate::position::Position;
use crate::process::Holding;
use crate::single::{SingleFile, entry_of_path};
use crate::source::{CaptureContext, Source};
use async_trait::async_trait;
use connect::Header;
use recoup_core::entry::{Entry, EntryKind};
use recoup_core::env::Env;
use recoup_core::name::NodeName;
use recoup_core::{Error, Result};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// One live database.
pub struct Sqlite {
    path: PathBuf,
    config: SqliteConfig,
}

impl Sqlite {
    /// The database at `path`, which need not exist now.
    ///
    /// # Errors
    /// `Kind::Unsupported` (E0510) if the bundled library is too old; `Kind::NotFound` if there is no
    /// current directory for a relative path.
    pub fn new(path: &Path, config: &SqliteConfig) -> Result<Self> {
        connect::assert_version()?;
        let path = std::path::absolute(path).map_err(|e| Error::io("find the current directory", e))?;
        Ok(Sqlite { path, config: config.clone() })
    }

    /// The file itself, where the path is a link to it.
    fn live(&self) -> PathBuf {
        std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone())
    }

    fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or(OsStr::new("database"))
    }
}

#[async_trait]
impl Source for Sqlite {
    fn kind(&self) -> &'static str {
        "sqlite"
    }

    async fn describe(&self, _env: &Env) -> Result<Description> {
        let live = self.live();
        let Ok(meta) = std::fs::metadata(&live) else { return Ok(Description::default()) };
        let mut described = Description { exists: true, bytes: Some(meta.len()), ..Description::default() };
        if let Some(header) = Header::read(&live)? {
            let mode = if header.wal { "wal" } else { "rollback" };
            described.facts.insert("journal_mode".into(), mode.into());
            described.facts.insert("page_size".into(), header.page_size.into());
        }
        Ok(described)
    }

    async fn capture(&self, context: &CaptureContext<'_>) -> Result<Capture> {
        let live = self.live();
        // A missing file must not be created by opening it, and is no empty database.
        Header::read(&live)?;
        let copy = tempfile::Builder::new()
            .prefix("sqlite-")
            .tempdir_in(context.scratch)
            .map_err(|e| Error::io("make room for a private copy", e).code("E0518"))?;
        let to = copy.path().join("copy");
        let (config, clock) = (self.config.clone(), context.env.clock.clone());
        let address = context.address.to_owned();
        let (from, target) = (live.clone(), to.clone());
        let (position, facts, findings) = blocking(move || {
            let log = capture::position(&from);
            let how = capture::copy(&from, &target, &config, clock.as_ref())?;
            let (facts, findings) = capture::look(&target, &address, how, clock.as_ref())?;
            let change = facts.get("change_counter").cloned().unwrap_or_default();
            let position =
                if how.wal { log } else { Some(Position::new("rollback", format!("change {change}"))) };
            Ok((position, facts, findings))
        })
        .await?;
        let name = NodeName::new(self.name().as_bytes())?;
        let now = context.env.now();
        // The time of the capture as time of change: a reader that compares times reads it every time.
        let entry = Entry { name, ctime: now, mtime: now, links: 1, ..entry_of_path(&live)? };
        let root = Entry {
            uid: entry.uid,
            gid: entry.gid,
            ..Entry::plain(NodeName::new(*b"sqlite")?, EntryKind::Dir, 0o700, now)
        };
        let after = capture::After {
            facts: facts.clone(),
            previous: context.previous.cloned(),
            address: context.address.to_owned(),
            _copy: copy,
        };
        let folder = Box::new(SingleFile::new(entry, to)?);
        Ok(Capture { root, folder, position, facts, findings, after: Box::new(after) })
    }

    async fn prove(&self, restored: &Path, facts: &Facts, env: &Env) -> Result<Vec<Check>> {
        let (file, facts, clock) = (restored.join(self.name()), facts.clone(), env.clock.clone());
        let address = self.path.as_os_str().as_bytes().to_vec();
        blocking(move || restore::prove(&file, &facts, &recoup_core::name::escape(&address), clock.as_ref()))
            .await
    }

    async fn holders(&self) -> Result<Holding> {
        let live = self.live();
        blocking(move || restore::held(&live)).await
    }

    fn keep_path(&self, label: &str) -> PathBuf {
        crate::place::parent(&self.live()).join(format!(".{}.recoup-{label}", self.name().to_string_lossy()))
    }

    async fn switch(&self, restored: &Path, keep: &Path, _env: &Env) -> Result<()> {
        let (live, file, keep) = (self.live(), restored.join(self.name()), keep.to_path_buf());
        blocking(move || restore::Switch::new(&live, &keep).forward(&file)).await
    }

    async fn switch_back(&self, _restored: &Path, keep: &Path, _env: &Env) -> Result<()> {
        let (live, keep) = (self.live(), keep.to_path_buf());
        blocking(move || restore::Switch::new(&live, &keep).back()).await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| Error::bug("work with a database on its own thread").caused_by(e))?
}
