//! `recoup repo check` in parts, within a budget, and with its ledger; next to Debian's restic 0.14.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests touch the world")]

mod common;

use common::World;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A world whose repository has many packs.
fn world() -> World {
    let world = World::with_repository();
    std::fs::create_dir(world.path("live")).unwrap();
    for n in 0..5_u32 {
        let bytes: Vec<u8> =
            (0..30_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> (7 + n)) as u8).collect();
        std::fs::write(world.path("live").join(n.to_string()), bytes).unwrap();
        world.repo(["backup", "live"]).expect_code(0);
    }
    world
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() { found.extend(files(&entry)) } else { found.push(entry) }
    }
    found.sort();
    found
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_part_has_the_packs_that_restic_puts_into_it() {
    let world = world();
    let packs = files(&world.path("repo/data"));
    // restic says how many packs it reads, and whether it met the damaged one.
    flip(&packs[3], 40);
    for (part, of) in [(1, 1), (1, 2), (2, 2), (1, 3), (2, 3), (3, 3), (7, 9), (256, 256)] {
        let subset = format!("{part}/{of}");
        let theirs = world.restic(["check", "--no-cache", "--read-data-subset", &subset]);
        let said = theirs.stdout.lines().find(|line| line.contains("read group #")).unwrap_or_default();
        let count = said.split(" of ").nth(1).and_then(|rest| rest.split(' ').next());
        let count: Option<u64> = count.and_then(|count| count.parse().ok());
        let ours = world.repo(["check", "--json", "--read-data-subset", &subset]);
        let report = ours.json();
        assert_eq!(report["packs_read"].as_u64(), count, "{subset}: {said}");
        assert_eq!(ours.code, i32::from(theirs.code != 0), "{subset}: the damaged pack is in the same part");
    }
    for wrong in ["0/3", "4/3", "1/257", "0%", "101%", "nothing"] {
        assert_ne!(world.restic(["check", "--no-cache", "--read-data-subset", wrong]).code, 0);
        world.repo(["check", "--read-data-subset", wrong]).expect_code(2);
    }
}

#[test]
fn what_was_verified_when_is_kept_on_this_host_and_shown() {
    let world = world();
    let packs = files(&world.path("repo/data")).len() as u64;
    let fresh = world.repo(["check", "--json"]).expect_code(0).json();
    assert_eq!(
        (fresh["verified"]["never"]["packs"].as_u64(), fresh["packs_read"].as_u64()),
        (Some(packs), Some(0))
    );
    assert!(fresh["verified"]["oldest"].is_null());
    let text = world.repo(["check"]).expect_code(0).stdout;
    assert!(text.contains("last 30 days: 0 %") && text.contains(&format!("{packs} packs")), "{text}");
    for left in (0..packs).rev() {
        let read = world.repo(["check", "--budget", "1B", "--json"]).expect_code(0).json();
        assert_eq!(read["packs_read"], 1);
        assert_eq!(read["verified"]["never"]["packs"], left);
    }
    let text = world.repo(["check", "--budget", "10m"]).expect_code(0).stdout;
    assert!(text.contains("every byte was read") && text.contains("last 30 days: 100 %"), "{text}");
    // A copy of the repository was not verified by that.
    let copied =
        std::process::Command::new("cp").args(["-a", "repo", "copy"]).current_dir(&world.dir).status();
    assert!(copied.unwrap().success());
    let copy = common::Ran::of(world.repo_command().args(["-r", "copy", "check", "--json"])).json();
    assert_eq!(copy["verified"]["never"]["packs"], packs);
    let same = common::Ran::of(world.repo_command().args(["-r", "./copy/../repo", "check", "--json"])).json();
    assert_eq!(same["verified"]["never"]["packs"], 0, "it is the same place by another name");
    assert!(world.repo(["check", "--json", "--no-ledger"]).expect_code(0).json()["verified"].is_null());
}

#[test]
fn trap_46_a_ledger_that_somebody_changed_is_never_a_green_light() {
    let world = world();
    let packs = files(&world.path("repo/data")).len() as u64;
    world.repo(["check", "--read-data"]).expect_code(0);
    let ledgers = files(&world.path("state/.repositories"));
    let [ledger] = ledgers.as_slice() else { panic!("{ledgers:?}") };
    assert_eq!(std::fs::metadata(ledger.parent().unwrap()).unwrap().permissions().mode() & 0o077, 0);
    flip(ledger, 60);
    let report = world.repo(["check", "--json"]).expect_code(0).json();
    assert_eq!(report["verified"]["never"]["packs"], packs);
    assert_eq!(report["findings"][0]["id"], "W0487", "{report}");
    // A place that cannot be written takes nothing away from the check.
    std::fs::write(world.path("file"), "").unwrap();
    let mut command = world.repo_command();
    command.env("RECOUP_STATE_DIR", world.path("file/below")).args(["check", "--read-data", "--json"]);
    let report = common::Ran::of(&mut command).expect_code(0).json();
    assert_eq!(
        (report["findings"][0]["id"].as_str(), report["packs_read"].as_u64()),
        (Some("W0488"), Some(packs))
    );
}
