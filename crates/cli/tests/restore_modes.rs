//! `recoup repo restore` where something stands already: modes, pieces, deletion, dry runs, owners, patterns
//! next to Debian's restic 0.14, and going on after a kill.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests touch the world")]

mod common;

use common::{Ran, World, seed};
use recoup_testkit::on_disk;
use recoup_testkit::restored::differences;
use recoup_testkit::tree::noise;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio;

/// A world with a snapshot of `live`, restored to `out` once.
fn world() -> World {
    let world = World::with_repository();
    let live = world.path("live");
    fs::create_dir_all(live.join("dir/deep")).unwrap();
    fs::write(live.join("large"), noise(1, 16 << 20)).unwrap();
    fs::write(live.join("small"), "small").unwrap();
    fs::write(live.join("empty"), "").unwrap();
    fs::write(live.join("dir/one"), "one").unwrap();
    fs::write(live.join("dir/deep/two.log"), "two").unwrap();
    fs::hard_link(live.join("dir/one"), live.join("dir/twin")).unwrap();
    symlink("one", live.join("dir/link")).unwrap();
    world.repo(["backup", "live"]).expect_code(0);
    restore(&world, &[]).expect_code(0);
    world
}

fn restore(world: &World, more: &[&str]) -> Ran {
    world.repo([&["restore", "latest:live", "--target", "out", "--json"], more].concat())
}

fn number(report: &Value, field: &str) -> u64 {
    report[field].as_u64().unwrap_or_else(|| panic!("{field} in {report}"))
}

#[track_caller]
fn assert_restored(world: &World) {
    assert_eq!(differences(&on_disk::flat(&world.path("live")), &on_disk::flat(&world.path("out"))), "");
}

fn write_at(path: &Path, at: u64, bytes: &[u8]) {
    fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
}

#[test]
fn only_the_pieces_that_differ_come_from_the_repository() {
    let world = world();
    let out = world.path("out");
    let inode = |name: &str| fs::metadata(out.join(name)).unwrap().ino();
    let before = (inode("large"), inode("small"));
    let held = fs::File::open(out.join("large")).unwrap();
    write_at(&out.join("large"), 3 << 20, b"a few other bytes");
    let report = restore(&world, &[]).expect_code(0).json();
    let (fetched, kept) = (number(&report, "bytes_fetched"), number(&report, "bytes_kept"));
    assert_eq!(fetched + kept, number(&report, "bytes"), "{report}");
    // A piece has at most 8 MiB.
    assert!(fetched > 0 && kept >= 8 << 20, "most of it was there: {report}");
    assert_eq!(
        (number(&report, "replaced"), number(&report, "created")),
        (2, 0),
        "the file and the link: {report}"
    );
    assert_restored(&world);
    assert_ne!(inode("large"), before.0, "it was written aside");
    assert_eq!(inode("small"), before.1, "what is the same is not written");
    let mut there = [0; 17];
    held.read_exact_at(&mut there, 3 << 20).unwrap();
    assert_eq!(&there, b"a few other bytes", "who has the old file open still has all of it");
    // Shorter, longer, and with the time of the snapshot, which only `always` looks behind.
    fs::OpenOptions::new().write(true).open(out.join("large")).unwrap().set_len(12 << 20).unwrap();
    fs::write(out.join("small"), "small and more").unwrap();
    let report = restore(&world, &[]).expect_code(0).json();
    assert!(number(&report, "bytes_kept") >= 4 << 20, "{report}");
    assert_restored(&world);
    let time = fs::metadata(world.path("live/large")).unwrap().modified().unwrap();
    write_at(&out.join("large"), 10, b"sly");
    fs::File::options().write(true).open(out.join("large")).unwrap().set_modified(time).unwrap();
    assert_eq!(number(&restore(&world, &[]).expect_code(0).json(), "bytes_fetched"), 0);
    assert_ne!(fs::read(out.join("large")).unwrap(), fs::read(world.path("live/large")).unwrap());
    let report = restore(&world, &["--overwrite", "always"]).expect_code(0).json();
    assert!(number(&report, "bytes_fetched") > 0, "{report}");
    assert_restored(&world);
}

#[test]
fn each_overwrite_mode_does_what_restic_says_it_does() {
    for (mode, newer, older, same_time) in [
        ("always", "stored", "stored", "stored"),
        ("if-changed", "stored", "stored", "stored"),
        ("if-newer", "mine", "stored", "mine"),
        ("never", "mine", "mine", "mine"),
    ] {
        let world = World::with_repository();
        fs::create_dir_all(world.path("live")).unwrap();
        for name in ["newer", "older", "same-time", "new"] {
            fs::write(world.path("live").join(name), "stored").unwrap();
        }
        world.repo(["backup", "live"]).expect_code(0);
        restore(&world, &["--include", "newer", "--include", "older", "--include", "same-time"])
            .expect_code(0);
        let stored = fs::metadata(world.path("live/older")).unwrap().modified().unwrap();
        let hour = std::time::Duration::from_secs(3600);
        let same = fs::metadata(world.path("live/same-time")).unwrap().modified().unwrap();
        for (name, time) in [("newer", stored + hour), ("older", stored - hour), ("same-time", same)] {
            let path = world.path("out").join(name);
            fs::write(&path, "mine").unwrap();
            fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        }
        let planned = restore(&world, &["--overwrite", mode, "--dry-run"]).expect_code(0).json();
        let report = restore(&world, &["--overwrite", mode]).expect_code(0).json();
        let read = |name: &str| fs::read_to_string(world.path("out").join(name)).unwrap();
        assert_eq!(
            (read("newer"), read("older"), read("same-time")),
            (newer.into(), older.into(), same_time.into()),
            "{mode}"
        );
        assert_eq!(read("new"), "stored", "{mode}");
        let left = [newer, older, same_time].iter().filter(|content| **content == "mine").count() as u64;
        assert_eq!((number(&report, "left"), number(&report, "created")), (left, 1), "{mode}: {report}");
        for field in
            ["files", "bytes", "bytes_fetched", "bytes_kept", "created", "replaced", "unchanged", "left"]
        {
            assert_eq!(planned[field], report[field], "{mode}: the dry run said the same {field}");
        }
    }
}

#[test]
fn a_further_name_of_a_file_that_is_left_has_the_content_of_the_snapshot() {
    let world = world();
    let out = world.path("out");
    fs::remove_file(out.join("dir/twin")).unwrap();
    fs::write(out.join("dir/one"), "mine").unwrap();
    let report = restore(&world, &["--overwrite", "never", "--verify"]).expect_code(0).json();
    assert_eq!(fs::read_to_string(out.join("dir/one")).unwrap(), "mine");
    assert_eq!(fs::read_to_string(out.join("dir/twin")).unwrap(), "one");
    assert_eq!((number(&report, "created"), number(&report, "verified")), (1, 1), "{report}");
}

#[test]
fn trap_19_a_second_restore_over_the_first_changes_nothing() {
    let world = world();
    let stamps = || -> Vec<(u64, i64, i64)> {
        let names = ["large", "small", "empty", "dir/one", "dir/twin", "dir/deep/two.log"];
        let stat = |name: &str| fs::symlink_metadata(world.path("out").join(name)).unwrap();
        names.iter().map(|name| (stat(name).ino(), stat(name).ctime(), stat(name).ctime_nsec())).collect()
    };
    let before = stamps();
    for mode in ["always", "if-changed"] {
        let report = restore(&world, &["--overwrite", mode, "--verify"]).expect_code(0).json();
        assert_eq!((number(&report, "unchanged"), number(&report, "bytes_fetched")), (6, 0), "{report}");
        assert_eq!(number(&report, "verified"), 6);
        assert_eq!(stamps(), before, "{mode}: not even touched");
    }
    assert_restored(&world);
}

#[test]
fn a_dry_run_says_what_would_be_and_writes_nothing() {
    let world = world();
    let out = world.path("out");
    fs::write(out.join("small"), "other").unwrap();
    fs::remove_file(out.join("dir/deep/two.log")).unwrap();
    fs::write(out.join("extra"), "").unwrap();
    let before = on_disk::flat(&out);
    let report = restore(&world, &["--dry-run", "--delete", "-v"]).expect_code(0).json();
    assert_eq!(differences(&before, &on_disk::flat(&out)), "");
    let fields = ["created", "replaced", "unchanged", "files"].map(|field| number(&report, field));
    assert_eq!(fields, [1, 2, 4, 6], "{report}");
    assert_eq!((number(&report, "bytes_fetched"), &report["deleted"]), (8, &serde_json::json!(["extra"])));
    assert_eq!(report["dry_run"], true);
    let steps = report["steps"].as_array().unwrap();
    let action = |path: &str| steps.iter().find(|step| step["path"] == path).unwrap()["action"].clone();
    assert_eq!(
        (action("small"), action("large"), action("dir/deep/two.log")),
        ("replace".into(), "keep".into(), "create".into())
    );
    // Nothing is created where there is nothing yet.
    let text =
        world.repo(["restore", "latest:live", "--target", "fresh/er", "--dry-run"]).expect_code(0).stdout;
    assert!(text.contains("would restore 6 files") && text.contains("nothing was written"), "{text}");
    // What a restore would refuse, a dry run refuses.
    let refused = restore(&world, &["--dry-run", "--max-restore-bytes", "1 KiB"]);
    assert!(refused.code != 0 && refused.stderr.contains("E0435"), "{}", refused.stderr);
    assert!(!world.path("fresh").exists());
}

#[test]
fn what_the_snapshot_does_not_have_is_deleted_only_where_it_is_meant() {
    let world = world();
    let (out, aside) = (world.path("out"), world.path("aside"));
    fs::create_dir_all(&aside).unwrap();
    fs::write(aside.join("precious"), "precious").unwrap();
    let litter = || {
        fs::create_dir_all(out.join("old/er/est")).unwrap();
        for name in ["extra", "old/er/est/file", "old/keep.me", "dir/extra.log", "dir/deep/\u{1b}[31m"] {
            fs::write(out.join(name), "x").unwrap();
        }
        let _there = symlink(&aside, out.join("dir/way-out"));
        let _there = symlink(&aside, out.join("old/way-out"));
    };
    litter();
    // Only what the patterns select: nothing of `old` but the logs, and nothing that is excluded.
    let report = restore(&world, &["--delete", "--include", "dir"]).expect_code(0).json();
    let mut deleted: Vec<&str> =
        report["deleted"].as_array().unwrap().iter().map(|d| d.as_str().unwrap()).collect();
    deleted.sort_unstable();
    assert_eq!(deleted.len(), 3, "{report}");
    assert!(deleted.contains(&"dir/extra.log") && deleted.contains(&"dir/way-out"), "{report}");
    assert!(out.join("extra").exists() && out.join("old/er/est/file").exists());
    litter();
    restore(&world, &["--delete", "--exclude", "*.me", "--exclude", "extra"]).expect_code(0);
    assert!(out.join("extra").exists() && out.join("old/keep.me").exists(), "what is excluded stays");
    assert!(!out.join("old/er").exists() && fs::symlink_metadata(out.join("old/way-out")).is_err());
    let report = restore(&world, &["--delete"]).expect_code(0).json();
    assert_eq!(report["deleted"].as_array().unwrap().len(), 3, "{report}");
    assert_restored(&world);
    assert_eq!(fs::read_to_string(aside.join("precious")).unwrap(), "precious", "no link was followed");
    assert!(restore(&world, &["--delete"]).expect_code(0).json()["deleted"].as_array().unwrap().is_empty());
}

#[test]
fn row_130_deletion_is_refused_where_it_cannot_be_meant() {
    let world = world();
    fs::write(world.path("out/mine"), "mine").unwrap();
    let stays = |ran: Ran, code: &str| {
        let ran = ran.expect_code(1);
        assert!(
            ran.stderr.contains(code) || ran.stdout.contains(code),
            "{code}: {}{}",
            ran.stdout,
            ran.stderr
        );
        assert!(world.path("out/mine").exists());
    };
    // Nothing is selected, so everything would go.
    stays(restore(&world, &["--delete", "--include", "no-such-file"]), "E0484");
    stays(restore(&world, &["--delete", "--dry-run", "--exclude", "*"]), "E0484");
    fs::create_dir(world.path("bare")).unwrap();
    world.repo(["backup", "bare", "--tag", "bare"]).expect_code(0);
    stays(world.repo(["restore", "latest:bare", "--tag", "bare", "--target", "out", "--delete"]), "E0484");
    stays(
        world.repo([
            "restore",
            "latest:live/small",
            "--path",
            world.path("live").to_str().unwrap(),
            "--target",
            "out",
            "--delete",
        ]),
        "E0484",
    );
    // A home, the root, the repository, what opens it.
    for target in ["/", "/proc", ".", "repo", "repo/data/..", "/root"] {
        if Path::new(target).exists() || !target.starts_with('/') {
            let before = fs::metadata(world.path("repo/config")).unwrap().len();
            stays(world.repo(["restore", "latest:live", "--target", target, "--delete"]), "E0534");
            stays(
                world.repo(["restore", "latest:live", "--target", target, "--delete", "--dry-run"]),
                "E0534",
            );
            assert_eq!(fs::metadata(world.path("repo/config")).unwrap().len(), before);
        }
    }
    // Without --delete each is a target like any other.
    fs::create_dir(world.path("home")).unwrap();
    let mut command = world.repo_command();
    command.env("HOME", world.path("home")).args(["restore", "latest", "--target", "home"]);
    Ran::of(&mut command).expect_code(0);
}

#[test]
fn rows_139_154_and_trap_22_nothing_is_deleted_if_anything_could_not_be_restored() {
    let world = world();
    fs::write(world.path("out/mine"), "mine").unwrap();
    // A directory that cannot be read looks as if it lacked everything.
    let packs = walk(&world.path("repo/data"));
    let mut harmed = 0;
    for pack in &packs {
        let bytes = fs::read(pack).unwrap();
        let mut bad = bytes.clone();
        bad[50] ^= 1;
        fs::set_permissions(pack, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(pack, bad).unwrap();
        let ran = restore(&world, &["--delete", "--overwrite", "always"]);
        if ran.code != 0 {
            harmed += 1;
            assert!(world.path("out/mine").exists(), "{}", ran.stdout);
            let report = ran.json();
            assert!(report["deleted"].as_array().is_none_or(Vec::is_empty), "{report}");
        } else {
            // Nothing of this pack was needed, since its content stood there: that is whole, and so is the rest.
            fs::write(world.path("out/mine"), "mine").unwrap();
        }
        fs::write(pack, bytes).unwrap();
    }
    assert!(harmed > 0);
    fs::remove_file(world.path("out/large")).unwrap();
    let largest = packs.iter().max_by_key(|pack| fs::metadata(pack).unwrap().len()).unwrap();
    // What comes first in it may be of another file: threads decide.
    let mut bad = fs::read(largest).unwrap();
    bad.iter_mut().skip(50).step_by(100_000).for_each(|byte| *byte ^= 1);
    fs::write(largest, bad).unwrap();
    let ran = restore(&world, &["--delete"]).expect_code(1);
    let report = ran.json();
    assert_eq!(
        (&report["errors"][0]["path"], &report["findings"][0]["id"]),
        (&"large".into(), &"E0484".into()),
        "{report}"
    );
    assert!(world.path("out/mine").exists());
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let dirs = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    dirs.flat_map(|dir| fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path())).collect()
}

#[test]
fn patterns_select_what_they_select_in_restic() {
    let world = World::with_repository();
    let live = world.path("live");
    for name in
        ["a/x.log", "a/b/y.LOG", "a/b/keep.log", "B/Z.txt", "top.Txt", "a/c/d/e/deep.txt", "odd [x]/f"]
    {
        fs::create_dir_all(live.join(name).parent().unwrap()).unwrap();
        fs::write(live.join(name), name).unwrap();
    }
    fs::create_dir(live.join("a/none")).unwrap();
    world.repo(["backup", "live"]).expect_code(0);
    fs::write(world.path("list"), "# logs\n\n*.log\n  /live/$WHERE  \n").unwrap();
    let cases: &[&[&str]] = &[
        &["--include", "*.log"],
        &["--include", "/live/a"],
        &["--include", "a/b"],
        &["--include", "/live/**/e"],
        &["--include", "b/*", "--include", "top.Txt"],
        &["--iinclude", "*.LOG"],
        &["--iinclude", "/LIVE/b"],
        &["--exclude", "*.log"],
        &["--exclude", "/live/a/*/d"],
        &["--exclude", "a", "--exclude", "B"],
        &["--iexclude", "*.tXT"],
        &["--exclude", "*.log", "--exclude", "!keep.log"],
        &["--exclude", "odd \\[x\\]"],
    ];
    for (number, case) in cases.iter().enumerate() {
        let (ours, theirs) = (format!("ours-{number}"), format!("theirs-{number}"));
        world
            .restic([&["restore", "latest", "--no-cache", "--target", &theirs], *case].concat())
            .expect_code(0);
        world.repo([&["restore", "latest", "--target", &ours], *case].concat()).expect_code(0);
        let files = |name: &str| -> Vec<String> {
            let found = on_disk::flat(&world.path(name));
            found.iter().filter(|(_, (entry, _))| !entry.is_dir()).map(|(path, _)| path.to_string()).collect()
        };
        assert_eq!(files(&ours), files(&theirs), "{case:?}");
        assert!(!files(&ours).is_empty(), "{case:?} selects something");
    }
    // Files of patterns came with restic 0.17; they mean what the same lines mean.
    let mut command = world.repo_command();
    command.env("WHERE", "B").args(["restore", "latest", "--target", "listed", "--include-file", "list"]);
    Ran::of(&mut command).expect_code(0);
    let found: Vec<String> = on_disk::flat(&world.path("listed")).keys().map(ToString::to_string).collect();
    assert!(found.contains(&"live/B/Z.txt".into()) && found.contains(&"live/a/x.log".into()), "{found:?}");
    assert!(!found.contains(&"live/a/b/y.LOG".into()), "{found:?}");
    let mut command = world.repo_command();
    command.args([
        "restore",
        "latest",
        "--target",
        "rest",
        "--iexclude-file",
        "list",
        "--exclude-file",
        "list",
    ]);
    Ran::of(&mut command).expect_code(0);
    let found: Vec<String> = on_disk::flat(&world.path("rest")).keys().map(ToString::to_string).collect();
    assert!(!found.iter().any(|path| path.to_lowercase().ends_with(".log")), "{found:?}");
    fs::write(world.path("none"), "# nothing\n").unwrap();
    world.repo(["restore", "latest", "--target", "x", "--include-file", "none"]).expect_code(2);
    assert!(!world.path("x").exists(), "an empty list of what is meant does not mean everything");
}

#[test]
fn row_129_owners_are_mapped_as_they_are_told() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let world = World::with_repository();
    fs::create_dir(world.path("live")).unwrap();
    fs::write(world.path("live/f"), "x").unwrap();
    std::os::unix::fs::chown(world.path("live/f"), Some(4001), Some(4002)).unwrap();
    world.repo(["backup", "live"]).expect_code(0);
    for (options, want) in [
        (&[][..], (4001, 4002)),
        (&["--owner", "keep"], (4001, 4002)),
        (&["--owner", "by-name"], (4001, 4002)),
        (&["--owner", "current"], (0, 0)),
        (&["--no-owner"], (0, 0)),
        (&["--owner", "7:8"], (7, 8)),
        (&["--ownership-by-name"], (4001, 4002)),
    ] {
        // Over what the one before has restored: content stays, the owner changes.
        restore(&world, options).expect_code(0);
        let meta = fs::metadata(world.path("out/f")).unwrap();
        let kept = options.contains(&"current") || options.contains(&"--no-owner");
        assert!(kept || (meta.uid(), meta.gid()) == want, "{options:?}: {}:{}", meta.uid(), meta.gid());
        let _gone = fs::remove_dir_all(world.path("out"));
        restore(&world, options).expect_code(0);
        let meta = fs::metadata(world.path("out/f")).unwrap();
        assert_eq!((meta.uid(), meta.gid()), want, "{options:?}");
    }
    world.repo(["restore", "latest", "--target", "x", "--owner", "no-such-user-4a1"]).expect_code(2);
}

#[test]
fn a_restore_that_was_killed_goes_on_without_reading_what_it_had_finished() {
    let seed = seed();
    let world = World::with_repository();
    let live = world.path("live");
    fs::create_dir(&live).unwrap();
    // Mostly holes: much to restore, of which the journal takes note every 256 MiB, and little to store.
    for n in 0..48_u64 {
        let file = fs::File::create(live.join(format!("f{n:02}"))).unwrap();
        file.set_len(32 << 20).unwrap();
        file.write_all_at(&noise(seed.wrapping_add(n), 2000), n << 10).unwrap();
    }
    world.repo(["backup", "live"]).expect_code(0);
    let out = world.path("out");
    let journal = out.join(".recoup-restore.journal");
    let arguments = ["restore", "latest:live", "--target", "out", "--json"];
    let mut killed = false;
    for _ in 0..5 {
        let _gone = fs::remove_dir_all(&out);
        let mut command = world.repo_command();
        let mut child = command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let noted = || fs::read(&journal).is_ok_and(|text| text.iter().filter(|&&b| b == b'\n').count() > 1);
        while !noted() && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        let _ = child.kill();
        if child.wait().unwrap().code().is_none() {
            killed = true;
            break;
        }
    }
    assert!(killed, "every restore was over before it could be killed");
    assert!(fs::read_dir(&out).unwrap().count() > 1);
    let mut torn = fs::OpenOptions::new().append(true).open(&journal).unwrap();
    std::io::Write::write_all(&mut torn, b"33554432 77 1 2 3").unwrap();
    // One that was finished, and somebody wrote to since.
    let first = String::from_utf8(fs::read(&journal).unwrap()).unwrap();
    let harmed = first.lines().nth(1).and_then(|line| line.split(' ').nth(6)).unwrap().to_owned();
    write_at(&out.join(&harmed), 5 << 20, b"not as it was");
    let inode = |name: &str| fs::metadata(out.join(name)).unwrap().ino();
    let others: Vec<(String, u64)> = first
        .lines()
        .skip(2)
        .filter_map(|line| line.split(' ').nth(6).map(ToOwned::to_owned))
        .filter(|name| out.join(name).is_file() && *name != harmed)
        .map(|name| (name.clone(), inode(&name)))
        .collect();
    let report = world.repo(arguments).expect_code(0).json();
    assert_eq!(number(&report, "resumed"), others.len() as u64, "{report}");
    assert!(others.iter().all(|(name, before)| inode(name) == *before));
    assert!(!journal.exists(), "it is over");
    let names = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name());
    let leftovers: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with(".recoup-")).collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");
    let report = world.repo([&arguments[..], &["--delete", "--verify"]].concat()).expect_code(0).json();
    assert_eq!(number(&report, "verified"), 48);
    assert_eq!(differences(&on_disk::flat(&live), &on_disk::flat(&out)), "");
}
