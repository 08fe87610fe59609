//! The stages outside: recoup starts itself again, that process steps into new namespaces, and
//! starts itself once more as their first process.
#![allow(
    clippy::disallowed_methods,
    reason = "this module starts, waits for and ends the processes of a sandbox"
)]

use super::spec::{Answer, Impossible, Spec};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use recoup_core::{Error, Kind, Result};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The answer is small; more than this is not read.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// What the stages get on top of the time limit, each the inner one's twice.
const GRACE: Duration = Duration::from_secs(10);

/// What the first process inside is told.
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct Order {
    pub(super) spec: Spec,
    pub(super) sockets: Vec<PathBuf>,
}

/// Runs `spec` in a sandbox made by `executable`, a program that calls [`super::entry`] first.
/// Blocks until nothing of it is left; the calling thread must live that long.
///
/// # Errors
/// `Kind::Unavailable` if the stages themselves break; a host that cannot isolate is an
/// [`Answer::Impossible`].
pub fn run(spec: &Spec, executable: &Path) -> Result<Answer> {
    let doing = "run the sandbox of a drill";
    let order = Order { spec: spec.clone(), sockets: host_sockets() };
    let order = serde_json::to_vec(&order).map_err(|e| Error::bug(doing).caused_by(e))?;
    let seconds = spec.limit_seconds.max(0.0);
    let through = u8::from(spec.user.through_user_namespace);
    let mut child = stage(executable, "outer")
        .args([through.to_string(), seconds.to_string()])
        .spawn()
        .map_err(|e| Error::io(doing, e))?;
    let (out, err) = converse(&mut child, order, Duration::from_secs_f64(seconds) + 2 * GRACE);
    let last = out.split(|&b| b == b'\n').rfind(|line| !line.is_empty());
    match last.and_then(|line| serde_json::from_slice(line).ok()) {
        Some(answer) => Ok(answer),
        None => Err(Error::new(Kind::Unavailable, doing)
            .code("E0702")
            .with("it said", recoup_core::name::escape(&err))
            .effect("nothing outside the scratch folder was touched")),
    }
}

/// The process that makes the namespaces. Its end is the end of everything inside. It stays single:
/// a process whose children live in another namespace of processes may not have threads.
pub(super) fn outer(words: &[String]) -> i32 {
    match outer_try(words) {
        Ok(()) => 0,
        Err(impossible) => {
            say(&Answer::Impossible(impossible));
            3
        }
    }
}

fn outer_try(words: &[String]) -> std::result::Result<(), Impossible> {
    die_with_parent();
    let seconds = words.get(1).and_then(|w| w.parse().ok()).unwrap_or(0.0);
    enter_namespaces(words.first().is_some_and(|w| w == "1"))?;
    let mut child = stage(Path::new("/proc/self/exe"), "inside")
        .stdin(Stdio::inherit())
        .stdout(Stdio::inherit())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|e| Impossible::host("start the first process of the sandbox", e))?;
    wait(&mut child, Duration::from_secs_f64(seconds) + GRACE);
    Ok(())
}

fn enter_namespaces(through_user: bool) -> std::result::Result<(), Impossible> {
    let uid = nix::unistd::getuid();
    let gid = nix::unistd::getgid();
    let mut flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    if through_user {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    unshare(flags).map_err(|e| Impossible::host("make private namespaces", e))?;
    if through_user {
        for (file, line) in [
            ("setgroups", "deny".to_owned()),
            ("uid_map", format!("0 {uid} 1")),
            ("gid_map", format!("0 {gid} 1")),
        ] {
            std::fs::write(format!("/proc/self/{file}"), line)
                .map_err(|e| Impossible::host("map the user into its namespace", e))?;
        }
    }
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .map_err(|e| Impossible::host("make the mounts private", e))
}

/// A command that starts this program at another stage. No environment, nothing inherited but pipes.
pub(super) fn stage(executable: &Path, name: &str) -> Command {
    let mut command = Command::new(executable);
    command
        .args([super::ENTRY, name])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Asks the kernel to end this process when its parent ends, so that nothing survives a killed recoup.
pub(super) fn die_with_parent() {
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
}

/// Writes the answer as one line.
pub(super) fn say(answer: &Answer) {
    let mut text = serde_json::to_vec(answer).unwrap_or_default();
    text.push(b'\n');
    let _ = std::io::stdout().write_all(&text);
}

fn converse(child: &mut Child, order: Vec<u8>, limit: Duration) -> (Vec<u8>, Vec<u8>) {
    if let Some(mut stdin) = child.stdin.take() {
        thread::spawn(move || stdin.write_all(&order));
    }
    let out = child.stdout.take().map(|pipe| thread::spawn(move || read_all(pipe)));
    let err = child.stderr.take().map(|pipe| thread::spawn(move || read_all(pipe)));
    wait(child, limit);
    let join = |t: Option<thread::JoinHandle<Vec<u8>>>| t.and_then(|t| t.join().ok()).unwrap_or_default();
    (join(out), join(err))
}

/// Waits for the end of `child`, and brings it about after `limit`.
fn wait(child: &mut Child, limit: Duration) {
    let start = Instant::now();
    let mut pause = Duration::from_millis(2);
    while matches!(child.try_wait(), Ok(None)) {
        if start.elapsed() > limit {
            let _ = child.kill();
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

fn read_all(pipe: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = pipe.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes);
    bytes
}

/// Paths of all sockets that some process of this host has bound, in any network namespace. A
/// read-only mount does not keep a process from connecting to them, so each is covered.
fn host_sockets() -> Vec<PathBuf> {
    let mut tables = BTreeSet::new();
    let mut found = BTreeSet::new();
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    for process in processes.flatten() {
        let Ok(namespace) = std::fs::metadata(process.path().join("ns/net")) else { continue };
        if !tables.insert(namespace.ino()) {
            continue;
        }
        let Ok(table) = std::fs::read(process.path().join("net/unix")) else { continue };
        found.extend(sockets_of(&String::from_utf8_lossy(&table)));
    }
    found.into_iter().collect()
}

/// The eighth column of `/proc/net/unix`, where it is a path.
fn sockets_of(table: &str) -> impl Iterator<Item = PathBuf> {
    table.lines().filter_map(|line| line.split_once(" /")).map(|(_, path)| PathBuf::from(format!("/{path}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_read_with_their_spaces() {
        let table = "Num RefCount Protocol Flags Type St Inode Path\n\
            0000: 00000002 00000000 00010000 0001 01 100 /run/my app.sock\n\
            0000: 00000002 00000000 00010000 0001 01 101 @abstract\n\
            0000: 00000003 00000000 00000000 0001 03 102\n";
        assert_eq!(sockets_of(table).collect::<Vec<_>>(), [PathBuf::from("/run/my app.sock")]);
    }
}
