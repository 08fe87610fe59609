//! The walk of one root.

use crate::common::{as_nobody, read, sh};
use recoup_core::Kind;
use recoup_core::entry::{Body, EntryKind};
use recoup_sources::files::exclude::Excludes;
use recoup_sources::files::walk::{Options, Walk};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

fn walk(dir: &Path) -> crate::common::Seen {
    read(Walk::new(Options::default()).folder(dir).unwrap().1.as_ref())
}

#[test]
fn metadata_comes_whole() {
    let dir = tempfile::tempdir().unwrap();
    sh(
        dir.path(),
        "echo hi > f; chmod 4751 f; touch -d '2020-01-02 03:04:05.123456789Z' f; setfattr -n user.k -v v f
         setfacl -m u:12:r f; ln -s nowhere/at\\\\all l; mkdir d; chmod 1777 d; : > empty; ln f twin",
    );
    let seen = walk(dir.path());
    assert_eq!(seen.paths(), ["d", "empty", "f", "l", "twin"]);
    let f = seen.entry("f");
    assert_eq!(f.mode, 0o4751);
    assert_eq!(f.mtime.to_string(), "2020-01-02T03:04:05.123456789Z");
    assert_eq!((f.size, f.links, f.inode), (3, 2, seen.entry("twin").inode));
    // They come in the order of the file system, and file systems differ.
    let names: std::collections::BTreeSet<&str> = f.xattrs.iter().map(|x| x.name.as_str()).collect();
    assert_eq!(names, ["system.posix_acl_access", "user.k"].into());
    assert!(f.xattrs.iter().any(|x| x.name == "user.k" && x.value == b"v"));
    assert_eq!(seen.entry("l").kind, EntryKind::Symlink { target: b"nowhere/at\\all".to_vec() });
    assert_eq!(seen.entry("d").mode, 0o1777);
    assert_eq!(seen.content("f"), b"hi\n");
    if crate::common::is_root() {
        assert_eq!((f.user.as_str(), f.group.as_str()), ("root", "root"));
    }
}

#[test]
fn row_120_any_byte_in_a_name_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let long = "x".repeat(255);
    let names: [&[u8]; 12] = [
        b"\xff\xfe",
        b"new\nline",
        b"-rf",
        b"$(touch x)",
        b"dot.",
        b"<>&\"'",
        "\u{2028}".as_bytes(),
        b"\x1b[31m",
        "\u{202e}fdp".as_bytes(),
        "e\u{301}".as_bytes(),
        "\u{e9}".as_bytes(),
        long.as_bytes(),
    ];
    for name in names {
        fs::write(dir.path().join(OsStr::from_bytes(name)), name).unwrap();
    }
    let seen = walk(dir.path());
    assert_eq!(seen.entries.len(), names.len());
    for name in names {
        assert_eq!(seen.entries[name].1, name);
    }
    assert!(seen.paths().iter().all(|p| p.chars().all(|c| !c.is_control())));
}

#[test]
fn row_118_what_goes_away_is_no_loss() {
    let dir = tempfile::tempdir().unwrap();
    sh(dir.path(), "echo a > a; echo b > b; mkdir d; echo c > d/c");
    let (_, folder) = Walk::new(Options::default()).folder(dir.path()).unwrap();
    let listing = folder.list().unwrap();
    sh(dir.path(), "rm -r a d");
    for item in listing.items {
        let kind = match item.body {
            Body::File(file) => file.open().err().map(|e| e.kind()),
            Body::Folder(below) => below.list().err().map(|e| e.kind()),
            Body::None => None,
        };
        let gone = item.entry.name.as_bytes() != b"b";
        assert_eq!(kind, gone.then_some(Kind::NotFound));
    }
}

#[test]
fn row_119_what_may_not_be_read_is_named() {
    if !as_nobody("walk::row_119_what_may_not_be_read_is_named") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    sh(
        dir.path(),
        "echo a > good; echo b > closed; chmod 0 closed; mkdir d e; chmod 0 d; echo x > e/x; chmod 444 e",
    );
    let seen = walk(dir.path());
    let mut wrong: Vec<_> =
        seen.problems.iter().map(|(p, e)| (String::from_utf8_lossy(p), e.kind())).collect();
    wrong.sort_by(|a, b| a.0.cmp(&b.0));
    let want = [("closed", Kind::Denied), ("d", Kind::Denied), ("e/x", Kind::Denied)];
    assert_eq!(wrong, want.map(|(p, k)| (p.into(), k)));
    assert!(seen.codes().iter().all(|c| *c == Some("E0522")));
    assert_eq!(seen.content("good"), b"a\n");
    sh(dir.path(), "chmod 700 d e");
}

#[test]
fn row_123_a_sparse_terabyte_is_read_in_the_time_of_its_data() {
    let dir = tempfile::tempdir().unwrap();
    sh(dir.path(), "truncate -s 1T big; printf data | dd of=big bs=1 seek=500G conv=notrunc status=none");
    let seen = walk(dir.path());
    let data = seen.content("big");
    assert!(data.len() <= 1 << 20, "{}", data.len());
    assert_eq!(data.iter().filter(|b| **b != 0).count(), 4);
    assert_eq!(seen.holes + data.len() as u64, 1 << 40);
}

#[test]
fn row_125_what_is_no_file_is_never_opened() {
    let dir = tempfile::tempdir().unwrap();
    sh(dir.path(), "mkfifo pipe; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"sock\")'");
    if crate::common::is_root() {
        sh(dir.path(), "mknod zero c 1 5; mknod disk b 7 200");
    }
    let walk_ = Walk::new(Options::default());
    let seen = read(walk_.folder(dir.path()).unwrap().1.as_ref());
    assert_eq!(seen.problems.len(), 0);
    assert_eq!(seen.entry("pipe").kind, EntryKind::Fifo);
    assert_eq!(seen.entry("sock").kind, EntryKind::Socket);
    assert_eq!(walk_.notes().sockets, 1);
    if crate::common::is_root() {
        assert_eq!(seen.entry("zero").kind, EntryKind::CharDevice { device: rustix::fs::makedev(1, 5) });
        assert_eq!(seen.entry("disk").kind, EntryKind::BlockDevice { device: rustix::fs::makedev(7, 200) });
    }
}

#[test]
fn row_125_the_kernels_own_directories_are_left_empty() {
    let walk_ = Walk::new(Options::default());
    let seen = read(walk_.folder(Path::new("/proc")).unwrap().1.as_ref());
    assert_eq!(seen.entries.len(), 0);
    assert_eq!(walk_.notes().kernel_dirs, ["/proc"]);
}

#[test]
fn a_file_exchanged_for_a_link_or_pipe_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    sh(
        dir.path(),
        "echo a > link; echo a > pipe; echo secret > ../recoup-test-secret-$$; rm ../recoup-test-secret-$$",
    );
    let listing = Walk::new(Options::default()).folder(dir.path()).unwrap().1.list().unwrap();
    sh(dir.path(), "rm link pipe; ln -s /etc/passwd link; mkfifo pipe");
    for item in listing.items {
        let Body::File(file) = item.body else { panic!("a file was listed") };
        assert!(file.open().is_err(), "{}", item.entry.name);
    }
}

#[test]
fn row_124_a_path_longer_than_the_kernel_takes_is_walked() {
    let dir = tempfile::tempdir().unwrap();
    let script = "import os\nfor i in range(500):\n    os.mkdir('d' * 255)\n    os.chdir('d' * 255)\nopen('end', 'w').write('x')";
    sh(dir.path(), &format!("python3 -c \"{script}\""));
    let seen = walk(dir.path());
    assert_eq!((seen.entries.len(), seen.problems.len()), (501, 0));
    assert_eq!(seen.entries.last_key_value().unwrap().1.1, b"x");
}

#[test]
fn sources_leave_out_what_git_would_ignore() {
    let dir = tempfile::tempdir().unwrap();
    sh(dir.path(), "mkdir -p cache/x keep; touch cache/x/y keep/a.tmp keep/b");
    let mut exclude = Excludes::default();
    exclude.git_lines(&["cache/**", "*.tmp"]).unwrap();
    let walk_ = Walk::new(Options { exclude, ..Options::default() });
    let seen = read(walk_.folder(dir.path()).unwrap().1.as_ref());
    assert_eq!(seen.paths(), ["cache", "keep", "keep/b"]);
    assert_eq!(walk_.notes().excluded, 2);
}
