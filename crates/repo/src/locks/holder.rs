//! Whether the process that wrote a lock is provably gone. Doubt is never proof: a lock of another
//! machine, of another container, or of a process that cannot be seen is left alone.

use crate::lockfile::LockFile;
use jiff::Timestamp;
use recoup_core::env::Env;
use rustix::io::Errno;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// The field of a lock file in which recoup says more than restic does. Restic ignores it.
const FIELD: &str = "recoup";

/// What makes a process unmistakable, without any clock that somebody may set.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    /// The machine, from `/etc/machine-id`; empty if it has none.
    machine: String,
    /// This run of the kernel.
    boot: String,
    /// The PID namespace: containers with equal host names have different ones.
    namespace: String,
    /// When the process started, in clock ticks since boot.
    started: u64,
}

impl Mark {
    fn of(pid: i64) -> Option<Mark> {
        Some(Mark {
            machine: fs::read_to_string("/etc/machine-id").unwrap_or_default().trim().to_owned(),
            boot: fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned(),
            namespace: namespace()?,
            started: started(pid)?,
        })
    }

    fn in_lock(lock: &LockFile) -> Option<Mark> {
        serde_json::from_value(lock.other.get(FIELD)?.clone()).ok()
    }
}

/// Adds to `lock`, which is one of this process, what makes the process unmistakable.
pub(super) fn mark(lock: &mut LockFile) {
    if let Some(mark) = Mark::of(lock.pid).and_then(|mark| serde_json::to_value(mark).ok()) {
        lock.other.insert(FIELD.into(), mark);
    }
}

/// Whether the holder of `lock` ran on this machine and is gone.
pub(super) fn is_provably_dead(lock: &LockFile, env: &Env) -> bool {
    if lock.hostname != env.host.hostname || lock.hostname.is_empty() {
        return false;
    }
    match Mark::in_lock(lock) {
        Some(mark) => is_marked_dead(&mark, lock.pid),
        None => is_gone(lock.pid) || is_reused(lock),
    }
}

/// A lock of recoup: the boot, the namespace and the start of the process tell for sure.
fn is_marked_dead(mark: &Mark, pid: i64) -> bool {
    let Some(here) = Mark::of(i64::from(std::process::id())) else { return false };
    if mark.boot != here.boot {
        return mark.machine == here.machine && !here.machine.is_empty();
    }
    mark.namespace == here.namespace && (is_gone(pid) || started(pid).is_some_and(|now| now != mark.started))
}

/// A lock of restic: the number went to a process that is younger than the lock and is no backup tool.
/// The name is asked too because clocks get set: a lock written before that may look older than its writer.
fn is_reused(lock: &LockFile) -> bool {
    const SLACK_SECONDS: i64 = 2;
    let Some(started) = started_at(lock.pid) else { return false };
    let Ok(name) = fs::read_to_string(format!("/proc/{}/comm", lock.pid)) else { return false };
    let is_tool = ["restic", "rustic", "recoup"].iter().any(|tool| name.contains(tool));
    !is_tool && started.as_second() > lock.time.at.as_second() + SLACK_SECONDS
}

/// Whether there is no such process. A process of somebody else that `/proc` hides is there.
fn is_gone(pid: i64) -> bool {
    let Some(pid) = i32::try_from(pid).ok().filter(|pid| *pid > 0).and_then(Pid::from_raw) else {
        return false;
    };
    rustix::process::test_kill_process(pid) == Err(Errno::SRCH)
}

fn namespace() -> Option<String> {
    Some(fs::read_link(Path::new("/proc/self/ns/pid")).ok()?.to_string_lossy().into_owned())
}

/// Field 22 of `/proc/PID/stat`. The name in field 2 may hold anything, so the last bracket ends it.
fn started(pid: i64) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// By the wall clock: the time of boot plus ticks of a hundredth of a second, which Linux has fixed for
/// everything that leaves the kernel.
fn started_at(pid: i64) -> Option<Timestamp> {
    const TICKS_PER_SECOND: u64 = 100;
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let booted: u64 = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Timestamp::from_second(i64::try_from(booted + started(pid)? / TICKS_PER_SECOND).ok()?).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "a test needs a process that is gone")]
    use super::*;

    fn gone_pid() -> i64 {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = i64::from(child.id());
        child.wait().unwrap();
        pid
    }

    #[test]
    fn only_what_is_surely_gone_is_dead() {
        let env = recoup_testkit::env::real();
        let mut lock = LockFile::new(&env, false);
        assert!(!is_provably_dead(&lock, &env), "this process lives");
        mark(&mut lock);
        assert!(!is_provably_dead(&lock, &env), "this process lives, by its mark");

        let mut gone = LockFile { pid: gone_pid(), ..LockFile::new(&env, true) };
        assert!(is_provably_dead(&gone, &env));
        gone.other = lock.other.clone();
        assert!(is_provably_dead(&gone, &env));
        gone.hostname = "elsewhere".into();
        assert!(!is_provably_dead(&gone, &env), "another machine cannot be asked");
    }

    #[test]
    fn a_reused_number_is_told_by_its_start() {
        let env = recoup_testkit::env::real();
        let mut other =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let mut lock = LockFile { pid: i64::from(other.id()), ..LockFile::new(&env, false) };
        lock.time.at = Timestamp::from_second(1_000_000_000).unwrap();
        assert!(is_provably_dead(&lock, &env), "the process is younger than the lock, and no backup tool");
        lock.time.at = env.now();
        assert!(!is_provably_dead(&lock, &env), "it may have written the lock");
        other.kill().unwrap();
        other.wait().unwrap();

        let mut lock = LockFile::new(&env, false);
        mark(&mut lock);
        let change = |field: &str, value: serde_json::Value| {
            let mut lock = lock.clone();
            lock.other[FIELD][field] = value;
            is_provably_dead(&lock, &env)
        };
        assert!(change("started", 1.into()), "same number, other start");
        assert!(!change("namespace", "pid:[1]".into()), "another container cannot be seen");
    }
}
