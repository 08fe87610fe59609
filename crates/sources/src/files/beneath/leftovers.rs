//! The names of what is not finished, and what a restore that was killed left under such names.

use super::super::walk::read_names;
use rustix::fs::{AtFlags, SeekFrom, seek, unlinkat};
use rustix::io::Errno;
use rustix::process::{Pid, getpid, test_kill_process};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

/// What these names begin with. With the key of a journal it is one that only the same restore has.
pub(super) fn prefix(key: Option<&[u8; 32]>) -> String {
    match key {
        Some(key) => format!(".recoup-{}-", hex::encode(&key[..4])),
        None => ".recoup-".to_owned(),
    }
}

/// Removes what runs of the restore `key` left in `dir` that are over. What cannot be removed does no harm.
pub(super) fn sweep(dir: &OwnedFd, key: &[u8; 32]) {
    let prefix = prefix(Some(key));
    // The descriptor may have been read before.
    if seek(dir, SeekFrom::Start(0)).is_err() {
        return;
    }
    for name in read_names(dir).unwrap_or_default() {
        if maker(name.as_bytes(), &prefix).is_some_and(|pid| pid != getpid() && is_over(pid)) {
            let _ = unlinkat(dir, name.as_bytes(), AtFlags::empty());
        }
    }
}

/// The process that made something of this name.
fn maker(name: &[u8], prefix: &str) -> Option<Pid> {
    let (pid, number) = std::str::from_utf8(name).ok()?.strip_prefix(prefix)?.split_once('-')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    Pid::from_raw(pid.parse().ok().filter(|_| is_number(pid) && is_number(number))?)
}

fn is_over(pid: Pid) -> bool {
    test_kill_process(pid) == Err(Errno::SRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_same_restore_are_taken_for_leftovers() {
        let key = [0x1f; 32];
        let ours = prefix(Some(&key));
        assert_eq!(ours, ".recoup-1f1f1f1f-");
        let pid = |name: &str| maker(name.as_bytes(), &ours).map(Pid::as_raw_nonzero).map(i32::from);
        assert_eq!(pid(".recoup-1f1f1f1f-4711-0"), Some(4711));
        for other in [
            ".recoup-1f1f1f1e-4711-0",
            ".recoup-4711-0",
            ".recoup-1f1f1f1f-4711",
            ".recoup-1f1f1f1f--1-0",
            ".recoup-1f1f1f1f-0-0",
            ".recoup-1f1f1f1f-4711-",
            ".recoup-1f1f1f1f-4711-x",
            ".recoup-1f1f1f1f-99999999999-0",
            "recoup-1f1f1f1f-4711-0",
        ] {
            assert_eq!(pid(other), None, "{other}");
        }
        assert!(!is_over(getpid()));
    }
}
