//! What the tests share: reading a folder whole, running programs.

use recoup_core::entry::{Body, Entry, Folder};
use recoup_core::name::TreePath;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// A folder read whole: metadata, content, and the parts of the content that were holes.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) entries: BTreeMap<Vec<u8>, (Entry, Vec<u8>)>,
    pub(crate) problems: Vec<(Vec<u8>, recoup_core::Error)>,
    pub(crate) holes: u64,
}

impl Seen {
    pub(crate) fn paths(&self) -> Vec<String> {
        self.entries.keys().map(|p| recoup_core::name::escape(p)).collect()
    }
    pub(crate) fn content(&self, path: &str) -> &[u8] {
        &self.entries[path.as_bytes()].1
    }
    pub(crate) fn entry(&self, path: &str) -> &Entry {
        &self.entries[path.as_bytes()].0
    }
    pub(crate) fn codes(&self) -> Vec<Option<&'static str>> {
        self.problems.iter().map(|(_, e)| e.stable_code()).collect()
    }
}

pub(crate) fn read(folder: &dyn Folder) -> Seen {
    let mut seen = Seen::default();
    let mut todo: Vec<(TreePath, Box<dyn Folder>)> = Vec::new();
    list(folder, &TreePath::root(), &mut todo, &mut seen);
    while let Some((path, folder)) = todo.pop() {
        list(folder.as_ref(), &path, &mut todo, &mut seen);
    }
    seen
}

fn list(folder: &dyn Folder, at: &TreePath, todo: &mut Vec<(TreePath, Box<dyn Folder>)>, seen: &mut Seen) {
    let listing = match folder.list() {
        Ok(listing) => listing,
        Err(error) => return seen.problems.push((at.to_bytes(), error)),
    };
    for (name, error) in listing.problems {
        seen.problems.push((at.join(&name).to_bytes(), error));
    }
    for item in listing.items {
        let path = at.join(&item.entry.name);
        let mut content = Vec::new();
        match item.body {
            Body::None => {}
            Body::Folder(below) => todo.push((path.clone(), below)),
            Body::File(file) => match file.open() {
                Ok(mut reader) => {
                    // Holes are counted and not read, so that a huge sparse file can be tested.
                    loop {
                        let hole = reader.hole().unwrap();
                        if hole > 0 {
                            seen.holes += hole;
                            reader.skip(hole).unwrap();
                            continue;
                        }
                        let mut buffer = [0; 4096];
                        let n = reader.read(&mut buffer).unwrap();
                        if n == 0 {
                            break;
                        }
                        content.extend_from_slice(&buffer[..n]);
                    }
                }
                Err(error) => seen.problems.push((path.to_bytes(), error)),
            },
        }
        seen.entries.insert(path.to_bytes(), (item.entry, content));
    }
}

/// Runs a program, which must end well, and gives its standard output.
pub(crate) fn sh(dir: &Path, script: &str) -> String {
    let out = Command::new("sh").arg("-ec").arg(script).current_dir(dir).output().unwrap();
    assert!(out.status.success(), "{script}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs the test `name` of this binary again as an unprivileged user. True in the child.
pub(crate) fn as_nobody(name: &str) -> bool {
    if !is_root() {
        return true;
    }
    let exe = std::env::current_exe().unwrap();
    // The binary may lie where nobody may look.
    let dir = tempfile::tempdir().unwrap();
    sh(dir.path(), "chmod 755 .");
    let copy = dir.path().join("it");
    std::fs::copy(exe, &copy).unwrap();
    let out = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"])
        .arg(copy)
        .args([name, "--exact", "--nocapture"])
        .env("TMPDIR", "/tmp")
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && text.contains("1 passed"), "{text}");
    false
}
