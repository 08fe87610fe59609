//! The side of the restore target that looks at what stands there: owners, the journal, clearing away.

use crate::common::{as_nobody, is_root, sh};
use recoup_core::Kind;
use recoup_core::entry::{Entry, EntryKind, Standing, Target};
use recoup_core::name::{NodeName, TreePath};
use recoup_sources::files::beneath::{Beneath, BeneathOptions, Guarded, Overwrite, Ownership, may_clear};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

fn path(text: &str) -> TreePath {
    TreePath::parse(text.as_bytes()).unwrap()
}

fn file(bytes: &[u8]) -> Entry {
    let name = NodeName::new(*b"n").unwrap();
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let time = "2021-03-04T05:06:07.000000008Z".parse().unwrap();
    let plain = Entry::plain(name, EntryKind::File, 0o640, time);
    Entry { uid, gid, size: bytes.len() as u64, ..plain }
}

fn put(target: &Beneath, at: &str, bytes: &[u8], entry: &Entry) {
    let file = target.begin_file(&path(at), entry, entry.size).unwrap();
    file.write_at(0, bytes).unwrap();
    file.finish(entry).unwrap();
}

fn look(target: &Beneath, at: &str, entry: &Entry) -> &'static str {
    match target.in_place().unwrap().look(&path(at), entry).unwrap() {
        Standing::Nothing => "nothing",
        Standing::Replaced => "replaced",
        Standing::File(_) => "file",
        Standing::Same(_) => "same",
        Standing::Finished => "finished",
        Standing::Left => "left",
    }
}

fn journalled(to: &Path, key: u8) -> Beneath {
    let options = BeneathOptions { journal: Some([key; 32]), ..BeneathOptions::default() };
    Beneath::open(to, options).unwrap()
}

#[test]
fn a_restore_that_was_stopped_knows_what_it_had_finished() {
    let to = tempfile::tempdir().unwrap();
    let entry = file(b"content");
    let first = journalled(to.path(), 1);
    for at in ["kept", "written-to", "exchanged", "moved\nodd"] {
        put(&first, at, b"content", &entry);
    }
    first.pause().unwrap();
    drop(first);
    assert_eq!(sh(to.path(), "stat -c %a .recoup-restore.journal"), "600\n");
    // The same bytes and the same time, but somebody touched it.
    sh(to.path(), "printf CONTENT > written-to; touch -d 2021-03-04T05:06:07.000000008Z written-to");
    sh(to.path(), "cp -p exchanged x; mv x exchanged");
    let again = journalled(to.path(), 1);
    assert_eq!(look(&again, "kept", &entry), "finished");
    assert_eq!(look(&again, "moved\nodd", &entry), "finished");
    assert_ne!(look(&again, "written-to", &entry), "finished");
    assert_ne!(look(&again, "exchanged", &entry), "finished");
    assert_eq!(
        look(&journalled(to.path(), 2), "kept", &entry),
        "same",
        "another restore believes nothing of it"
    );
    // It goes on, and what is noted now is noted behind what was.
    put(&again, "later", b"content", &entry);
    again.pause().unwrap();
    let third = journalled(to.path(), 1);
    assert_eq!((look(&third, "kept", &entry), look(&third, "later", &entry)), ("finished", "finished"));
    let stays = sh(to.path(), "md5sum .recoup-restore.journal");
    let _looked_at_only = journalled(to.path(), 1);
    assert_eq!(sh(to.path(), "md5sum .recoup-restore.journal"), stays);
    third.complete().unwrap();
    assert_eq!(sh(to.path(), "ls -A | grep -c recoup || true"), "0\n");
}

#[test]
fn the_journal_of_another_restore_goes_when_this_one_is_complete() {
    let to = tempfile::tempdir().unwrap();
    let entry = file(b"content");
    let first = journalled(to.path(), 1);
    put(&first, "f", b"content", &entry);
    first.pause().unwrap();
    let second = journalled(to.path(), 2);
    put(&second, "f", b"content", &entry);
    second.complete().unwrap();
    assert_eq!(sh(to.path(), "ls -A"), "f\n");
}

#[test]
fn a_journal_that_somebody_else_may_have_written_is_not_believed() {
    let entry = file(b"content");
    for (harm, why) in [
        ("chmod 664 .recoup-restore.journal", "others may write to it"),
        ("cp .recoup-restore.journal j; ln -sf j .recoup-restore.journal", "it is a link"),
        ("ln .recoup-restore.journal other-name", "it has another name"),
        ("sed -i '2s/^./9/' .recoup-restore.journal", "its line is not what was written"),
        ("truncate -s -5 .recoup-restore.journal", "its only line is torn"),
        ("rm .recoup-restore.journal; mkdir .recoup-restore.journal", "it is a directory"),
    ] {
        let to = tempfile::tempdir().unwrap();
        let first = journalled(to.path(), 1);
        put(&first, "f", b"content", &entry);
        first.pause().unwrap();
        sh(to.path(), harm);
        let again = journalled(to.path(), 1);
        assert_eq!(look(&again, "f", &entry), "same", "{why}");
        put(&again, "g", b"content", &entry);
        again.pause().unwrap();
        let notes = again.finish_all().unwrap();
        let kept = sh(to.path(), "test -f .recoup-restore.journal && echo kept || echo none");
        assert_eq!(kept.trim() == "kept", notes.no_journal.is_none(), "{why}: {notes:?}");
    }
}

#[test]
fn a_file_of_the_name_of_the_journal_is_restored_and_stays() {
    let to = tempfile::tempdir().unwrap();
    let entry = file(b"mine");
    let target = journalled(to.path(), 1);
    put(&target, "a", b"mine", &entry);
    target.pause().unwrap();
    put(&target, ".recoup-restore.journal", b"mine", &entry);
    put(&target, "b", b"mine", &entry);
    target.pause().unwrap();
    assert!(target.finish_all().unwrap().no_journal.is_some());
    target.complete().unwrap();
    assert_eq!(sh(to.path(), "cat .recoup-restore.journal; ls -A | wc -l"), "mine3\n");
}

#[test]
fn a_file_with_other_names_is_never_changed_in_place() {
    let (to, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sh(outside.path(), "printf content > f; chmod 600 f; touch -d 2021-03-04T05:06:07.000000008Z f");
    std::fs::hard_link(outside.path().join("f"), to.path().join("f")).unwrap();
    let target = Beneath::open(to.path(), BeneathOptions::default()).unwrap();
    let entry = file(b"content");
    let Standing::File(old) = target.in_place().unwrap().look(&path("f"), &entry).unwrap() else {
        panic!("it has another name, so its time is no proof")
    };
    assert!(!old.keep(&entry).unwrap());
    put(&target, "f", b"content", &entry);
    assert_eq!(sh(outside.path(), "stat -c '%a %h' f"), "600 1\n");
    assert_eq!(sh(to.path(), "stat -c '%a %h' f"), "640 1\n");
}

#[test]
fn metadata_is_put_right_where_content_stays() {
    let to = tempfile::tempdir().unwrap();
    sh(to.path(), "printf content > f; chmod 600 f");
    let options = BeneathOptions { overwrite: Overwrite::Always, ..BeneathOptions::default() };
    let target = Beneath::open(to.path(), options).unwrap();
    let before = std::fs::metadata(to.path().join("f")).unwrap().ino();
    let entry = file(b"content");
    let Standing::File(old) = target.in_place().unwrap().look(&path("f"), &entry).unwrap() else { panic!() };
    assert!(old.keep(&entry).unwrap());
    let after = std::fs::metadata(to.path().join("f")).unwrap();
    assert_eq!((after.ino(), after.mode() & 0o777, after.mtime_nsec()), (before, 0o640, 8));
}

#[test]
fn nothing_is_cleared_away_through_a_link_or_in_another_file_system() {
    let (to, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sh(outside.path(), "mkdir dir; echo precious > dir/file");
    let out = outside.path().display();
    sh(to.path(), &format!("ln -s {out}/dir link; mkdir d; echo x > d/x"));
    let target = Beneath::open(to.path(), BeneathOptions::default()).unwrap();
    let place = target.in_place().unwrap();
    let names = |at: &str| place.names(&path(at)).unwrap().map(|found| found.len());
    assert_eq!(place.names(&TreePath::root()).unwrap().unwrap().len(), 2);
    assert_eq!((names("link"), names("d"), names("no")), (None, Some(1), None));
    assert!(place.remove(&path("link/file"), false).is_err());
    assert!(place.remove(&path("d"), true).is_err(), "it is not empty");
    assert!(place.remove(&path("d"), false).is_err(), "it is a directory");
    place.remove(&path("link"), false).unwrap();
    place.remove(&path("d/x"), false).unwrap();
    place.remove(&path("d"), true).unwrap();
    place.remove(&path("d"), true).unwrap();
    assert_eq!(sh(outside.path(), "cat dir/file"), "precious\n");
    if is_root() {
        sh(to.path(), &format!("mkdir m inner; mount --bind {out} m"));
        let target = Beneath::open(to.path(), BeneathOptions::default()).unwrap();
        let inside = ["m", "m/dir"].map(|at| target.in_place().unwrap().names(&path(at)).unwrap());
        let refused = may_clear(&to.path().join("m"), &[]).map_err(|e| e.stable_code());
        drop(target);
        sh(to.path(), "umount m");
        assert_eq!(inside, [None, None], "a mount of the same file system is another place too");
        assert_eq!(refused, Err(Some("E0534")));
    }
}

#[test]
fn no_home_and_no_root_is_cleared_away() {
    let to = tempfile::tempdir().unwrap();
    sh(to.path(), "mkdir -p target/repo other");
    let target = to.path().join("target");
    let guarded = |path: PathBuf| [Guarded { what: "the repository", path }];
    for (root, guarded) in [
        (PathBuf::from("/"), Vec::new()),
        (PathBuf::from("/proc"), Vec::new()),
        (PathBuf::from("/root"), Vec::new()),
        (target.clone(), guarded(target.clone()).to_vec()),
        (target.clone(), guarded(target.join("repo")).to_vec()),
        (target.join("../target"), guarded(target.join("repo/not-there")).to_vec()),
    ] {
        if root == Path::new("/root") && !root.is_dir() {
            continue;
        }
        let refused = may_clear(&root, &guarded).unwrap_err();
        assert_eq!((refused.kind(), refused.stable_code()), (Kind::Refused, Some("E0534")), "{root:?}");
    }
    may_clear(&target, &guarded(to.path().join("other"))).unwrap();
    may_clear(&to.path().join("not-there"), &[]).unwrap();
}

#[test]
fn owners_come_by_number_by_name_or_as_they_are_told() {
    if !is_root() {
        return;
    }
    let entry = |user: &str, group: &str| {
        let named = Entry { user: user.into(), group: group.into(), ..file(b"") };
        Entry { uid: 4001, gid: 4002, ..named }
    };
    let nobody = sh(Path::new("/"), "id -u nobody; id -g daemon");
    let (uid, gid) = nobody.trim().split_once('\n').unwrap();
    for (owners, want) in [
        (Ownership::ByNumber, "4001:4002 4001:4002 4001:4002".to_owned()),
        (Ownership::ByName, format!("{uid}:{gid} 4001:4002 {uid}:4002")),
        (Ownership::Current, "0:0 0:0 0:0".to_owned()),
        (Ownership::Fixed { uid: 7, gid: 8 }, "7:8 7:8 7:8".to_owned()),
    ] {
        let to = tempfile::tempdir().unwrap();
        let target =
            Beneath::open(to.path(), BeneathOptions { owners, ..BeneathOptions::default() }).unwrap();
        put(&target, "a", b"", &entry("nobody", "daemon"));
        put(&target, "b", b"", &entry("no-such-user-4a1", ""));
        put(&target, "c", b"", &entry("nobody", "no-such-group-4a1"));
        assert_eq!(sh(to.path(), "stat -c %u:%g a b c").trim().replace('\n', " "), want, "{owners:?}");
    }
}

#[test]
fn only_root_gives_files_away() {
    if !as_nobody("in_place::only_root_gives_files_away") {
        return;
    }
    let to = tempfile::tempdir().unwrap();
    let options = BeneathOptions { owners: Ownership::Fixed { uid: 1, gid: 1 }, ..BeneathOptions::default() };
    let refused = Beneath::open(to.path(), options).err().unwrap();
    assert_eq!((refused.kind(), refused.stable_code()), (Kind::Denied, Some("E0537")));
}
