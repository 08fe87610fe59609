//! Exit codes of the real binary when something is wrong: restic's for `recoup repo`, recoup's own otherwise.
#![allow(clippy::unwrap_used, missing_docs, clippy::disallowed_methods, reason = "tests touch the world")]

mod common;

use common::{Ran, World};
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A repository with one snapshot of three files of their own blobs each.
fn with_snapshot() -> World {
    let world = World::with_repository();
    fs::create_dir(world.path("data")).unwrap();
    for name in ["a", "b", "c"] {
        // Bytes that do not shrink, so that a flipped bit hits one file and not the compression of all.
        let bytes: Vec<u8> = (0..40_000_u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 ^ name.as_bytes()[0])
            .collect();
        fs::write(world.path("data").join(name), bytes).unwrap();
    }
    world.repo(["backup", "data"]).expect_code(0);
    world
}

fn objects(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        if entry.path().is_dir() {
            found.extend(objects(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found.sort_by_key(|path| fs::metadata(path).unwrap().len());
    found
}

/// The larger of the two packs: the one with data.
fn data_pack(world: &World) -> PathBuf {
    objects(&world.path("repo/data")).pop().unwrap()
}

fn flip(path: &Path, at: u64) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

#[test]
fn row_027_a_flipped_bit_ends_check_and_restore_with_1_and_names_the_file() {
    let world = with_snapshot();
    flip(&data_pack(&world), 100);
    let check = world.repo(["check", "--read-data", "--output", "json"]).expect_code(1);
    assert!(!check.json()["problems"].as_array().unwrap().is_empty());
    let out = world.path("out");
    let restored =
        world.repo(["restore", "latest", "--target", out.to_str().unwrap(), "--json"]).expect_code(1);
    let report = restored.json();
    assert_eq!((report["errors"].as_array().unwrap().len(), report["files"].as_u64()), (1, Some(2)));
    let named = report["errors"][0]["path"].as_str().unwrap().to_owned();
    assert!(["a", "b", "c"].iter().any(|n| named.ends_with(n)), "{named}");
}

#[test]
fn rows_32_36_37_what_is_missing_or_short_ends_check_with_1_or_is_made_up_for() {
    let world = with_snapshot();
    for index in objects(&world.path("repo/index")) {
        fs::remove_file(index).unwrap();
    }
    let out = world.path("no-index");
    world.repo(["restore", "latest", "--target", out.to_str().unwrap()]).expect_code(0);
    world.repo(["backup", "data"]).expect_code(0);
    world.restic(["check", "--read-data"]).expect_code(0);

    let pack = data_pack(&world);
    let bytes = fs::read(&pack).unwrap();
    fs::set_permissions(&pack, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&pack, &bytes[..bytes.len() - 1]).unwrap();
    world.repo(["check"]).expect_code(1);
    fs::remove_file(&pack).unwrap();
    let check = world.repo(["check"]).expect_code(1);
    assert!(check.stdout.contains("E04"), "{}", check.stdout);
    // The source still has the files: the next run brings them back although the index lists them.
    world.repo(["backup", "data", "--force"]).expect_code(0);
    let out = world.path("healed");
    world.repo(["restore", "latest", "--target", out.to_str().unwrap()]).expect_code(0);
}

#[test]
fn the_codes_that_restic_scripts_rely_on() {
    let world = with_snapshot();
    Ran::of(world.repo_command().args(["-r", "/no/such/repository", "snapshots"])).expect_code(10);
    fs::create_dir(world.path("empty")).unwrap();
    Ran::of(world.repo_command().args(["-r", "empty", "snapshots"])).expect_code(10);
    fs::write(world.path("wrong"), "not it").unwrap();
    Ran::of(world.repo_command().args(["-p", "wrong", "snapshots"])).expect_code(12);
    Ran::of(world.repo_command().args(["-r", "s3:host/bucket", "snapshots"])).expect_code(1);
    world.repo(["snapshots", "--no-such-option"]).expect_code(2);
    world.repo(["init"]).expect_code(1);
    world.repo(["forget"]).expect_code(1);
    world.repo(["backup", "no-such-path"]).expect_code(1);
    world.repo(["backup", "data", "no-such-path"]).expect_code(3);
    let json = world.repo(["snapshots", "--json"]).expect_code(0).json();
    assert_eq!(json["schema"], "recoup/1");
}

#[test]
fn a_lock_of_somebody_who_lives_ends_with_11_and_a_dead_one_is_removed() {
    let world = with_snapshot();
    let id = objects(&world.path("repo/snapshots")).pop().unwrap();
    let id = id.file_name().unwrap().to_str().unwrap().to_owned();
    // Stock restic holds the lock: it is asked to read standard input, which stays open.
    let mut holder = std::process::Command::new("restic")
        .env("RESTIC_REPOSITORY", world.path("repo"))
        .env("RESTIC_PASSWORD_FILE", world.path("password"))
        .env("RESTIC_CACHE_DIR", world.path("cache"))
        .args(["backup", "--stdin"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // restic writes a lock under a longer name and gives it its own, of 64 digits, when it is whole.
    let is_lock = |entry: fs::DirEntry| entry.file_name().len() == 64;
    while !fs::read_dir(world.path("repo/locks")).unwrap().flatten().any(is_lock) {
        assert!(holder.try_wait().unwrap().is_none(), "restic ended before it took its lock");
        std::thread::yield_now();
    }
    let refused = world.repo(["forget", &id]);
    let _ = holder.kill();
    holder.wait().unwrap();
    let refused = refused.expect_code(11);
    assert!(refused.stderr.contains("E0411"), "{}", refused.stderr);
    world.repo(["forget", &id]).expect_code(0);
    assert_eq!(
        fs::read_dir(world.path("repo/locks")).unwrap().count(),
        0,
        "the dead lock went, and ours too"
    );
}
