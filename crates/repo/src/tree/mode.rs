//! File types and permission bits as Go numbers them (`io/fs.FileMode`).

use recoup_core::entry::EntryKind;

const DIR: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;
const DEVICE: u32 = 1 << 26;
const FIFO: u32 = 1 << 25;
const SOCKET: u32 = 1 << 24;
const SETUID: u32 = 1 << 23;
const SETGID: u32 = 1 << 22;
const CHAR_DEVICE: u32 = 1 << 21;
const STICKY: u32 = 1 << 20;

const BITS: [(u32, u32); 3] = [(0o4000, SETUID), (0o2000, SETGID), (0o1000, STICKY)];

/// Go's number for a type and the twelve permission bits.
pub(super) fn to_go(kind: &EntryKind, mode: u32) -> u32 {
    let kind = match kind {
        EntryKind::File => 0,
        EntryKind::Dir => DIR,
        EntryKind::Symlink { .. } => SYMLINK,
        EntryKind::BlockDevice { .. } => DEVICE,
        EntryKind::CharDevice { .. } => DEVICE | CHAR_DEVICE,
        EntryKind::Fifo => FIFO,
        EntryKind::Socket => SOCKET,
    };
    let special = BITS.iter().filter(|(unix, _)| mode & unix != 0).fold(0, |all, (_, go)| all | go);
    kind | special | mode & 0o777
}

/// The twelve permission bits of Go's number. The type is taken from the node's own field.
pub(super) fn from_go(mode: u32) -> u32 {
    BITS.iter().filter(|(_, go)| mode & go != 0).fold(mode & 0o777, |all, (unix, _)| all | unix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_twelve_bits_go_both_ways() {
        for mode in 0..=0o7777 {
            assert_eq!(from_go(to_go(&EntryKind::File, mode)), mode);
        }
        // the example of restic's design document: a link with all permissions
        assert_eq!(to_go(&EntryKind::Symlink { target: Vec::new() }, 0o777), 134_218_239);
    }
}
