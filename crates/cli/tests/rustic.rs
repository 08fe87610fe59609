//! A small repository that rustic 0.11.4 made (`fixtures/make_rustic.sh`): what recoup reads in it, and that it stays
//! whole for restic after recoup has written to it.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests touch the world")]

mod common;

use common::World;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

/// A world whose repository is a copy of the fixture.
fn world() -> World {
    let world = World::new();
    std::fs::write(world.path("password"), "made for a test").unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rustic-0.11.4");
    let copied = Command::new("cp").arg("-r").arg(fixture).arg(world.path("repo")).status().unwrap();
    assert!(copied.success());
    world
}

fn numbers() -> String {
    (1..=30_000).map(|n| format!("{n}\n")).collect()
}

#[test]
fn what_rustic_wrote_is_listed_checked_and_restored() {
    let world = world();
    let listed = world.repo(["snapshots", "--json"]).expect_code(0).json();
    let snapshots = listed["snapshots"].as_array().unwrap();
    let tags: Vec<_> = snapshots.iter().map(|it| it["tags"][0].as_str().unwrap()).collect();
    assert_eq!(tags, ["first", "third"]);
    let checked = world.repo(["check", "--read-data", "--json"]).expect_code(0);
    assert!(!checked.stdout.contains("E04") && !checked.stdout.contains("W04"), "{}", checked.stdout);

    world.repo(["restore", "latest", "--target", "out"]).expect_code(0);
    let at = |name: &[u8]| world.path("out/made/data").join(OsStr::from_bytes(name));
    assert_eq!(std::fs::read_to_string(at(b"hello.txt")).unwrap(), "hello again\n");
    assert_eq!(std::fs::read_to_string(at(b"numbers.txt")).unwrap(), numbers());
    assert_eq!(std::fs::read(at(b"noise.bin")).unwrap().len(), 70_000);
    assert_eq!(std::fs::read_link(at(b"sub/link")).unwrap(), Path::new("../hello.txt"));
    assert_eq!(std::fs::read(at(b"sub/caf\xe9")).unwrap(), b"x", "a name that is no UTF-8");
    assert!(at(b"sub/empty").is_dir() && std::fs::read(at(b"sub/nothing")).unwrap().is_empty());
    assert!(!at(b"second.txt").exists());
    let (one, other) = (at(b"hello.txt").metadata().unwrap(), at(b"sub/again").metadata().unwrap());
    assert_eq!((one.ino(), one.nlink()), (other.ino(), 2), "a hard link");
    let noise = at(b"noise.bin").metadata().unwrap();
    assert_eq!(noise.mode() & 0o7777, 0o600);
    assert_eq!((noise.mtime(), noise.mtime_nsec()), (1_767_323_045, 678_901_234));
}

#[test]
fn a_key_of_rustic_that_does_not_say_when_it_was_made_opens_and_is_listed() {
    let world = world();
    let keys = world.repo(["key", "list"]).expect_code(0).stdout;
    assert!(keys.contains("maker") && keys.contains("unknown"), "{keys}");
    world.repo(["key", "list", "--json"]).expect_code(0).json();
}

#[test]
fn what_rustic_was_told_never_to_delete_stays() {
    let world = world();
    let listed =
        |world: &World| world.repo(["snapshots", "--json"]).expect_code(0).json()["snapshots"].clone();
    let first = listed(&world)[0]["id"].as_str().unwrap().to_owned();
    let refused = world.repo(["forget", &first]).expect_code(1);
    assert!(refused.stderr.contains("E0478"), "{}", refused.stderr);
    world.repo(["forget", "--keep-last", "1"]).expect_code(0);
    world.repo(["forget", "--tag", "first", "--unsafe-allow-remove-all"]).expect_code(0);
    assert_eq!(listed(&world).as_array().unwrap().len(), 2);
    world.repo(["forget", "--tag", "third", "--unsafe-allow-remove-all"]).expect_code(0);
    assert_eq!(listed(&world)[0]["id"], first.as_str());
}

#[test]
fn what_rustic_left_to_delete_is_respected_and_deleted_and_restic_agrees() {
    let world = world();
    let packs = || {
        let folders = std::fs::read_dir(world.path("repo/data")).unwrap();
        folders.map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap().count()).sum::<usize>()
    };
    let before = packs();
    // rustic has marked what only the forgotten snapshot needed: that data is not there for a new backup, and
    // must be stored again.
    std::fs::create_dir(world.path("live")).unwrap();
    let second: String = (40_000..=70_000).map(|n| format!("{n}\n")).collect();
    std::fs::write(world.path("live/numbers.txt"), &second).unwrap();
    std::fs::write(world.path("live/old.txt"), numbers()).unwrap();
    world.repo(["backup", "live"]).expect_code(0);
    assert!(packs() > before, "the marked data was stored again");
    world.repo(["prune", "--max-unused", "0", "--keep-delete", "0s"]).expect_code(0);
    world.restic(["check", "--read-data", "--no-cache"]).expect_code(0);
    world.repo(["restore", "latest", "--target", "out"]).expect_code(0);
    assert_eq!(std::fs::read_to_string(world.path("out/live/numbers.txt")).unwrap(), second);
    assert_eq!(std::fs::read_to_string(world.path("out/live/old.txt")).unwrap(), numbers());
    world.repo(["restore", "latest", "--tag", "first", "--target", "first"]).expect_code(0);
    assert_eq!(std::fs::read_to_string(world.path("first/made/data/hello.txt")).unwrap(), "hello\n");
}
