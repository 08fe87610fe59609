//! `recoup repo key`, `copy`, `tag`, `dump`, `stats`, `find` and `diff`, next to Debian's restic 0.14.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests touch the world")]

mod common;

use common::{Ran, World};
use serde_json::Value;
use std::process::Command;

/// A world with two snapshots of `live` that differ.
fn world() -> World {
    let world = World::with_repository();
    fill(&world);
    world.repo(["backup", "live"]).expect_code(0);
    std::fs::write(world.path("live/changed"), "new content").unwrap();
    std::fs::write(world.path("live/came"), "came ".repeat(5000)).unwrap();
    std::fs::remove_dir_all(world.path("live/gone")).unwrap();
    std::fs::remove_file(world.path("live/turned")).unwrap();
    std::fs::create_dir(world.path("live/turned")).unwrap();
    world.repo(["backup", "live"]).expect_code(0);
    world
}

fn fill(world: &World) {
    let live = world.path("live");
    std::fs::create_dir_all(live.join("gone/deep")).unwrap();
    std::fs::create_dir_all(live.join("kept")).unwrap();
    std::fs::write(live.join("changed"), "old").unwrap();
    std::fs::write(live.join("turned"), "a file").unwrap();
    std::fs::write(live.join("gone/deep/file.LOG"), "gone").unwrap();
    std::fs::write(live.join("kept/x.log"), "text ".repeat(100_000)).unwrap();
    std::fs::write(live.join("kept/twin"), "text ".repeat(100_000)).unwrap();
    std::fs::write(live.join("kept/empty"), "").unwrap();
    std::fs::hard_link(live.join("kept/twin"), live.join("kept/link")).unwrap();
    std::os::unix::fs::symlink("twin", live.join("kept/symbolic")).unwrap();
}

fn ids(world: &World) -> Vec<String> {
    let listed = world.repo(["snapshots", "--json"]).expect_code(0).json();
    let list = listed["snapshots"].as_array().unwrap();
    list.iter().map(|s| s["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_difference_is_shown_as_restic_shows_it() {
    let world = world();
    let ids = ids(&world);
    for option in [None, Some("--metadata")] {
        let mut args = vec!["diff", "--no-cache", &ids[0], &ids[1]];
        args.extend(option);
        let theirs = world.restic(&args).expect_code(0).stdout;
        args.remove(1);
        let ours = world.repo(&args).expect_code(0).stdout;
        let lines = |text: &str| {
            let mut lines: Vec<String> =
                text.lines().filter(|l| l.contains("/live")).map(|l| l.trim_end().to_owned()).collect();
            lines.sort();
            lines
        };
        assert_eq!(lines(&ours), lines(&theirs));
        assert!(!lines(&ours).is_empty());
    }
    let ours = world.repo(["diff", "--json", &ids[0], &ids[1]]).expect_code(0).json();
    let theirs = world.restic(["diff", "--json", "--no-cache", &ids[0], &ids[1]]).expect_code(0).stdout;
    let last: Value = serde_json::from_str(theirs.lines().last().unwrap()).unwrap();
    assert_eq!(ours["changed_files"], last["changed_files"]);
    for side in ["added", "removed"] {
        for field in ["files", "dirs", "others", "data_blobs", "tree_blobs", "bytes"] {
            assert_eq!(ours[side][field], last[side][field], "{side} {field}\n{ours}\n{last}");
        }
    }
}

#[test]
fn sizes_are_counted_as_restic_counts_them() {
    let world = world();
    for mode in ["restore-size", "files-by-contents", "blobs-per-file", "raw-data"] {
        let ours = world.repo(["stats", "--json", "--mode", mode]).expect_code(0).json();
        let theirs = world.restic(["stats", "--json", "--no-cache", "--mode", mode]).expect_code(0).json();
        assert_eq!(ours["bytes"], theirs["total_size"], "{mode}\n{ours}\n{theirs}");
        for (our, their) in [("files", "total_file_count"), ("blobs", "total_blob_count")] {
            if theirs[their].as_u64().is_some_and(|n| n > 0) {
                assert_eq!(ours[our], theirs[their], "{mode}\n{ours}\n{theirs}");
            }
        }
    }
    let raw = world.repo(["stats", "--json", "--mode", "raw-data"]).expect_code(0).json();
    assert!(raw["data"]["compression"].as_f64().unwrap() > 2.0, "{raw}");
    assert!(raw["data"]["deduplication"].as_f64().unwrap() > 2.0, "{raw}");
}

#[test]
fn what_is_dumped_is_what_was_stored_or_an_error() {
    let world = world();
    let run = |program: &str, args: &[&str]| {
        let mut command = if program == "recoup" { world.repo_command() } else { Command::new("restic") };
        if program == "restic" {
            command.env("RESTIC_REPOSITORY", world.path("repo"));
            command.env("RESTIC_PASSWORD_FILE", world.path("password")).arg("--no-cache");
        }
        command.args(args).output().unwrap()
    };
    let ours = run("recoup", &["dump", "latest", "/live/kept/x.log"]);
    let theirs = run("restic", &["dump", "latest", "/live/kept/x.log"]);
    assert_eq!((ours.status.code(), &ours.stdout), (Some(0), &theirs.stdout));
    for form in ["tar", "zip"] {
        let (mut unpacked, mut sizes) = (Vec::new(), Vec::new());
        for program in ["recoup", "restic"] {
            let archive = world.path(&format!("{program}.{form}"));
            let out = run(program, &["dump", "--archive", form, "latest", "/live"]);
            assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
            std::fs::write(&archive, &out.stdout).unwrap();
            sizes.push(out.stdout.len());
            let target = world.path(&format!("{program}-{form}"));
            std::fs::create_dir(&target).unwrap();
            let done = if form == "tar" {
                Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&target).output().unwrap()
            } else {
                let script = "import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])";
                Command::new("python3").arg("-c").arg(script).arg(&archive).arg(&target).output().unwrap()
            };
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            unpacked.push(target);
        }
        assert!(sizes[0] < sizes[1] * 11 / 10, "{form}: {sizes:?}, as small as restic's within a tenth");
        let compared = Command::new("diff").arg("-r").args(&unpacked).output().unwrap();
        assert!(compared.status.success(), "{form}: {}", String::from_utf8_lossy(&compared.stdout));
        assert!(unpacked[0].join("live/kept/x.log").exists());
    }
    let target = world.path("target.log");
    let args = ["dump", "latest", "/live/kept/x.log", "--target", "target.log", "--json"];
    let answer = world.repo(args).expect_code(0).json();
    assert_eq!(answer["bytes"].as_u64(), Some(std::fs::metadata(&target).unwrap().len()));
    let missing = world.repo(["dump", "latest", "/live/nothing"]).expect_code(1);
    assert!(missing.stdout.is_empty() && missing.stderr.contains("E0436"), "{}", missing.stderr);
    world.repo(["dump", "latest", "/live/../x"]).expect_code(2);
    // Every pack is damaged: not a byte comes out as if it were all.
    std::fs::remove_file(&target).unwrap();
    for entry in walk(&world.path("repo/data")) {
        let mut bytes = std::fs::read(&entry).unwrap();
        for byte in bytes.iter_mut().step_by(50) {
            *byte ^= 1;
        }
        let mut permissions = std::fs::metadata(&entry).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
        std::fs::set_permissions(&entry, permissions).unwrap();
        std::fs::write(&entry, bytes).unwrap();
    }
    world.repo(["dump", "latest", "/live/kept/x.log", "--target", "target.log"]).expect_code(1);
    assert!(!target.exists() && !world.path("target.log.recoup-unfinished").exists());
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let folders = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    folders.flat_map(|f| std::fs::read_dir(f).unwrap().map(|e| e.unwrap().path())).collect()
}

#[test]
fn what_is_found_is_what_restic_finds() {
    let world = world();
    for args in [&["*.log"][..], &["-i", "*.LOG"], &["kept"], &["/live/*/x.log"], &["nothing*"]] {
        let ours = world.repo([&["find", "--json"], args].concat()).expect_code(0).json();
        let theirs = world.restic([&["find", "--json", "--no-cache"], args].concat()).expect_code(0).json();
        let mut expected: Vec<(String, String)> = Vec::new();
        for hit in theirs.as_array().unwrap() {
            for entry in hit["matches"].as_array().unwrap() {
                let text = |v: &Value| v.as_str().unwrap().to_owned();
                expected.push((text(&hit["snapshot"]), text(&entry["path"])));
            }
        }
        let mut found: Vec<(String, String)> = Vec::new();
        for entry in ours["matches"].as_array().unwrap() {
            let text = |v: &Value| v.as_str().unwrap().to_owned();
            found.push((text(&entry["snapshot"]), text(&entry["path"])));
        }
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "{args:?}");
    }
    let none = world.repo(["find", "*.log", "--newest", "1990-01-01", "--json"]).expect_code(0).json();
    assert_eq!(none["matches"].as_array().unwrap().len(), 0);
    let dirs = world.repo(["find", "kept", "--type", "dir", "--json"]).expect_code(0).json();
    assert_eq!(dirs["matches"].as_array().unwrap().len(), 2);
    let pack = walk(&world.path("repo/data")).pop().unwrap();
    let pack = pack.file_name().unwrap().to_str().unwrap().to_owned();
    let in_pack = world.repo(["find", "--pack", &pack[..12], "--json"]).expect_code(0).json();
    assert!(!in_pack["matches"].as_array().unwrap().is_empty());
    world.repo(["find", "--blob", "no-id"]).expect_code(2);
}

#[test]
fn passwords_are_added_replaced_and_removed_and_restic_takes_them() {
    let world = World::with_repository();
    std::fs::write(world.path("second"), "second password").unwrap();
    std::fs::write(world.path("third"), "third password").unwrap();
    let key = |password: &str, args: &[&str]| -> Ran {
        let file = world.path(password);
        world.repo([&["--password-file", file.to_str().unwrap(), "key"], args].concat())
    };
    let add = ["add", "--generated-password", "--new-password-file", "second", "--json"];
    let added = key("password", &add).expect_code(0).json();
    let second = added["added"].as_str().unwrap().to_owned();
    world.restic(["snapshots", "--no-cache", "-p", "second"]).expect_code(0);
    let args = ["passwd", "--generated-password", "--new-password-file", "third"];
    key("password", &args).expect_code(0);
    world.restic(["snapshots", "--no-cache", "-p", "third"]).expect_code(0);
    key("password", &["list"]).expect_code(12);
    let refused = key("second", &["remove", &second[..12]]).expect_code(1);
    assert!(refused.stderr.contains("E0490"), "{}", refused.stderr);
    key("third", &["remove", &second[..12]]).expect_code(0);
    let listed = key("third", &["list", "--json"]).expect_code(0).json();
    assert_eq!(listed["keys"].as_array().unwrap().len(), 1);
    assert_eq!(listed["keys"][0]["current"], true);
    // What restic adds, we list and open.
    let added = ["-p", "third", "key", "add", "--new-password-file", "second", "--no-cache"];
    world.restic(added).expect_code(0);
    key("second", &["list"]).expect_code(0);
}

#[test]
fn tags_change_and_restic_sees_them() {
    let world = world();
    world.repo(["tag", "--add", "a,b", "latest"]).expect_code(0);
    let listed = world.restic(["snapshots", "--json", "--no-cache"]).expect_code(0).json();
    let newest = listed.as_array().unwrap().last().unwrap();
    assert_eq!(newest["tags"], serde_json::json!(["a", "b"]));
    assert!(newest["original"].is_string());
    world.restic(["tag", "--no-cache", "--remove", "a", "latest"]).expect_code(0);
    world.repo(["tag", "--set", "", "latest"]).expect_code(0);
    let listed = world.repo(["snapshots", "--json"]).expect_code(0).json();
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 2);
    assert_eq!(listed["snapshots"][1]["tags"], serde_json::json!([]));
    world.repo(["tag", "latest"]).expect_code(2);
}

#[test]
fn a_copy_is_made_once_and_restic_reads_it() {
    let world = world();
    let from = ["--from-repo", "repo", "--from-password-file", "password"];
    let init = ["-r", "second", "init", "--generated-password", "--copy-chunker-params"];
    world.repo([&init[..], &from].concat()).expect_code(0);
    let copy = [&["-r", "second", "copy", "--json"], &from[..]].concat();
    let first = world.repo(&copy).expect_code(0).json();
    assert_eq!((first["copied"].as_array().unwrap().len(), &first["same_chunker"]), (2, &Value::from(true)));
    let again = world.repo(&copy).expect_code(0).json();
    assert_eq!((again["skipped"].as_array().unwrap().len(), &again["bytes_stored"]), (2, &Value::from(0)));
    world.restic(["-r", "second", "check", "--read-data", "--no-cache"]).expect_code(0);
    let own = world.repo(["copy", "--from-repo", "repo", "--from-password-file", "password"]).expect_code(1);
    assert!(own.stderr.contains("E0492"), "{}", own.stderr);
}

#[test]
fn row_051_all_of_a_group_is_forgotten_only_if_that_is_said() {
    let world = world();
    let before = ids(&world).len();
    let refused = world.repo(["forget", "--keep-tag", "typo"]).expect_code(1);
    assert!(refused.stderr.contains("E0461"), "{}", refused.stderr);
    let all = world.repo(["forget", "--unsafe-allow-remove-all"]).expect_code(2);
    assert!(all.stderr.contains("--host"), "{}", all.stderr);
    assert_eq!(ids(&world).len(), before);
    let dry = ["forget", "--keep-tag", "typo", "--unsafe-allow-remove-all", "--dry-run", "--json"];
    assert_eq!(world.repo(dry).expect_code(0).json()["forgotten"].as_array().unwrap().len(), before);
    world.repo(["backup", "live", "--host", "other", "--tag", "legal"]).expect_code(0);
    world.repo(["backup", "live", "--host", "other"]).expect_code(0);
    let other = ["forget", "--unsafe-allow-remove-all", "--host", "other", "--protect-tag", "legal"];
    world.repo(other).expect_code(0);
    assert_eq!(ids(&world).len(), before + 1, "what is protected stays, and so do the other hosts");
    world.restic(["check", "--no-cache"]).expect_code(0);
}

#[test]
fn trap_11_a_stream_is_stored_whole_or_not_at_all() {
    let world = World::with_repository();
    let script = "i=0; while [ $i -lt 60000 ]; do echo line $i; i=$((i+1)); done";
    let name = ["backup", "--stdin-from-command", "--stdin-filename", "dumps/db.sql"];
    let args = [&name[..], &["--time", "2026-01-02 03:04:05", "--", "sh", "-c", script]].concat();
    world.repo(&args).expect_code(0);
    let ours = world.restic(["dump", "--no-cache", "latest", "/dumps/db.sql"]).expect_code(0).stdout;
    assert!(ours.starts_with("line 0\n") && ours.ends_with("line 59999\n"));
    let listed = world.repo(["snapshots", "--json"]).expect_code(0).json();
    assert_eq!(listed["snapshots"][0]["paths"], serde_json::json!(["/dumps/db.sql"]));
    assert_eq!(listed["snapshots"][0]["time"], "2026-01-02T02:04:05Z");
    // Trap 11: a command that fails after it wrote something, or is killed, or is not there.
    for script in ["echo half; exit 3", "echo half; kill -9 $$"] {
        let failed = world.repo([&name[..], &["--", "sh", "-c", script]].concat()).expect_code(1);
        assert!(failed.stderr.contains("E0495"), "{}", failed.stderr);
    }
    world.repo([&name[..], &["--", "/no/such/program"]].concat()).expect_code(1);
    assert_eq!(ids(&world).len(), 1);
    let mut command = world.repo_command();
    let input = std::fs::File::open(world.path("password")).unwrap();
    Ran::of(command.args(["backup", "--stdin"]).stdin(input)).expect_code(0);
    let back = world.repo(["dump", "latest", "/stdin"]).expect_code(0).stdout;
    assert_eq!(back, std::fs::read_to_string(world.path("password")).unwrap());
    world.restic(["check", "--read-data", "--no-cache"]).expect_code(0);
}

/// What restic made as version 1 is read by every verb that reads, and written by none.
#[test]
fn version_1_is_read_and_never_written() {
    let world = World::new();
    fill(&world);
    world.restic(["init", "--repository-version", "1", "--no-cache"]).expect_code(0);
    world.restic(["backup", "live", "--no-cache"]).expect_code(0);
    for args in [
        &["snapshots"][..],
        &["ls", "latest"],
        &["check", "--read-data"],
        &["stats"],
        &["find", "*.log"],
        &["dump", "latest", "/live/kept/x.log"],
        &["restore", "latest", "--target", "out"],
        &["key", "list"],
    ] {
        world.repo(args).expect_code(0);
    }
    let same = std::fs::read(world.path("live/kept/x.log")).unwrap();
    assert_eq!(std::fs::read(world.path("out/live/kept/x.log")).unwrap(), same);
    for args in [
        &["backup", "live"][..],
        &["tag", "--add", "a", "latest"],
        &["key", "add", "--new-password-file", "password"],
    ] {
        let refused = world.repo(args).expect_code(1);
        assert!(refused.stderr.contains("E0470"), "{}", refused.stderr);
    }
}

#[test]
fn trap_15_a_repair_that_cannot_save_everything_does_not_end_with_0() {
    use std::os::unix::fs::PermissionsExt;
    let world = world();
    let packs = walk(&world.path("repo/data"));
    let data = packs.iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(data).unwrap();
    bytes[40] ^= 1;
    std::fs::set_permissions(data, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(data, bytes).unwrap();
    let told = world.repo(["repair", "packs"]).expect_code(1);
    assert!(told.stdout.contains("nothing was changed"), "{}", told.stdout);
    let done = world.repo(["repair", "packs", "--apply"]).expect_code(1);
    assert!(done.stdout.contains("lost: "), "{}", done.stdout);
    let pruned = world.repo(["prune"]).expect_code(1);
    assert!(pruned.stderr.contains("E0476"), "what is lost is no reason to delete more: {}", pruned.stderr);
    world.repo(["repair", "snapshots", "--forget", "--apply"]).expect_code(1);
    world.repo(["repair", "snapshots"]).expect_code(0);
    world.repo(["prune"]).expect_code(0);
    world.repo(["check", "--read-data"]).expect_code(0);
}

#[test]
fn a_path_that_leads_out_of_a_snapshot_is_a_mistake_of_the_call() {
    let world = world();
    for verb in [
        &["dump", "latest", "../../etc/passwd"][..],
        &["ls", "latest", "a/../b"],
        &["restore", "latest:../x", "--target", "out"],
    ] {
        let refused = world.repo(verb);
        assert!(
            refused.stderr.contains("E0801") && refused.stderr.contains(".."),
            "{verb:?}: {}",
            refused.stderr
        );
        assert!(!refused.stderr.contains("tampered"), "{verb:?}: {}", refused.stderr);
    }
}
