//! Which data was opened: the proof that an application ran on the restored data and on nothing else.
//!
//! With fanotify (root) every opening in the sandbox waits for an answer here: a database of the host
//! that was not restored, and declared live data that was not restored, are refused and recorded.
//! Without it, inotify counts the openings of restored files and of the covered databases.
#![allow(clippy::disallowed_methods, reason = "this module polls what the kernel reports")]

use super::mounts;
use super::root::Root;
use super::spec::{Data, Opened, Shape, Spec, What};
use nix::sys::fanotify::{
    EventFFlags, Fanotify, FanotifyEvent, FanotifyResponse, InitFlags, MarkFlags, MaskFlags, Response,
};
use rustix::fs::inotify;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

/// First bytes of every SQLite database file.
const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";
/// File systems whose files are never data.
const NO_DATA: [&str; 8] =
    ["proc", "sysfs", "cgroup", "cgroup2", "devpts", "devtmpfs", "securityfs", "mqueue"];
/// Folders whose databases belong to programs of the system.
const SYSTEM: [&str; 6] = ["/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc"];
/// Different files that are remembered.
const FILES_MAX: usize = 20_000;
/// Folders of one source that are watched where only some can be.
const FOLDERS_MAX: usize = 1000;

/// Watches the openings of a sandbox.
#[derive(Clone)]
pub(super) struct Opens {
    seen: Arc<Mutex<Seen>>,
    /// How they are seen, for the report.
    pub(super) by: &'static str,
}

#[derive(Default)]
struct Seen {
    step: String,
    files: BTreeMap<(PathBuf, What, String), Opened>,
}

/// What decides about a file.
struct Judge {
    data: Vec<Data>,
    forbidden: Vec<super::spec::Forbidden>,
    program: Vec<PathBuf>,
    layers: Vec<(PathBuf, OwnedFd)>,
}

impl Opens {
    /// Starts watching, by the best means there is.
    pub(super) fn watch(spec: &Spec, root: Root) -> Self {
        let judge = Judge {
            data: spec.data.clone(),
            forbidden: spec.forbidden.clone(),
            program: spec.program.clone(),
            layers: root.layers,
        };
        let seen = Arc::new(Mutex::new(Seen::default()));
        let by = match watch_all(&judge) {
            Ok(watch) => {
                let copy = seen.clone();
                let started =
                    thread::Builder::new().name("opens".into()).spawn(move || answer(&watch, &judge, &copy));
                if started.is_ok() { "fanotify" } else { "nothing" }
            }
            Err(_) => match watch_some(judge.data, &spec.covered, seen.clone()) {
                Ok(()) => "inotify",
                Err(_) => "nothing",
            },
        };
        Opens { seen, by }
    }

    /// Names the step that what follows belongs to.
    pub(super) fn during(&self, step: &str) {
        if let Ok(mut seen) = self.seen.lock() {
            seen.step = step.to_owned();
        }
    }

    /// Looks at the open files of all processes, for those that opened before or keep open.
    pub(super) fn look_at_processes(&self, spec: &Spec) {
        for data in spec.data.iter().filter(|d| d.shape != Shape::Folder) {
            for (pid, file) in holders(&data.live) {
                let Ok(meta) = rustix::fs::stat(&file) else { continue };
                record(
                    &self.seen,
                    &data.live,
                    What::Restored,
                    Some(&data.source),
                    pid,
                    (meta.st_dev, meta.st_ino),
                    false,
                );
            }
        }
    }

    /// Everything of interest so far.
    pub(super) fn seen(&self) -> Vec<Opened> {
        self.seen.lock().map(|seen| seen.files.values().cloned().collect()).unwrap_or_default()
    }
}

fn watch_all(judge: &Judge) -> io::Result<Fanotify> {
    let watch = Fanotify::init(
        InitFlags::FAN_CLASS_CONTENT | InitFlags::FAN_CLOEXEC,
        EventFFlags::O_RDONLY | EventFFlags::O_LARGEFILE | EventFFlags::O_CLOEXEC,
    )?;
    for found in mounts::beneath(Path::new("/"))? {
        if NO_DATA.contains(&found.kind.as_str()) {
            continue;
        }
        let add = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_MOUNT;
        let marked = watch.mark(add, MaskFlags::FAN_OPEN_PERM, rustix::fs::CWD, Some(&found.at));
        let matters = judge.layers.iter().any(|(l, _)| *l == found.at)
            || judge.data.iter().any(|d| d.live == found.at)
            || found.at == Path::new("/");
        if let Err(why) = marked
            && matters
        {
            return Err(why.into());
        }
    }
    Ok(watch)
}

/// Answers every opening. This thread opens nothing itself, or it would wait for itself.
fn answer(watch: &Fanotify, judge: &Judge, seen: &Mutex<Seen>) {
    while let Ok(events) = watch.read_events() {
        for event in &events {
            let Some(fd) = event.fd() else { continue };
            let refused = decide(event, fd, judge, seen);
            let response = if refused { Response::FAN_DENY } else { Response::FAN_ALLOW };
            let _ = watch.write_response(FanotifyResponse::new(fd, response));
        }
    }
}

fn decide(event: &FanotifyEvent, fd: BorrowedFd<'_>, judge: &Judge, seen: &Mutex<Seen>) -> bool {
    let Ok(meta) = rustix::fs::fstat(fd) else { return false };
    let Ok(path) = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())) else { return false };
    let is_file = rustix::fs::FileType::from_raw_mode(meta.st_mode).is_file();
    let Some((what, source)) = judge.look(&path, is_file, || is_sqlite(fd)) else { return false };
    let refused = matches!(what, What::Foreign | What::Forbidden);
    record(seen, &path, what, source, event.pid(), (meta.st_dev, meta.st_ino), refused);
    refused
}

impl Judge {
    /// What the file is, or `None` if it is of no interest.
    fn look(
        &self,
        path: &Path,
        is_file: bool,
        is_database: impl Fn() -> bool,
    ) -> Option<(What, Option<&str>)> {
        let mine = |d: &&Data| match d.shape {
            Shape::Folder => path.starts_with(&d.live),
            Shape::Database | Shape::File => path == d.live,
        };
        if let Some(data) = self.data.iter().find(mine) {
            return Some((What::Restored, Some(&data.source)));
        }
        if !is_file {
            return None;
        }
        if let Some(f) = self.forbidden.iter().find(|f| path.starts_with(&f.path) && self.of_host(path)) {
            return Some((What::Forbidden, Some(&f.source)));
        }
        let program = self.program.iter().map(PathBuf::as_path).chain(SYSTEM.map(Path::new));
        if program.into_iter().any(|p| path.starts_with(p)) || !is_database() {
            return None;
        }
        Some((if self.of_host(path) { What::Foreign } else { What::Created }, None))
    }

    /// Whether the file is there on the host, too. What is not was made inside.
    fn of_host(&self, path: &Path) -> bool {
        if ["/run", "/dev"].iter().any(|own| path.starts_with(own)) {
            return false;
        }
        let layer = self
            .layers
            .iter()
            .filter(|(at, _)| path.starts_with(at))
            .max_by_key(|(at, _)| at.as_os_str().len());
        let Some((at, host)) = layer else { return true };
        let Ok(rest) = path.strip_prefix(at) else { return true };
        rustix::fs::statat(host, rest, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }
}

fn is_sqlite(fd: BorrowedFd<'_>) -> bool {
    let mut head = [0u8; SQLITE_MAGIC.len()];
    rustix::io::pread(fd, &mut head, 0).is_ok_and(|n| n == head.len()) && head == SQLITE_MAGIC
}

fn record(
    seen: &Mutex<Seen>,
    path: &Path,
    what: What,
    source: Option<&str>,
    pid: i32,
    (device, inode): (u64, u64),
    refused: bool,
) {
    // The sandbox itself opens files to ask questions about them; it is its first process.
    if pid == 1 {
        return;
    }
    let program = program_of(pid);
    let Ok(mut seen) = seen.lock() else { return };
    let step = seen.step.clone();
    if seen.files.len() >= FILES_MAX {
        return;
    }
    let entry = seen.files.entry((path.to_owned(), what, step.clone())).or_insert_with(|| Opened {
        path: recoup_core::name::escape(path.as_os_str().as_bytes()),
        what,
        source: source.map(str::to_owned),
        program,
        pid,
        step,
        device,
        inode,
        count: 0,
        refused,
    });
    entry.count += 1;
}

/// The command line of a process; `/proc` is not watched, so that reading it waits for nobody.
fn program_of(pid: i32) -> String {
    if pid <= 0 {
        return String::new();
    }
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|&b| b == 0).filter(|w| !w.is_empty()).take(4).collect();
    recoup_core::name::escape(&words.join(&b' '))
}

/// Processes that hold `path` open, and the way to the descriptor.
fn holders(path: &Path) -> Vec<(i32, PathBuf)> {
    let mut found = Vec::new();
    let Ok(processes) = std::fs::read_dir("/proc") else { return found };
    for process in processes.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|n| n.parse().ok()) else { continue };
        let Ok(files) = std::fs::read_dir(process.path().join("fd")) else { continue };
        let open = files.flatten().map(|f| f.path()).find(|f| std::fs::read_link(f).is_ok_and(|t| t == path));
        found.extend(open.map(|f| (pid, f)));
    }
    found
}

/// Counts the openings of restored files and of covered databases. All of these are private to the
/// sandbox, so whoever opens one is in it; who it was, the processes' open files may say.
fn watch_some(restored: Vec<Data>, covered: &[PathBuf], seen: Arc<Mutex<Seen>>) -> io::Result<()> {
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC)?;
    let mut watched = BTreeMap::new();
    for data in restored {
        let folders =
            if data.shape == Shape::Folder { folders_of(&data.live) } else { vec![data.live.clone()] };
        for path in folders {
            let number = inotify::add_watch(watch.as_fd(), &path, inotify::WatchFlags::OPEN)?;
            watched.insert(number, (path, What::Restored, Some(data.source.clone())));
        }
    }
    for path in covered {
        if let Ok(number) = inotify::add_watch(watch.as_fd(), path, inotify::WatchFlags::OPEN) {
            watched.insert(number, (path.clone(), What::Foreign, None));
        }
    }
    let read = move || {
        let mut buffer = [std::mem::MaybeUninit::<u8>::uninit(); 4096];
        let mut reader = inotify::Reader::new(watch.as_fd(), &mut buffer);
        while let Ok(event) = reader.next() {
            let Some((path, what, source)) = watched.get(&event.wd()) else { continue };
            if event.events().contains(inotify::ReadFlags::ISDIR) {
                continue;
            }
            let path = match event.file_name() {
                Some(name) => path.join(std::ffi::OsStr::from_bytes(name.to_bytes())),
                None => path.clone(),
            };
            let Ok(meta) = rustix::fs::stat(&path) else { continue };
            let foreign = *what == What::Foreign;
            record(&seen, &path, *what, source.as_deref(), 0, (meta.st_dev, meta.st_ino), foreign);
        }
    };
    thread::Builder::new().name("opens".into()).spawn(read)?;
    Ok(())
}

/// The folder and those below it, as many as are worth watching.
fn folders_of(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![root.to_owned()];
    let mut next = 0;
    while next < found.len() && found.len() < FOLDERS_MAX {
        if let Ok(entries) = std::fs::read_dir(&found[next]) {
            found.extend(
                entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()),
            );
        }
        next += 1;
    }
    found
}
