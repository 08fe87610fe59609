//! The restore target: what goes in comes out equal, and nothing outside is ever touched.

use crate::common::{as_nobody, is_root, read, sh};
use jiff::Timestamp;
use recoup_core::Kind;
use recoup_core::entry::{Entry, EntryKind, Standing, Target, Xattr};
use recoup_core::name::{NodeName, TreePath};
use recoup_sources::conformance::pour;
use recoup_sources::files::beneath::{Beneath, BeneathOptions, Durability, Overwrite};
use recoup_sources::files::walk::{Options, Walk};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

fn path(text: &str) -> TreePath {
    TreePath::parse(text.as_bytes()).unwrap()
}

fn entry(kind: EntryKind, mode: u32) -> Entry {
    let time: Timestamp = "2021-03-04T05:06:07.000000008Z".parse().unwrap();
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    Entry { uid, gid, ..Entry::plain(NodeName::new(*b"n").unwrap(), kind, mode, time) }
}

fn put(target: &Beneath, at: &str, content: &[u8]) -> recoup_core::Result<()> {
    let entry = Entry { size: content.len() as u64, ..entry(EntryKind::File, 0o640) };
    let file = target.begin_file(&path(at), &entry, entry.size)?;
    file.write_at(0, content)?;
    file.finish(&entry)
}

fn copy(from: &Path, to: &Path, options: BeneathOptions) -> recoup_sources::TreeCounts {
    let (_, folder) = Walk::new(Options::default()).folder(from).unwrap();
    let target = Beneath::open(to, options).unwrap();
    let counts = pour(folder.as_ref(), &target).unwrap();
    target.finish_all().unwrap();
    counts
}

fn no_leftovers(dir: &Path) {
    assert_eq!(sh(dir, "find . -name '.recoup-*'"), "");
}

#[test]
fn everything_comes_back_equal() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sh(
        from.path(),
        "mkdir -p a/b ro; echo hi > a/f; chmod 604 a/f; ln a/f a/b/twin; ln -s ../x a/l; mkfifo a/p; : > empty
         setfattr -n user.k -v v a/f; setfacl -m u:12:r a/f; setfacl -d -m u:12:rx a/b; chmod 1777 a/b; echo r > ro/r
         chmod 400 ro/r; setfattr -n user.d -v e ro; chmod 555 ro; truncate -s 3M sparse
         printf x | dd of=sparse bs=1 seek=1000000 conv=notrunc status=none
         printf 'n' > \"$(printf 'b\\377\\nad')\"; touch -h -d '1969-12-31 23:59:58.25Z' a/l empty a",
    );
    if is_root() {
        sh(from.path(), "chown 1234:5678 a/f; chown -h 1:2 a/l");
    }
    copy(from.path(), to.path(), BeneathOptions::default());
    let show = "find . -printf '%P %y %m %U:%G %s %T@ %n %l\\n' | grep -v '^ ' | sort | sed 's/ d \\([0-9]* [0-9:]*\\) [0-9]*/ d \\1/'
                getfattr -Rdhm - . | sort";
    assert_eq!(sh(from.path(), show), sh(to.path(), show));
    assert_eq!(sh(from.path(), "cat sparse | sha256sum"), sh(to.path(), "cat sparse | sha256sum"));
    let blocks = fs::metadata(to.path().join("sparse")).unwrap().blocks();
    assert!(blocks * 512 < 200_000, "{blocks}");
    assert_eq!(
        fs::metadata(to.path().join("a/f")).unwrap().ino(),
        fs::metadata(to.path().join("a/b/twin")).unwrap().ino()
    );
    no_leftovers(to.path());
    sh(from.path(), "chmod 755 ro");
    sh(to.path(), "chmod 755 ro");
}

#[test]
fn row_123_a_sparse_terabyte_comes_back_sparse() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sh(from.path(), "truncate -s 1T big; printf data | dd of=big bs=1 seek=500G conv=notrunc status=none");
    copy(from.path(), to.path(), BeneathOptions::default());
    let meta = fs::metadata(to.path().join("big")).unwrap();
    assert_eq!(meta.len(), 1 << 40);
    assert!(meta.blocks() * 512 < 1 << 20);
    assert_eq!(sh(to.path(), "dd if=big bs=1 skip=500G count=4 status=none"), "data");
}

#[test]
fn row_124_a_path_longer_than_the_kernel_takes_is_restored() {
    let to = tempfile::tempdir().unwrap();
    let target = Beneath::open(to.path(), BeneathOptions::default()).unwrap();
    let name = NodeName::new("d".repeat(255)).unwrap();
    let dir = entry(EntryKind::Dir, 0o755);
    let mut at = TreePath::root();
    for _ in 0..500 {
        at = at.join(&name);
        target.begin_dir(&at, &dir).unwrap();
    }
    let file = target.begin_file(&at.join(&name), &entry(EntryKind::File, 0o600), 1).unwrap();
    file.write_at(0, b"x").unwrap();
    file.finish(&entry(EntryKind::File, 0o600)).unwrap();
    while at.last().is_some() {
        target.finish_dir(&at, &dir).unwrap();
        at = at.parent().unwrap();
    }
    target.finish_all().unwrap();
    let seen = read(Walk::new(Options::default()).folder(to.path()).unwrap().1.as_ref());
    assert_eq!((seen.entries.len(), seen.problems.len()), (501, 0));
}

#[test]
fn row_125_row_152_what_is_dangerous_is_left_out_and_named() {
    let to = tempfile::tempdir().unwrap();
    let target = Beneath::open(to.path(), BeneathOptions::default()).unwrap();
    let mut suid = entry(EntryKind::File, 0o6755);
    suid.xattrs.push(Xattr { name: "security.capability".into(), value: vec![1; 20] });
    suid.xattrs.push(Xattr { name: "trusted.x".into(), value: b"y".to_vec() });
    suid.xattrs.push(Xattr { name: "user.fine".into(), value: b"y".to_vec() });
    target.begin_file(&path("suid"), &suid, 0).unwrap().finish(&suid).unwrap();
    for kind in [EntryKind::BlockDevice { device: 0x700 }, EntryKind::CharDevice { device: 0x103 }] {
        let error = target.special(&path("dev"), &entry(kind, 0o666)).unwrap_err();
        assert_eq!((error.kind(), error.stable_code()), (Kind::Refused, Some("E0536")));
    }
    target.special(&path("pipe"), &entry(EntryKind::Fifo, 0o622)).unwrap();
    let notes = target.finish_all().unwrap();
    let what: Vec<&str> = notes.withheld.iter().map(|w| w.1.as_str()).collect();
    assert_eq!(what, ["security.capability", "trusted.x", "set-uid or set-gid"]);
    assert_eq!(
        sh(to.path(), "ls; stat -c %a suid pipe; getfattr --absolute-names -d -m - suid | grep -c ="),
        "pipe\nsuid\n755\n622\n1\n"
    );
}

#[test]
fn row_152_what_is_dangerous_comes_back_when_root_asks() {
    if !is_root() {
        return;
    }
    let to = tempfile::tempdir().unwrap();
    let options = BeneathOptions { allow_special: true, ..BeneathOptions::default() };
    let target = Beneath::open(to.path(), options).unwrap();
    let suid = Entry { uid: 7, ..entry(EntryKind::File, 0o4755) };
    target.begin_file(&path("suid"), &suid, 0).unwrap().finish(&suid).unwrap();
    let device = rustix::fs::makedev(1, 3);
    target.special(&path("null"), &entry(EntryKind::CharDevice { device }, 0o666)).unwrap();
    assert_eq!(target.finish_all().unwrap().withheld_count, 0);
    assert_eq!(
        sh(to.path(), "stat -c '%a %u' suid; stat -c '%a %t:%T %F' null"),
        "4755 7\n666 1:3 character special file\n"
    );
}

#[test]
fn row_130_a_target_that_is_not_empty_is_refused_where_it_must_be() {
    let to = tempfile::tempdir().unwrap();
    sh(to.path(), "mkdir lost+found");
    let options = BeneathOptions { require_empty: true, ..BeneathOptions::default() };
    assert!(Beneath::open(to.path(), options).is_ok());
    sh(to.path(), "echo mine > mine");
    let error = Beneath::open(to.path(), options).err().unwrap();
    assert_eq!((error.kind(), error.stable_code()), (Kind::Refused, Some("E0530")));
}

#[test]
fn the_overwrite_policy_is_kept() {
    for (overwrite, want) in [
        (Overwrite::Never, "old\nsame\n"),
        (Overwrite::IfNewer, "old\nsame\n"),
        (Overwrite::IfChanged, "new\nsame\n"),
        (Overwrite::Always, "new\ntime\n"),
    ] {
        let to = tempfile::tempdir().unwrap();
        sh(
            to.path(),
            "echo old > a; echo same > b; touch -d '2021-03-04T05:06:07.000000008Z' b; mkdir d; chmod 700 d",
        );
        let options = BeneathOptions { overwrite, ..BeneathOptions::default() };
        let target = Beneath::open(to.path(), options).unwrap();
        put(&target, "a", b"new\n").unwrap();
        let same = Entry { size: 5, ..entry(EntryKind::File, 0o640) };
        let found = target.in_place().unwrap().look(&path("b"), &same).unwrap();
        match (overwrite, found) {
            (Overwrite::Never | Overwrite::IfNewer, Standing::Left) => {}
            (Overwrite::IfChanged, Standing::Same(old)) => assert!(old.keep(&same).unwrap()),
            (Overwrite::Always, Standing::File(old)) => {
                let mut there = [0; 8];
                assert_eq!((old.bytes(), old.read_at(0, &mut there).unwrap()), (5, 5));
                assert_eq!(&there[..5], b"same\n");
                put(&target, "b", b"time\n").unwrap();
            }
            _ => panic!("{overwrite:?} takes b for something else"),
        }
        target.begin_dir(&path("d"), &entry(EntryKind::Dir, 0o755)).unwrap();
        target.finish_dir(&path("d"), &entry(EntryKind::Dir, 0o755)).unwrap();
        assert_eq!(sh(to.path(), "cat a b"), want, "{overwrite:?}");
        let mode = if overwrite == Overwrite::Never { "700" } else { "755" };
        assert_eq!(sh(to.path(), "stat -c %a d").trim(), mode);
        let error = put(&target, "d", b"x").unwrap_err();
        assert_eq!(error.stable_code(), Some("E0533"));
        no_leftovers(to.path());
    }
}

#[test]
fn a_damaged_file_never_has_the_real_name() {
    let to = tempfile::tempdir().unwrap();
    let target = Beneath::open(to.path(), BeneathOptions::default()).unwrap();
    for keep in [true, true, false] {
        let file = target.begin_file(&path("f"), &entry(EntryKind::File, 0o600), 3).unwrap();
        file.write_at(0, b"abc").unwrap();
        file.abandon(keep).unwrap();
    }
    let long = "x".repeat(255);
    target.begin_file(&path(&long), &entry(EntryKind::File, 0o600), 0).unwrap().abandon(true).unwrap();
    drop(target.begin_file(&path("g"), &entry(EntryKind::File, 0o600), 0).unwrap());
    let names = sh(to.path(), "ls -A | cut -c -60");
    assert_eq!(names, format!("f.recoup-damaged\nf.recoup-damaged.1\n{}\n", "x".repeat(60)));
}

#[test]
fn row_131_trap_37_a_planted_link_is_never_followed() {
    for overwrite in [Overwrite::Never, Overwrite::IfNewer, Overwrite::IfChanged, Overwrite::Always] {
        let (to, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        sh(outside.path(), "echo precious > file; mkdir dir");
        let out = outside.path().display();
        sh(
            to.path(),
            &format!(
                "ln -s {out}/file file; ln -s {out}/dir dir; ln -s {out}/dir/new dangling; mkdir sub; ln -s {out} sub/up"
            ),
        );
        let before = sh(outside.path(), "find . -printf '%P %T@ %C@ %m\\n'; cat file");
        let options = BeneathOptions { overwrite, ..BeneathOptions::default() };
        let target = Beneath::open(to.path(), options).unwrap();
        let dir = entry(EntryKind::Dir, 0o777);
        for at in ["file", "dangling"] {
            put(&target, at, b"evil").unwrap();
        }
        for at in ["dir/file", "sub/up/file", "sub/up/dir/x"] {
            let error = put(&target, at, b"evil").unwrap_err();
            assert_eq!((error.kind(), error.stable_code()), (Kind::Refused, Some("E0531")), "{at}");
        }
        let taken = target.begin_dir(&path("dir"), &dir);
        assert_eq!(taken.is_ok(), overwrite == Overwrite::Always);
        if taken.is_ok() {
            put(&target, "dir/file", b"inside").unwrap();
            target.finish_dir(&path("dir"), &dir).unwrap();
        } else {
            assert!(target.finish_dir(&path("dir"), &dir).is_err());
        }
        assert!(target.hard_link(&path("h"), &path("sub/up/file")).is_err());
        target.finish_all().unwrap();
        assert_eq!(sh(outside.path(), "find . -printf '%P %T@ %C@ %m\\n'; cat file"), before);
        no_leftovers(to.path());
    }
}

/// Somebody exchanges a directory of the target with a link to the outside all the time, while
/// files are restored into it.
#[test]
fn row_131_a_swap_during_restore_leads_nowhere() {
    let (to, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sh(outside.path(), "mkdir victim");
    std::os::unix::fs::symlink(outside.path().join("victim"), to.path().join("decoy")).unwrap();
    let stop = AtomicBool::new(false);
    let (mut done, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (a, b) = (to.path().join("d"), to.path().join("decoy"));
            while !stop.load(Ordering::Relaxed) {
                let cwd = rustix::fs::CWD;
                let _raced = rustix::fs::renameat_with(cwd, &a, cwd, &b, rustix::fs::RenameFlags::EXCHANGE);
            }
        });
        let until = std::time::Instant::now() + std::time::Duration::from_secs(2);
        let mut turn = 0;
        while std::time::Instant::now() < until {
            // A new target each time, so that the directory is looked up again.
            let options = BeneathOptions { overwrite: Overwrite::Always, ..BeneathOptions::default() };
            let target = Beneath::open(to.path(), options).unwrap();
            turn += 1;
            let _raced = target.begin_dir(&path("d"), &entry(EntryKind::Dir, 0o755));
            match put(&target, &format!("d/f{}", turn % 50), b"data") {
                Ok(()) => done += 1,
                Err(_) => refused += 1,
            }
            let _raced = target.finish_dir(&path("d"), &entry(EntryKind::Dir, 0o755));
            let _there = std::os::unix::fs::symlink(outside.path().join("victim"), to.path().join("decoy"));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(sh(outside.path(), "find . -mindepth 1"), "./victim\n", "{done} done, {refused} refused");
    assert!(done > 0);
}

#[test]
fn without_root_owners_are_counted_and_the_rest_comes_back() {
    if !as_nobody("beneath::without_root_owners_are_counted_and_the_rest_comes_back") {
        return;
    }
    let to = tempfile::tempdir().unwrap();
    let options = BeneathOptions { durability: Durability::EachFile, ..BeneathOptions::default() };
    let target = Beneath::open(to.path(), options).unwrap();
    let foreign = Entry { uid: 1, gid: 1, ..entry(EntryKind::File, 0o400) };
    target.begin_dir(&path("d"), &entry(EntryKind::Dir, 0o500)).unwrap();
    target.begin_file(&path("d/f"), &foreign, 0).unwrap().finish(&foreign).unwrap();
    target.finish_dir(&path("d"), &entry(EntryKind::Dir, 0o500)).unwrap();
    let notes = target.finish_all().unwrap();
    assert_eq!(notes.owners_not_restored, 1);
    assert_eq!(sh(to.path(), "stat -c %a d d/f"), "500\n400\n");
    sh(to.path(), "chmod 700 d");
}
