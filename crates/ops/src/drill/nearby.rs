//! Databases of this host that an application may reach by mistake, found by looking for them. Only
//! needed where opened files cannot be watched: there, what is found is covered and listened at.

use std::io::Read;
use std::path::{Path, PathBuf};

/// First bytes of every SQLite database file.
const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";
/// Where applications of this host keep data, beside the home directory.
const USUAL: [&str; 5] = ["/srv", "/opt", "/var/lib", "/var/www", "/home"];
/// Entries looked at; a host with more than this near an application is looked at in part.
const ENTRIES_MAX: usize = 100_000;
const FOUND_MAX: usize = 500;
const DEPTH_MAX: usize = 12;

/// SQLite databases and their journals below `near` and the usual places, but not below `without`.
pub(super) fn databases(near: &[PathBuf], without: &[PathBuf]) -> Vec<PathBuf> {
    let mut open: Vec<(PathBuf, usize)> =
        USUAL.iter().map(PathBuf::from).chain(near.iter().cloned()).map(|folder| (folder, 0)).collect();
    let mut found = Vec::new();
    let mut entries = 0;
    while let Some((folder, depth)) = open.pop() {
        let Ok(listing) = std::fs::read_dir(&folder) else { continue };
        for entry in listing.flatten() {
            entries += 1;
            if entries > ENTRIES_MAX || found.len() >= FOUND_MAX {
                return found;
            }
            let path = entry.path();
            let Ok(kind) = entry.file_type() else { continue };
            if without.iter().any(|w| path.starts_with(w)) {
                continue;
            }
            if kind.is_dir() && depth < DEPTH_MAX {
                open.push((path, depth + 1));
            } else if kind.is_file() && is_database(&path) {
                found.extend(with_journals(path));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

fn is_database(path: &Path) -> bool {
    let mut head = [0u8; SQLITE_MAGIC.len()];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && head == SQLITE_MAGIC
}

fn with_journals(path: PathBuf) -> impl Iterator<Item = PathBuf> {
    ["-wal", "-shm", "-journal"]
        .map(|suffix| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        })
        .into_iter()
        .filter(|journal| journal.is_file())
        .chain([path])
        .collect::<Vec<_>>()
        .into_iter()
}
