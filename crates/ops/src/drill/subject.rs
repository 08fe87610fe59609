//! What a drill is about, as plain data.

use crate::config::section::{Check, Health};
use recoup_core::units::Span;
use recoup_sources::Facts;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A restored point and the application that shall run on it.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Name of the application.
    pub application: String,
    /// The point, as in `shop@2026-11-22T08:31:07Z`.
    pub point: String,
    /// The project's folder on this host.
    pub project: PathBuf,
    /// The project's interpreter, if it was found.
    pub interpreter: Option<PathBuf>,
    /// Django's `manage.py`, seen from the project.
    pub manage: Option<String>,
    /// The settings module.
    pub settings: Option<String>,
    /// What was restored.
    pub sources: Vec<SubjectSource>,
    /// Declared sources that were not restored: name and live path.
    pub elsewhere: Vec<(String, PathBuf)>,
    /// What is started, in this order.
    pub services: Vec<SubjectService>,
    /// Services that were to be started and have no drill variant.
    pub not_startable: Vec<String>,
    /// Whether to ask if all migrations are applied.
    pub migrate: bool,
    /// The declared checks to make, by name.
    pub checks: BTreeMap<String, Check>,
    /// The largest share of rows, in per cent, that a table may have lost since the point before.
    pub rows_drop_percent: Option<f64>,
    /// The user to run as; the owner of the project if `None`, `nobody` if that is root.
    pub user: Option<String>,
    /// An existing private folder on disk for copies; what is put there is removed again.
    pub scratch: PathBuf,
    /// Longest time for the application part.
    pub limit: Span,
    /// The program that makes sandboxes: recoup itself.
    pub executable: PathBuf,
}

/// Restored data of one source.
#[derive(Clone, Debug)]
pub struct SubjectSource {
    /// Its name.
    pub name: String,
    /// Kind, as in `sqlite`.
    pub kind: String,
    /// The folder that holds the restored content.
    pub restored: PathBuf,
    /// Absolute path of the live data.
    pub live: PathBuf,
    /// What was recorded at capture.
    pub facts: Facts,
    /// What was recorded with the point before, if there is one.
    pub before: Option<Facts>,
}

impl SubjectSource {
    /// Whether it is a database in one file.
    pub fn is_database(&self) -> bool {
        self.kind == "sqlite"
    }

    /// The restored database file: the one named like the live one, or the only one there is.
    pub fn database(&self) -> Option<PathBuf> {
        let same = self.live.file_name().map(|name| self.restored.join(name)).filter(|p| p.is_file());
        same.or_else(|| {
            let mut files: Vec<PathBuf> = std::fs::read_dir(&self.restored)
                .ok()?
                .flatten()
                .map(|e| e.path())
                .filter(|p| p.is_file())
                .collect();
            if files.len() == 1 { files.pop() } else { None }
        })
        .or_else(|| self.restored.is_file().then(|| self.restored.clone()))
    }
}

/// A service as it runs in a drill.
#[derive(Clone, Debug)]
pub struct SubjectService {
    /// Its name.
    pub name: String,
    /// The sources it needs; all if empty.
    pub needs: Vec<String>,
    /// The command that runs it and stays.
    pub start: Vec<String>,
    /// Environment variables beside those of every drill.
    pub environment: BTreeMap<String, String>,
    /// How to know that it is well.
    pub health: Option<Health>,
}

/// Something that was not looked at, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotRun {
    /// What was not done.
    pub check: String,
    /// Why, in one sentence.
    pub reason: String,
}

/// Restored files named by a column, by source: `references` and `rows` use the same words.
pub(super) fn address(subject: &Subject, source: &str) -> String {
    format!("{}/{source}", subject.application)
}
