//! Real folders: a nasty one to back up, and a plain look at one that was restored.

use crate::tree::{Flat, NASTY};
use jiff::Timestamp;
use recoup_core::entry::{Entry, EntryKind, Xattr};
use recoup_core::name::{NodeName, TreePath};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps};
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

/// What the folder `root` holds, the root itself not included.
pub fn flat(root: &Path) -> Flat {
    let mut flat = Flat::new();
    let mut todo = vec![(TreePath::root(), root.to_owned())];
    while let Some((path, dir)) = todo.pop() {
        for item in std::fs::read_dir(&dir).unwrap() {
            let item = item.unwrap();
            let name = NodeName::new(item.file_name().into_vec()).unwrap();
            let path = path.join(&name);
            let entry = entry(name, &item.path());
            let bytes =
                if entry.kind == EntryKind::File { std::fs::read(item.path()).unwrap() } else { Vec::new() };
            if entry.is_dir() {
                todo.push((path.clone(), item.path()));
            }
            flat.insert(path, (entry, bytes));
        }
    }
    flat
}

fn entry(name: NodeName, path: &Path) -> Entry {
    let meta = std::fs::symlink_metadata(path).unwrap();
    let kind = match FileType::from_raw_mode(meta.mode()) {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Dir,
        FileType::Symlink => {
            EntryKind::Symlink { target: std::fs::read_link(path).unwrap().into_os_string().into_vec() }
        }
        FileType::Fifo => EntryKind::Fifo,
        FileType::Socket => EntryKind::Socket,
        FileType::BlockDevice => EntryKind::BlockDevice { device: meta.rdev() },
        FileType::CharacterDevice => EntryKind::CharDevice { device: meta.rdev() },
        FileType::Unknown => panic!("{}: unknown type", path.display()),
    };
    let time = |s, ns| Timestamp::new(s, ns as i32).unwrap();
    let mut entry = Entry::plain(name, kind, meta.mode() & 0o7777, time(meta.mtime(), meta.mtime_nsec()));
    entry.atime = time(meta.atime(), meta.atime_nsec());
    entry.ctime = time(meta.ctime(), meta.ctime_nsec());
    (entry.uid, entry.gid, entry.inode, entry.device_id) = (meta.uid(), meta.gid(), meta.ino(), meta.dev());
    entry.links = meta.nlink();
    entry.size = if meta.is_file() { meta.len() } else { 0 };
    entry.xattrs = xattrs(path);
    entry
}

fn xattrs(path: &Path) -> Vec<Xattr> {
    let mut names = vec![0; 65536];
    let Ok(length) = rustix::fs::llistxattr(path, &mut names) else { return Vec::new() };
    let names = names[..length].split(|b| *b == 0).filter(|name| !name.is_empty());
    let mut all: Vec<Xattr> = names
        .map(|name| {
            let mut value = vec![0; 65536];
            let length = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value).unwrap();
            value.truncate(length);
            Xattr { name: String::from_utf8(name.to_vec()).unwrap(), value }
        })
        .collect();
    all.sort();
    all
}

/// Fills `root` with everything that broke one tool or another.
pub fn make_nasty(root: &Path) {
    let at = |name: &[u8]| root.join(OsStr::from_bytes(name));
    for (n, name) in NASTY.iter().enumerate() {
        std::fs::write(at(name), format!("content {n}")).unwrap();
    }
    let names = at(b"dirs");
    std::fs::create_dir(&names).unwrap();
    for (n, name) in NASTY.iter().enumerate() {
        std::fs::create_dir(names.join(OsStr::from_bytes(name))).unwrap();
        symlink(OsStr::from_bytes(name), names.join(format!("link {n}"))).unwrap();
    }
    std::fs::write(at(b"empty"), b"").unwrap();
    let noise: Vec<u8> = (0..700_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    std::fs::write(at(b"large"), &noise).unwrap();
    std::fs::write(at(b"zeros"), vec![0; 5 << 20]).unwrap();
    sparse(&at(b"sparse"), &noise[..70_000]);
    symlink("/nowhere/../at all", at(b"dangling")).unwrap();
    symlink(OsStr::from_bytes(b"\xff\xfe"), at(b"link to invalid")).unwrap();
    rustix::fs::mkfifoat(CWD, at(b"pipe"), Mode::from_raw_mode(0o640)).unwrap();
    std::fs::write(at(b"linked"), "one inode, three names").unwrap();
    std::fs::create_dir(at(b"aside")).unwrap();
    for other in ["aside/linked", "zlinked"] {
        std::fs::hard_link(at(b"linked"), root.join(other)).unwrap();
    }
    for (name, mode) in [("setuid", 0o4755), ("setgid", 0o2750), ("sticky", 0o1600), ("none", 0o000)] {
        std::fs::write(root.join(name), name).unwrap();
        std::fs::set_permissions(root.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    std::fs::create_dir(at(b"sticky dir")).unwrap();
    std::fs::set_permissions(at(b"sticky dir"), std::fs::Permissions::from_mode(0o1777)).unwrap();
    deep(&at(b"deep"), 500);
    date(root);
}

/// Gives what can have them extended attributes and an ACL; says whether the file system took them.
pub fn add_xattrs(root: &Path) -> bool {
    let path = root.join("with xattrs");
    std::fs::write(&path, "x").unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    let set = |name: &str, value: &[u8]| rustix::fs::lsetxattr(&path, name, value, flags).is_ok();
    // An ACL of version 2: owner rw, user 1234 r, group r, mask r, others none.
    let acl: Vec<u8> =
        [(1u16, 6u16, u32::MAX), (2, 4, 1234), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)]
            .iter()
            .fold(vec![2, 0, 0, 0], |mut acl, (tag, perm, id)| {
                acl.extend(tag.to_le_bytes());
                acl.extend(perm.to_le_bytes());
                acl.extend(id.to_le_bytes());
                acl
            });
    let all = set("user.comment", b"text")
        && set("user.binary", b"\0\xff\n")
        && set("system.posix_acl_access", &acl);
    set_time(&path, 1_600_000_000);
    set_time(root, 1_600_000_001);
    all
}

/// Data, a hole of 40 MiB, data, a hole at the end.
fn sparse(path: &Path, data: &[u8]) {
    let file = std::fs::File::create(path).unwrap();
    file.write_all_at(data, 0).unwrap();
    file.write_all_at(data, 40 << 20).unwrap();
    file.set_len(48 << 20).unwrap();
}

/// A chain of `depth` directories with a file at the end.
fn deep(root: &Path, depth: usize) {
    let mut path = root.to_owned();
    for _ in 0..depth {
        path.push("d");
    }
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("bottom"), "far down").unwrap();
}

/// Odd times everywhere, the deepest first, since every change dates the directory above it.
fn date(root: &Path) {
    let mut all: Vec<_> = flat(root).into_keys().collect();
    all.sort_by_key(|path| std::cmp::Reverse(path.components().len()));
    for (n, path) in all.iter().enumerate() {
        set_time(
            &root.join(OsStr::from_bytes(&path.to_bytes())),
            1_500_000_000 + 1_000_003 * n as i64 % 200_000_000,
        );
    }
    set_time(root, 1_400_000_000);
}

fn set_time(path: &Path, seconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: seconds % 1000 * 1_000_003 % 1_000_000_000 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}
