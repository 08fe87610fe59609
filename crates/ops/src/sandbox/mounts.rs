//! The mounts of this process as the kernel lists them.

use nix::mount::MsFlags;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) at: PathBuf,
    pub(super) kind: String,
    /// Flags that a remount must repeat, because a user namespace may not take them away.
    pub(super) flags: MsFlags,
}

/// All mounts at or below `root`, outermost first.
///
/// # Errors
/// As the operating system says.
pub(super) fn beneath(root: &Path) -> io::Result<Vec<Mount>> {
    let text = std::fs::read("/proc/self/mountinfo")?;
    let mut found: Vec<Mount> =
        text.split(|&b| b == b'\n').filter_map(parse).filter(|m| m.at.starts_with(root)).collect();
    found.sort_by_key(|m| m.at.components().count());
    Ok(found)
}

/// `36 35 98:0 /root /mount/point rw,noatime master:1 - ext3 /dev/root rw`
fn parse(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|&b| b == b' ');
    let at = unescape(words.nth(4)?);
    let flags = flags(words.next()?);
    let kind = words.skip_while(|w| *w != b"-").nth(1)?;
    Some(Mount { at, kind: String::from_utf8_lossy(kind).into_owned(), flags })
}

/// Space, tab, newline and backslash stand as three octal digits.
fn unescape(word: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|d| first == b'\\' && d.iter().all(|c| (b'0'..=b'7').contains(c)));
        match octal {
            Some(d) => {
                out.push(d.iter().fold(0u8, |n, c| n.wrapping_mul(8).wrapping_add(c - b'0')));
                rest = &tail[3..];
            }
            None => {
                out.push(first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(out))
}

fn flags(options: &[u8]) -> MsFlags {
    let mut flags = MsFlags::empty();
    for option in options.split(|&b| b == b',') {
        flags |= match option {
            b"ro" => MsFlags::MS_RDONLY,
            b"nosuid" => MsFlags::MS_NOSUID,
            b"nodev" => MsFlags::MS_NODEV,
            b"noexec" => MsFlags::MS_NOEXEC,
            b"noatime" => MsFlags::MS_NOATIME,
            b"nodiratime" => MsFlags::MS_NODIRATIME,
            b"relatime" => MsFlags::MS_RELATIME,
            _ => MsFlags::empty(),
        };
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_its_escapes() {
        let m =
            parse(b"36 35 98:0 / /mnt/a\\040b\\134 rw,nosuid,relatime shared:1 - ext4 /dev/vda rw").unwrap();
        assert_eq!(m.at, Path::new("/mnt/a b\\"));
        assert_eq!(m.kind, "ext4");
        assert_eq!(m.flags, MsFlags::MS_NOSUID | MsFlags::MS_RELATIME);
        assert!(parse(b"").is_none());
    }
}
