//! The project's Python, found without running it.

use crate::env::Variables;
use serde::Serialize;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A Python interpreter and what its files say about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Interpreter {
    /// The program, as it would be started: the name inside the virtual environment, not resolved.
    pub path: PathBuf,
    /// The virtual environment it belongs to.
    pub environment: Option<PathBuf>,
    /// Its version, if a file says it.
    pub version: Option<String>,
    /// How it was found.
    pub found: &'static str,
}

/// Folders in which a project keeps its virtual environment.
const ENVIRONMENTS: [&str; 3] = [".venv", "venv", "env"];

/// The interpreter of `project`: the one declared, else that of its virtual environment, else
/// `VIRTUAL_ENV`, else `python3` or `python` on the `PATH`.
pub fn find(project: &Path, declared: Option<&str>, variables: &Variables) -> Option<Interpreter> {
    if let Some(declared) = declared {
        let path = project.join(variables.expand_home(declared).ok()?);
        let path = if declared.contains('/') { path } else { on_path(declared, variables)? };
        return is_program(&path).then(|| described(path, "declared in [python] interpreter"));
    }
    let own = ENVIRONMENTS.iter().map(|name| (project.join(name), "the project's virtual environment"));
    let active = variables.get("VIRTUAL_ENV").map(PathBuf::from).filter(|path| path.is_absolute());
    let active = active.into_iter().map(|path| (path, "VIRTUAL_ENV"));
    for (environment, found) in own.chain(active) {
        let path = environment.join("bin/python");
        if environment.join("pyvenv.cfg").is_file() && is_program(&path) {
            return Some(described(path, found));
        }
    }
    let found = ["python3", "python"].iter().find_map(|name| on_path(name, variables));
    found.map(|path| described(path, "PATH"))
}

/// The program `name` on the `PATH`.
pub fn on_path(name: &str, variables: &Variables) -> Option<PathBuf> {
    let path = variables.get("PATH")?;
    std::env::split_paths(path).map(|dir| dir.join(name)).find(|p| p.is_absolute() && is_program(p))
}

impl Interpreter {
    /// The version of an installed distribution, read from the names in `site-packages`.
    pub fn distribution(&self, name: &str) -> Option<String> {
        let lib = self.environment.as_ref()?.join("lib");
        let wanted = name.to_ascii_lowercase().replace('-', "_");
        for python in std::fs::read_dir(lib).ok()?.flatten() {
            let Ok(entries) = std::fs::read_dir(python.path().join("site-packages")) else { continue };
            for entry in entries.flatten() {
                let file = entry.file_name().to_string_lossy().into_owned();
                let Some((dist, version)) = file.strip_suffix(".dist-info").and_then(|d| d.rsplit_once('-'))
                else {
                    continue;
                };
                if dist.to_ascii_lowercase().replace(['-', '.'], "_") == wanted {
                    return Some(version.to_owned());
                }
            }
        }
        None
    }

    /// Whether running it trusts nobody but root and ourselves: its file belongs to one of them.
    pub fn is_trusted(&self) -> bool {
        let us = rustix::process::geteuid().as_raw();
        let ours =
            |path: &Path| std::fs::metadata(path).is_ok_and(|meta| meta.uid() == 0 || meta.uid() == us);
        // The name may be a link inside an environment that somebody else may change.
        ours(&self.path)
            && std::fs::symlink_metadata(&self.path).is_ok_and(|meta| meta.uid() == 0 || meta.uid() == us)
            && self.environment.as_deref().is_none_or(ours)
    }
}

fn described(path: PathBuf, found: &'static str) -> Interpreter {
    let environment = path.parent().and_then(Path::parent).filter(|dir| dir.join("pyvenv.cfg").is_file());
    let version = environment.and_then(|dir| version_in(&dir.join("pyvenv.cfg")));
    Interpreter { environment: environment.map(Path::to_owned), version, path, found }
}

fn version_in(file: &Path) -> Option<String> {
    let mut text = String::new();
    std::fs::File::open(file).ok()?.take(16 * 1024).read_to_string(&mut text).ok()?;
    let value = |line: &str| line.split_once('=').map(|(k, v)| (k.trim().to_owned(), v.trim().to_owned()));
    let mut lines = text.lines().filter_map(value);
    let (_, version) = lines.find(|(key, _)| key == "version" || key == "version_info")?;
    // virtualenv writes 3.11.7.final.0
    Some(version.split('.').take(3).collect::<Vec<_>>().join("."))
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_projects_own_environment_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join(".venv/bin");
        let site = dir.path().join(".venv/lib/python3.11/site-packages/Django-5.2.8.dist-info");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::create_dir_all(site).unwrap();
        std::os::unix::fs::symlink("/bin/sh", bin.join("python")).unwrap();
        #[allow(clippy::disallowed_methods, reason = "a test makes its own files")]
        std::fs::write(dir.path().join(".venv/pyvenv.cfg"), "home = /usr/bin\nversion = 3.11.7\n").unwrap();
        let found = find(dir.path(), None, &Variables::default()).unwrap();
        assert_eq!(found.version.as_deref(), Some("3.11.7"));
        assert_eq!(found.distribution("django").as_deref(), Some("5.2.8"));
        assert_eq!(found.distribution("celery"), None);
        assert!(found.is_trusted());
        assert_eq!(find(dir.path(), Some("no/such"), &Variables::default()), None);
    }
}
