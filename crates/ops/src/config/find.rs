//! Which file is meant: the nearest `recoup.toml`, or `[tool.recoup]` in `pyproject.toml`, upwards.

use super::problem::{FileText, Problem};
use recoup_core::name::escape;
use recoup_core::{Error, Kind, Result};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest file read. A real one has a few kilobytes.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 20;

/// A file that holds a configuration.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) file: Arc<FileText>,
    /// Whether the configuration is the table `tool.recoup` in it.
    pub(super) in_pyproject: bool,
    pub(super) warnings: Vec<Problem>,
}

/// The nearest configuration from `start` upwards.
pub(super) fn nearest(start: &Path) -> Result<Found> {
    let start = std::path::absolute(start).map_err(|e| Error::io("find the current folder", e))?;
    for dir in start.ancestors() {
        if let Some(found) = in_dir(dir)? {
            return Ok(found);
        }
    }
    Err(Error::new(Kind::Config, "find a recoup.toml here or above")
        .with("folder", shown(&start))
        .code("E0100")
        .effect("nothing was attempted")
        .hint("run `recoup init` in the project's folder, or name the file with --config"))
}

fn in_dir(dir: &Path) -> Result<Option<Found>> {
    let own = dir.join("recoup.toml");
    let pyproject = dir.join("pyproject.toml");
    // Somebody else's broken pyproject.toml above us is no reason to fail.
    let section = read(&pyproject, dir).ok().filter(|file| has_section(&file.text));
    if own.is_file() {
        let mut warnings = vec![];
        if section.is_some() {
            warnings.push(
                Problem::warning("W0401", "recoup.toml wins over [tool.recoup] in pyproject.toml")
                    .hint("keep one of the two"),
            );
        }
        return Ok(Some(Found { file: read(&own, dir)?, in_pyproject: false, warnings }));
    }
    Ok(section.map(|file| Found { file, in_pyproject: true, warnings: vec![] }))
}

fn has_section(text: &str) -> bool {
    text.contains("recoup")
        && toml_edit::Document::parse(text)
            .is_ok_and(|doc| doc.get("tool").and_then(|tool| tool.get("recoup")).is_some())
}

/// The file `path`; messages call it relative to `root`.
pub(super) fn read(path: &Path, root: &Path) -> Result<Arc<FileText>> {
    let context =
        |error: Error| error.with("file", shown(path)).code("E0115").effect("nothing was attempted");
    let file = File::open(path).map_err(|e| context(Error::io("read the configuration", e)))?;
    let is_file = file.metadata().is_ok_and(|meta| meta.is_file());
    if !is_file {
        return Err(context(Error::new(Kind::Config, "read the configuration: it is not a regular file")));
    }
    let mut bytes = vec![];
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| context(Error::io("read the configuration", e)))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Error::new(Kind::Config, "read the configuration: it has more than 1 MiB")
            .with("file", shown(path))
            .code("E0108"));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| context(Error::new(Kind::Config, "read the configuration: it is not UTF-8")))?;
    let shown = shown(path.strip_prefix(root).unwrap_or(path));
    Ok(Arc::new(FileText { path: PathBuf::from(path), shown, text }))
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_bytes())
}
