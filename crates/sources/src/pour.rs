//! The plain copy of a folder into a target, without a repository in between.

use crate::artifact::TreeCounts;
use recoup_core::Result;
use recoup_core::entry::{Body, Entry, EntryKind, FileBody, Folder, Target};
use recoup_core::name::TreePath;
use std::collections::HashMap;

/// Longest piece copied at once, in bytes.
const PIECE_BYTES: usize = 1 << 20;

/// Copies everything that `folder` lists into `target`, without a repository in between.
///
/// # Errors
/// The first error of the target; trouble with single paths of the folder is counted.
pub fn pour(folder: &dyn Folder, target: &dyn Target) -> Result<TreeCounts> {
    let mut pouring =
        Pouring { target, counts: TreeCounts::default(), links: HashMap::new(), dirs: Vec::new() };
    let mut todo = Vec::new();
    pouring.list(folder, &TreePath::root(), &mut todo)?;
    while let Some((path, below)) = todo.pop() {
        pouring.list(below.as_ref(), &path, &mut todo)?;
    }
    for (path, entry) in pouring.dirs.iter().rev() {
        target.finish_dir(path, entry)?;
    }
    Ok(pouring.counts)
}

struct Pouring<'a> {
    target: &'a dyn Target,
    counts: TreeCounts,
    links: HashMap<(u64, u64), TreePath>,
    dirs: Vec<(TreePath, Entry)>,
}

type Todo = Vec<(TreePath, Box<dyn Folder>)>;

impl Pouring<'_> {
    fn list(&mut self, folder: &dyn Folder, at: &TreePath, todo: &mut Todo) -> Result<()> {
        let Ok(listing) = folder.list() else {
            self.counts.errors += 1;
            return Ok(());
        };
        self.counts.errors += listing.problems.len() as u64;
        for item in listing.items {
            let path = at.join(&item.entry.name);
            match item.body {
                Body::Folder(below) => {
                    self.target.begin_dir(&path, &item.entry)?;
                    self.dirs.push((path.clone(), item.entry));
                    todo.push((path, below));
                }
                Body::File(body) => self.file(&path, &item.entry, body.as_ref())?,
                Body::None if item.entry.kind == EntryKind::Socket => {}
                Body::None => {
                    if self.target.special(&path, &item.entry).is_err() {
                        self.counts.errors += 1;
                    }
                }
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &TreePath, entry: &Entry, body: &dyn FileBody) -> Result<()> {
        let key = (entry.device_id, entry.inode);
        if entry.links > 1 {
            if let Some(first) = self.links.get(&key) {
                return self.target.hard_link(path, first);
            }
            self.links.insert(key, path.clone());
        }
        let Ok(mut reader) = body.open() else {
            self.counts.errors += 1;
            return Ok(());
        };
        let entry = reader.entry()?;
        let file = self.target.begin_file(path, &entry, entry.size)?;
        let mut at = 0;
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            let hole = reader.hole()?;
            if hole > 0 {
                reader.skip(hole)?;
                at += hole;
                continue;
            }
            let n = reader.read(&mut buffer).map_err(|e| recoup_core::Error::io("read a file", e))?;
            if n == 0 {
                break;
            }
            file.write_at(at, &buffer[..n])?;
            at += n as u64;
        }
        self.counts.files += 1;
        self.counts.bytes += at;
        file.finish(&entry)
    }
}
