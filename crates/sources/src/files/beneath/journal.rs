//! Which files of a restore are finished, so that the same restore can go on after it was stopped.
//!
//! A file in the root of the target, one line for each finished file: its length, inode and times, and its path.
//! A line is written only after the file system was told to store everything, so that a file that is named
//! here has its content even if the power went. What was restored since is compared by its content again.
//! A file counts as finished only while it is the same inode with the same times; nobody can set the time of
//! its last change back.
#![allow(clippy::unnecessary_cast, reason = "the fields of `Stat` differ between architectures")]

use super::{lock, stat_of};
use recoup_core::name::TreePath;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, openat, unlinkat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Mutex;

/// The name of the journal in the root of the target.
pub(super) const NAME: &str = ".recoup-restore.journal";

/// The first words of it.
const MAGIC: &str = "recoup restore journal 1";

/// Bytes and files after which a line of each is written. Each time the whole file system is synced, so it is
/// not done often: with fewer there is less to compare again than a second restore takes to start.
const BYTES_BETWEEN: u64 = 256 << 20;
const FILES_BETWEEN: u64 = 20_000;

/// Longest journal that is read: about five million files.
const BYTES_MAX: u64 = 1 << 30;

/// Hexadecimal digits of the sum behind each line.
const SUM_DIGITS: usize = 16;

/// Whether `path` is that of the journal.
pub(super) fn is_at(path: &TreePath) -> bool {
    matches!(path.components(), [name] if name.as_bytes() == NAME.as_bytes())
}

/// What tells a file that nobody touched from any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    bytes: u64,
    inode: u64,
    changed: (i64, i64),
    touched: (i64, i64),
}

impl Stamp {
    pub(super) fn of(stat: &Stat) -> Self {
        Stamp {
            bytes: u64::try_from(stat.st_size).unwrap_or(0),
            inode: stat.st_ino as u64,
            changed: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            touched: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }

    fn words(&self) -> String {
        let Stamp { bytes, inode, changed, touched } = self;
        format!("{bytes} {inode} {} {} {} {}", changed.0, changed.1, touched.0, touched.1)
    }

    fn read(words: &[&str]) -> Option<Self> {
        let [bytes, inode, changed, changed_part, touched, touched_part] = words else { return None };
        Some(Stamp {
            bytes: bytes.parse().ok()?,
            inode: inode.parse().ok()?,
            changed: (changed.parse().ok()?, changed_part.parse().ok()?),
            touched: (touched.parse().ok()?, touched_part.parse().ok()?),
        })
    }
}

/// The journal of one restore.
pub(super) struct Journal {
    key: [u8; 32],
    /// What an earlier run has finished.
    earlier: HashMap<TreePath, Stamp>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The file, once it is there.
    file: Option<File>,
    /// How long it is without a torn line. The next one must not be glued to that.
    whole: Option<u64>,
    /// One of another restore, which is over when this one is.
    other: Option<File>,
    /// Lines of what is not known to be durable.
    pending: Vec<u8>,
    files: u64,
    bytes: u64,
    /// Why there is none.
    given_up: Option<String>,
}

impl Journal {
    /// Reads what an earlier run of the restore `key` left in `root`. Anything else of that name is replaced.
    pub(super) fn open(root: &OwnedFd, key: [u8; 32]) -> Self {
        let (mut state, mut earlier) = (State::default(), HashMap::new());
        if let Some((file, bytes)) = found(root) {
            match read(&bytes, &key) {
                Some((finished, whole)) => {
                    earlier = finished;
                    (state.file, state.whole) = (Some(file), Some(whole as u64));
                }
                None => state.other = Some(file).filter(|_| bytes.starts_with(MAGIC.as_bytes())),
            }
        }
        Journal { key, earlier, state: Mutex::new(state) }
    }

    /// Whether an earlier run has finished `path`, and it is still what it was.
    pub(super) fn has(&self, path: &TreePath, now: &Stamp) -> bool {
        !self.earlier.is_empty() && self.earlier.get(path) == Some(now)
    }

    /// Why there is no journal, if it could not be kept.
    pub(super) fn trouble(&self) -> Option<String> {
        lock(&self.state).given_up.clone()
    }

    /// Notes that `path` has its name and its metadata.
    pub(super) fn finished(&self, root: &OwnedFd, path: &TreePath, file: &File) {
        let Ok(stat) = rustix::fs::fstat(file) else { return };
        let stamp = Stamp::of(&stat);
        let due = {
            let mut state = lock(&self.state);
            if state.given_up.is_some() {
                return;
            }
            let line = line(&stamp, path);
            state.pending.extend_from_slice(&line);
            state.files += 1;
            state.bytes += stamp.bytes;
            state.files >= FILES_BETWEEN || state.bytes >= BYTES_BETWEEN
        };
        if due {
            self.checkpoint(root);
        }
    }

    /// Makes everything durable and then writes down what was finished before that.
    pub(super) fn checkpoint(&self, root: &OwnedFd) {
        let pending = {
            let mut state = lock(&self.state);
            (state.files, state.bytes) = (0, 0);
            std::mem::take(&mut state.pending)
        };
        if pending.is_empty() {
            return;
        }
        let written = rustix::fs::syncfs(root).map_err(std::io::Error::from).and_then(|()| {
            let mut state = lock(&self.state);
            if state.given_up.is_some() {
                return Ok(());
            }
            let mut file = match state.file.take() {
                Some(file) => file,
                None => create(root, &self.key)?,
            };
            if let Some(whole) = state.whole.take() {
                file.set_len(whole)?;
            }
            file.write_all(&pending)?;
            file.sync_data()?;
            state.file = Some(file);
            Ok(())
        });
        if let Err(e) = written {
            self.give_up(root, &e.to_string());
        }
    }

    /// Goes on without a journal. What is there of it is removed: half of one is worth nothing.
    pub(super) fn give_up(&self, root: &OwnedFd, why: &str) {
        let _gone = self.remove(root);
        let mut state = lock(&self.state);
        state.pending = Vec::new();
        state.given_up.get_or_insert_with(|| why.to_owned());
    }

    /// Removes it, if what has its name is it, or that of another restore.
    pub(super) fn remove(&self, root: &OwnedFd) -> std::io::Result<()> {
        let found = {
            let mut state = lock(&self.state);
            let other = state.other.take();
            state.file.take().or(other)
        };
        let Some(file) = found else { return Ok(()) };
        let ours = rustix::fs::fstat(&file)?;
        match stat_of(root, NAME.as_bytes()) {
            Ok(there) if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino) => {
                unlinkat(root, NAME, AtFlags::empty())?;
                Ok(rustix::fs::fsync(root)?)
            }
            Ok(_) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

fn create(root: &OwnedFd, key: &[u8; 32]) -> std::io::Result<File> {
    match unlinkat(root, NAME, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return Err(e.into()),
    }
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    let mut file = File::from(openat(root, NAME, flags | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)?);
    file.write_all(format!("{MAGIC} {}\n", hex::encode(key)).as_bytes())?;
    file.sync_all()?;
    rustix::fs::fsync(root)?;
    Ok(file)
}

/// The file that stands in `root` in the place of the journal, if it is ours, and what it holds.
fn found(root: &OwnedFd) -> Option<(File, Vec<u8>)> {
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = File::from(openat(root, NAME, flags, Mode::empty()).ok()?);
    let stat = rustix::fs::fstat(&file).ok()?;
    // Somebody else could write down that files are finished which are not.
    let is_ours = FileType::from_raw_mode(stat.st_mode).is_file()
        && stat.st_uid == rustix::process::geteuid().as_raw()
        && stat.st_mode & 0o077 == 0
        && stat.st_nlink as u64 == 1
        && u64::try_from(stat.st_size).is_ok_and(|bytes| bytes <= BYTES_MAX);
    if !is_ours {
        return None;
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    Some((file, bytes))
}

/// What a journal of the restore `key` says, and how many bytes of it are whole lines.
fn read(bytes: &[u8], key: &[u8; 32]) -> Option<(HashMap<TreePath, Stamp>, usize)> {
    let header = format!("{MAGIC} {}\n", hex::encode(key));
    let mut rest = bytes.strip_prefix(header.as_bytes())?;
    let mut earlier = HashMap::new();
    while let Some(end) = rest.iter().position(|&b| b == b'\n') {
        let Some((path, stamp)) = entry(&rest[..end]) else { break };
        earlier.insert(path, stamp);
        rest = &rest[end + 1..];
    }
    Some((earlier, bytes.len() - rest.len()))
}

fn line(stamp: &Stamp, path: &TreePath) -> Vec<u8> {
    let mut line = format!("{} ", stamp.words()).into_bytes();
    for byte in path.to_bytes() {
        match byte {
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\\' => line.extend_from_slice(b"\\\\"),
            byte => line.push(byte),
        }
    }
    let sum = sum(&line);
    line.push(b' ');
    line.extend_from_slice(sum.as_bytes());
    line.push(b'\n');
    line
}

fn entry(line: &[u8]) -> Option<(TreePath, Stamp)> {
    let (said, found) = line.split_at_checked(line.len().checked_sub(SUM_DIGITS + 1)?)?;
    if found.strip_prefix(b" ")? != sum(said).as_bytes() {
        return None;
    }
    let mut parts = said.splitn(7, |&b| b == b' ');
    let mut words = Vec::new();
    for _ in 0..6 {
        words.push(std::str::from_utf8(parts.next()?).ok()?);
    }
    let mut path = Vec::new();
    let mut escaped = parts.next()?.iter();
    while let Some(&byte) = escaped.next() {
        path.push(match byte {
            b'\\' if *escaped.next()? == b'n' => b'\n',
            byte => byte,
        });
    }
    Some((TreePath::parse(&path).ok()?, Stamp::read(&words)?))
}

fn sum(line: &[u8]) -> String {
    let mut text = hex::encode(Sha256::digest(line));
    text.truncate(SUM_DIGITS);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(inode: u64) -> Stamp {
        Stamp { bytes: 12, inode, changed: (-1, 999_999_999), touched: (1_700_000_000, 5) }
    }

    #[test]
    fn what_was_written_is_read_and_a_torn_line_is_not() {
        let key = [7; 32];
        let names: [&[u8]; 5] = [b"a", b"dir/with space ", b"new\nline", b"back\\slash\\n", b"\xff\xfe"];
        let mut bytes = format!("{MAGIC} {}\n", hex::encode(key)).into_bytes();
        let header = bytes.len();
        let mut ends = Vec::new();
        for (number, name) in names.iter().enumerate() {
            bytes.extend(line(&stamp(number as u64), &TreePath::parse(name).unwrap()));
            ends.push(bytes.len());
        }
        for length in header..=bytes.len() {
            let (earlier, good) = read(&bytes[..length], &key).unwrap();
            let whole = ends.iter().filter(|end| **end <= length).count();
            assert_eq!(earlier.len(), whole, "{length}");
            assert_eq!(good, if whole == 0 { header } else { ends[whole - 1] });
            for (number, name) in names.iter().enumerate().take(whole) {
                assert_eq!(earlier.get(&TreePath::parse(name).unwrap()), Some(&stamp(number as u64)));
            }
        }
        assert!(read(&bytes, &[8; 32]).is_none(), "it is that of another restore");
        for at in header..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            let (earlier, _) = read(&flipped, &key).unwrap();
            assert!(earlier.len() < names.len(), "byte {at}");
            assert!(earlier.iter().all(|(path, found)| {
                names
                    .iter()
                    .position(|name| TreePath::parse(name).unwrap() == *path)
                    .is_some_and(|n| *found == stamp(n as u64))
            }));
        }
    }
}
