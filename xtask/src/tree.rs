//! The repository as tidy sees it: every file that git knows or would add, with its text.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The files of the repository, by path relative to its root with `/` between components.
pub(crate) struct Tree {
    root: PathBuf,
    texts: BTreeMap<String, String>,
}

impl Tree {
    /// Reads every text file that is tracked, or new and not ignored. Binary files are left out.
    #[allow(clippy::disallowed_methods, reason = "git is the only one who knows which files belong here")]
    pub(crate) fn read() -> Result<Tree, String> {
        let root = root();
        let listed = Command::new("git")
            .current_dir(&root)
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .output()
            .map_err(|e| format!("cannot run git: {e}"))?;
        if !listed.status.success() {
            return Err(format!("git ls-files failed: {}", String::from_utf8_lossy(&listed.stderr)));
        }
        let mut texts = BTreeMap::new();
        for name in String::from_utf8_lossy(&listed.stdout).split('\0').filter(|n| !n.is_empty()) {
            // A file that is tracked but deleted in the work tree is simply not there.
            if let Ok(bytes) = std::fs::read(root.join(name))
                && let Ok(text) = String::from_utf8(bytes)
            {
                texts.insert(name.to_owned(), text);
            }
        }
        Ok(Tree { root, texts })
    }

    /// Where the repository is.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The text of one file.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }

    /// All files whose path starts with `prefix` and ends with `suffix`, in order of their paths.
    pub(crate) fn files<'t>(
        &'t self,
        prefix: &'t str,
        suffix: &'t str,
    ) -> impl Iterator<Item = (&'t str, &'t str)> + 't {
        self.texts
            .iter()
            .filter(move |(path, _)| path.starts_with(prefix) && path.ends_with(suffix))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The names of the crates under `crates/`.
    pub(crate) fn crates(&self) -> Vec<String> {
        self.files("crates/", "/Cargo.toml")
            .filter_map(|(path, _)| path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml"))
            .filter(|name| !name.contains('/'))
            .map(str::to_owned)
            .collect()
    }
}

/// Whether a source file is only ever built for tests: by its folder or by its name.
pub(crate) fn is_test(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    path.contains("/tests/") || name == "tests.rs" || name.ends_with("_tests.rs")
}

/// The folder above this crate.
pub(crate) fn root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root
}
