//! Who holds files open: every process's descriptors and mappings, compared by device and inode.

use recoup_core::name::escape;
use recoup_core::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A process that holds live data open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Its command line, escaped and shortened.
    pub command: String,
    /// What it holds.
    pub path: PathBuf,
}

/// Who holds it, as far as we may look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// The processes found, by id.
    pub holders: Vec<Holder>,
    /// How many processes did not let us look (those of other users, unless recoup is root).
    pub unseen: usize,
}

/// What may be held.
#[derive(Clone, Copy, Debug)]
pub enum Held<'a> {
    /// One file, found by device and inode, however it is reached.
    File(&'a Path),
    /// Everything beneath a directory, found by the path it was opened with.
    Beneath(&'a Path),
}

/// Finds who holds `what`, leaving out recoup itself. Paths that do not exist are held by nobody.
///
/// # Errors
/// If `/proc` cannot be listed.
pub fn holders(what: &[Held<'_>]) -> Result<Holding> {
    let wanted = Wanted::new(what);
    let mut found = BTreeSet::new();
    let mut unseen = 0;
    let all = fs::read_dir("/proc").map_err(|e| Error::io("list the processes of this host", e))?;
    for process in all.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        if pid == std::process::id() {
            continue;
        }
        match held_by(&process.path(), &wanted) {
            Seen::Paths(paths) => {
                found.extend(paths.into_iter().map(|path| Holder { pid, command: command_of(pid), path }));
            }
            Seen::Denied => unseen += 1,
            Seen::Gone => {}
        }
    }
    Ok(Holding { holders: found.into_iter().collect(), unseen })
}

/// Device and inode of every file that some other process has open now, as far as we may look.
pub(crate) fn open_files() -> HashSet<(u64, u64)> {
    let own = std::process::id().to_string();
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let others = all.filter(|p| {
        p.file_name().as_bytes().first().is_some_and(u8::is_ascii_digit) && p.file_name() != own.as_str()
    });
    let fds = others.filter_map(|p| fs::read_dir(p.path().join("fd")).ok()).flatten().flatten();
    fds.filter_map(|fd| fs::metadata(fd.path()).ok()).map(|meta| (meta.dev(), meta.ino())).collect()
}

/// Whether a process with this id runs now; a zombie does not.
pub fn is_alive(pid: u32) -> bool {
    let Ok(stat) = fs::read(format!("/proc/{pid}/stat")) else { return false };
    // The command is in parentheses and may hold anything; the state follows the last one.
    let state = stat.iter().rposition(|&b| b == b')').and_then(|at| stat.get(at + 2));
    !matches!(state, None | Some(b'Z' | b'X'))
}

/// Identity of this boot of this host.
pub fn boot_id() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

#[derive(Default)]
struct Wanted {
    files: Vec<(u64, u64, PathBuf)>,
    beneath: Vec<PathBuf>,
}

impl Wanted {
    fn new(what: &[Held<'_>]) -> Self {
        let mut wanted = Wanted::default();
        for held in what {
            match held {
                Held::File(path) => {
                    if let Ok(meta) = fs::metadata(path) {
                        wanted.files.push((meta.dev(), meta.ino(), path.to_path_buf()));
                    }
                }
                Held::Beneath(path) => wanted.beneath.extend(fs::canonicalize(path)),
            }
        }
        wanted
    }

    fn by_inode(&self, dev: u64, inode: u64) -> Option<&Path> {
        let same = |f: &&(u64, u64, PathBuf)| f.0 == dev && f.1 == inode;
        self.files.iter().find(same).map(|f| f.2.as_path())
    }

    fn by_path<'a>(&self, path: &'a Path) -> Option<&'a Path> {
        self.beneath.iter().any(|root| path.starts_with(root)).then_some(path)
    }
}

enum Seen {
    Paths(BTreeSet<PathBuf>),
    Denied,
    Gone,
}

fn held_by(process: &Path, wanted: &Wanted) -> Seen {
    let mut paths = BTreeSet::new();
    let fds = match fs::read_dir(process.join("fd")) {
        Ok(fds) => fds,
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => return Seen::Denied,
        Err(_) => return Seen::Gone,
    };
    for fd in fds.flatten().map(|fd| fd.path()).chain([process.join("cwd"), process.join("root")]) {
        if !wanted.files.is_empty()
            && let Ok(meta) = fs::metadata(&fd)
        {
            paths.extend(wanted.by_inode(meta.dev(), meta.ino()).map(Path::to_path_buf));
        }
        if !wanted.beneath.is_empty()
            && let Ok(target) = fs::read_link(&fd)
        {
            paths.extend(wanted.by_path(&target).map(Path::to_path_buf));
        }
    }
    if let Ok(maps) = fs::read(process.join("maps")) {
        paths.extend(maps.split(|&b| b == b'\n').filter_map(|line| mapped(line, wanted)));
    }
    Seen::Paths(paths)
}

/// One line of `/proc/PID/maps`: range, rights, offset, `major:minor`, inode, path.
fn mapped(line: &[u8], wanted: &Wanted) -> Option<PathBuf> {
    let mut fields = line.splitn(6, |&b| b == b' ');
    let (dev, inode) = (fields.nth(3)?, fields.next()?);
    let path = Path::new(std::ffi::OsStr::from_bytes(fields.next()?.trim_ascii_start()));
    if let Some(path) = wanted.by_path(path) {
        return Some(path.to_path_buf());
    }
    let (major, minor) = std::str::from_utf8(dev).ok()?.split_once(':')?;
    let dev = rustix::fs::makedev(u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?);
    let inode: u64 = std::str::from_utf8(inode).ok()?.parse().ok()?;
    wanted.by_inode(dev, inode).map(Path::to_path_buf)
}

/// Long enough to know the program, short enough for one line.
const COMMAND_BYTES_MAX: usize = 120;

fn command_of(pid: u32) -> String {
    let mut line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    if line.is_empty() {
        line = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    }
    let words = line.split(|&b| b == 0 || b == b'\n').filter(|w| !w.is_empty());
    let words: Vec<&[u8]> = words.collect();
    let joined = words.join(&b' ');
    escape(&joined[..joined.len().min(COMMAND_BYTES_MAX)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{Run, spawn};
    use std::time::Duration;

    #[test]
    fn a_holder_is_named_by_descriptor_link_and_directory() {
        let dir = tempfile::tempdir().unwrap();
        let (file, twin) = (dir.path().join("data"), dir.path().join("twin"));
        fs::write(&file, b"x").unwrap();
        fs::hard_link(&file, &twin).unwrap();
        assert_eq!(holders(&[Held::File(&file)]).unwrap().holders, []);
        let tail = Run::new("tail", Duration::from_secs(60)).arg("-f").arg(&twin);
        let service = spawn(&tail, None).unwrap();
        let until = std::time::Instant::now() + Duration::from_secs(20);
        let mut holding = Holding::default();
        while holding.holders.is_empty() && std::time::Instant::now() < until {
            holding = holders(&[Held::File(&file)]).unwrap();
        }
        assert_eq!(holding.holders[0].pid, service.pid());
        assert!(holding.holders[0].command.starts_with("tail -f"));
        assert_eq!(holding.holders[0].path, file);
        let beneath = holders(&[Held::Beneath(dir.path())]).unwrap();
        assert_eq!(beneath.holders[0].path, twin.canonicalize().unwrap());
        service.stop().unwrap();
        assert_eq!(holders(&[Held::Beneath(dir.path())]).unwrap().holders, []);
    }
}
