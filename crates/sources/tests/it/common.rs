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

/// A process of its own that writes to a database until it is told to stop.
pub(crate) struct Writer {
    child: std::process::Child,
}

impl Writer {
    const SCRIPT: &str = r#"
import sqlite3, sys, random, threading
path, mode = sys.argv[1], sys.argv[2]
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
c = sqlite3.connect(path, isolation_level=None, timeout=0 if mode == "impatient" else 60)
c.execute("SELECT count(*) FROM sqlite_master").fetchone()
print("ready", flush=True)
written = busy = 0
if mode == "hold":
    stop.wait()
n = 0 if mode == "hold" else c.execute("SELECT max(id) FROM account").fetchone()[0]
while not stop.is_set():
    a, b = random.randint(1, n), random.randint(1, n)
    try:
        c.execute("BEGIN IMMEDIATE")
        c.execute("UPDATE account SET balance = balance - 1 WHERE id = ?", (a,))
        c.execute("UPDATE account SET balance = balance + 1, filler = randomblob(2000) WHERE id = ?", (b,))
        c.execute("COMMIT")
        written += 1
    except sqlite3.OperationalError as e:
        busy += "locked" in str(e)
        if c.in_transaction:
            c.execute("ROLLBACK")
    stop.wait(0.001)
print(written, busy, flush=True)
"#;

    pub(crate) fn start(path: &Path) -> Self {
        Self::run(path, "patient")
    }
    pub(crate) fn impatient(path: &Path) -> Self {
        Self::run(path, "impatient")
    }
    /// Has it open and does nothing.
    pub(crate) fn holding(path: &Path) -> Self {
        Self::run(path, "hold")
    }
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn run(path: &Path, mode: &str) -> Self {
        use std::io::Read;
        use std::process::Stdio;
        let mut child = Command::new("python3")
            .arg("-c")
            .arg(Self::SCRIPT)
            .arg(path)
            .arg(mode)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        Writer { child }
    }

    /// Transactions done, and those refused as busy.
    pub(crate) fn stop(mut self) -> (u64, u64) {
        drop(self.child.stdin.take());
        let mut text = String::new();
        std::io::Read::read_to_string(self.child.stdout.as_mut().unwrap(), &mut text).unwrap();
        assert!(self.child.wait().unwrap().success());
        let mut numbers = text.split_whitespace().map(|n| n.parse().unwrap());
        (numbers.next().unwrap(), numbers.next().unwrap())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
