//! Where a restore goes in memory, and how it is compared with what was backed up.

use crate::tree::Flat;
use jiff::Timestamp;
use recoup_core::entry::{Entry, EntryKind, FileTarget, Target, Xattr};
use recoup_core::name::{TreePath, escape};
use recoup_core::{Error, Kind, Result};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

/// Takes a restored tree. It checks the order of calls on the way.
#[derive(Clone, Debug, Default)]
pub struct Restored(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    flat: Flat,
    open_dirs: Vec<TreePath>,
    abandoned: Vec<(TreePath, bool)>,
    bytes_claimed: u64,
}

impl Restored {
    pub fn new() -> Self {
        Restored::default()
    }

    pub fn target(&self) -> Arc<dyn Target> {
        Arc::new(self.clone())
    }

    pub fn flat(&self) -> Flat {
        let state = self.0.lock().unwrap();
        assert!(state.open_dirs.is_empty(), "directories never finished: {:?}", state.open_dirs);
        state.flat.clone()
    }

    /// Files that were given up, and whether their parts were kept.
    pub fn abandoned(&self) -> Vec<(TreePath, bool)> {
        self.0.lock().unwrap().abandoned.clone()
    }

    /// The sum of the sizes that files were begun with.
    pub fn bytes_claimed(&self) -> u64 {
        self.0.lock().unwrap().bytes_claimed
    }
}

impl Target for Restored {
    fn begin_dir(&self, path: &TreePath, entry: &Entry) -> Result<()> {
        let mut state = self.0.lock().unwrap();
        state.require_parent(path)?;
        state.open_dirs.push(path.clone());
        if path.last().is_some() {
            state.flat.insert(path.clone(), (entry.clone(), Vec::new()));
        }
        Ok(())
    }

    fn finish_dir(&self, path: &TreePath, entry: &Entry) -> Result<()> {
        let mut state = self.0.lock().unwrap();
        let Some(at) = state.open_dirs.iter().position(|open| open == path) else {
            return Err(Error::bug(format!("finish {path}, which was not begun")));
        };
        state.open_dirs.remove(at);
        if path.last().is_some() {
            state.flat.insert(path.clone(), (entry.clone(), Vec::new()));
        }
        Ok(())
    }

    fn begin_file(&self, path: &TreePath, _entry: &Entry, size: u64) -> Result<Box<dyn FileTarget>> {
        let mut state = self.0.lock().unwrap();
        state.require_parent(path)?;
        state.bytes_claimed += size;
        drop(state);
        Ok(Box::new(RestoredFile { to: self.clone(), path: path.clone(), size, bytes: Mutex::default() }))
    }

    fn hard_link(&self, path: &TreePath, of: &TreePath) -> Result<()> {
        let mut state = self.0.lock().unwrap();
        state.require_parent(path)?;
        let Some((mut entry, bytes)) = state.flat.get(of).cloned() else {
            return Err(Error::new(Kind::NotFound, format!("link {path} to {of}, which is not finished")));
        };
        entry.name = path.last().expect("a path").clone();
        state.flat.insert(path.clone(), (entry, bytes));
        Ok(())
    }

    fn special(&self, path: &TreePath, entry: &Entry) -> Result<()> {
        let mut state = self.0.lock().unwrap();
        state.require_parent(path)?;
        state.flat.insert(path.clone(), (entry.clone(), Vec::new()));
        Ok(())
    }
}

impl State {
    fn require_parent(&self, path: &TreePath) -> Result<()> {
        match path.parent() {
            Some(parent) if parent.last().is_some() && !self.open_dirs.contains(&parent) => {
                Err(Error::bug(format!("restore {path} into a directory that is not open")))
            }
            _ => Ok(()),
        }
    }
}

struct RestoredFile {
    to: Restored,
    path: TreePath,
    size: u64,
    /// Only what was written is held, so that a huge claim costs nothing.
    bytes: Mutex<Vec<u8>>,
}

impl FileTarget for RestoredFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut file = self.bytes.lock().unwrap();
        let end = offset as usize + bytes.len();
        if end as u64 > self.size {
            return Err(Error::bug(format!("write beyond the end of {}", self.path)));
        }
        if file.len() < end {
            file.resize(end, 0);
        }
        file[offset as usize..end].copy_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>, entry: &Entry) -> Result<()> {
        let mut bytes = self.bytes.into_inner().unwrap();
        bytes.resize(self.size as usize, 0);
        self.to.0.lock().unwrap().flat.insert(self.path, (entry.clone(), bytes));
        Ok(())
    }

    fn abandon(self: Box<Self>, keep: bool) -> Result<()> {
        self.to.0.lock().unwrap().abandoned.push((self.path, keep));
        Ok(())
    }
}

/// In words, how two trees differ; empty if they do not. Access times, which are kept only when
/// asked for, and inode and device numbers, which no restore can bring back, do not count.
pub fn differences(expected: &Flat, actual: &Flat) -> String {
    let mut text = String::new();
    for (path, (entry, bytes)) in expected {
        match actual.get(path) {
            None => drop(writeln!(text, "{path}: missing")),
            Some((_, other)) if other != bytes => {
                let at = bytes.iter().zip(other).position(|(a, b)| a != b);
                let _ = writeln!(
                    text,
                    "{path}: {} bytes became {}, first difference {at:?}",
                    bytes.len(),
                    other.len()
                );
            }
            Some((other, _)) if comparable(other) != comparable(entry) => {
                let _ = writeln!(text, "{path}: {:?} became {:?}", comparable(entry), comparable(other));
            }
            Some(_) => {}
        }
    }
    for path in actual.keys().filter(|path| !expected.contains_key(*path)) {
        let _ = writeln!(text, "{path}: not expected");
    }
    text
}

type Comparable<'a> = (&'a EntryKind, u32, Timestamp, u32, u32, u64, Vec<&'a Xattr>, String);

fn comparable(e: &Entry) -> Comparable<'_> {
    let mut xattrs: Vec<&Xattr> = e.xattrs.iter().collect();
    xattrs.sort();
    (&e.kind, e.mode, e.mtime, e.uid, e.gid, e.size, xattrs, escape(e.name.as_bytes()))
}
