//! The options of `recoup repo backup`, next to Debian's restic 0.14 where it has them.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests touch the world")]

mod common;

use common::{Ran, World, recoup_binary};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

fn world() -> World {
    let world = World::with_repository();
    for name in
        ["live/a/one.txt", "live/a/two.log", "live/b/three.txt", "live/# four", "live/new\nline", "live/[5]"]
    {
        let path = world.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, name).unwrap();
    }
    world
}

/// The paths of a snapshot, as each program lists them.
fn listed(world: &World) -> Vec<String> {
    let ran = world.restic(["ls", "--json", "--no-cache", "latest"]).expect_code(0);
    let nodes = ran.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut paths: Vec<String> =
        nodes.filter(|n| n["type"] == "file").map(|n| n["path"].as_str().unwrap().to_owned()).collect();
    paths.sort();
    paths
}

fn backup(world: &World, args: &[&str]) -> Value {
    let mut words = vec!["backup", "--json"];
    words.extend(args);
    world.repo(words).expect_code(0).json()
}

#[test]
fn lists_of_files_mean_what_they_mean_to_restic() {
    let world = world();
    std::fs::write(world.path("patterns"), "# a comment\n\n  live/a/*.txt  \nlive/b\nlive/nothing*\n")
        .unwrap();
    std::fs::write(world.path("verbatim"), "live/# four\nlive/[5]\n\n").unwrap();
    std::fs::write(world.path("raw"), "live/new\nline\0live/a/two.log\0").unwrap();
    for args in [
        &["--files-from", "patterns"][..],
        &["--files-from-verbatim", "verbatim"],
        &["--files-from-raw", "raw"],
        &[
            "--files-from",
            "patterns",
            "--files-from-verbatim",
            "verbatim",
            "--files-from-raw",
            "raw",
            "live/b",
        ],
    ] {
        let ours = backup(&world, args);
        let our_paths = listed(&world);
        let theirs = [&["backup", "--no-cache", "-q"][..], args].concat();
        world.restic(theirs).expect_code(0);
        assert_eq!(our_paths, listed(&world), "{args:?}");
        assert!(!our_paths.is_empty());
        let findings = ours["findings"].as_array().unwrap();
        assert_eq!(findings.iter().any(|f| f["id"] == "W0559"), args.contains(&"patterns"), "{ours}");
    }
    let paths = |snapshot: &Value| snapshot["paths"].clone();
    let both = world.repo(["snapshots", "--json"]).expect_code(0).json();
    let both = both["snapshots"].as_array().unwrap().clone();
    assert_eq!(paths(&both[6]), paths(&both[7]), "what a snapshot says it is of");
}

#[test]
fn a_list_comes_on_standard_input_and_a_broken_one_backs_up_nothing() {
    let world = world();
    let piped = |args: &[&str], text: &[u8]| {
        let mut command = world.repo_command();
        command.args(["backup", "--json"]).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(text).unwrap();
        Ran::from(child.wait_with_output().unwrap())
    };
    let ran = piped(&["--files-from-raw", "-"], b"live/a\0").expect_code(0);
    assert_eq!(ran.json()["files_new"], 2);
    assert_eq!(piped(&["--files-from", "-"], b"live/a\n").expect_code(0).json()["files_unmodified"], 2);
    for (args, text) in [
        (&["--files-from-raw", "-"][..], &b"live/a\0live/b"[..]),
        (&["--files-from-raw", "-"], b"live/a\0\0"),
        (&["--files-from-raw", "-", "--files-from", "-"], b"live/a\0"),
        (&["--files-from", "-"], b"# nothing\n"),
        (&["--files-from", "-"], b"live/[a\n"),
    ] {
        assert_ne!(piped(args, text).code, 0, "{args:?}");
    }
    assert_eq!(
        world.repo(["snapshots", "--json"]).expect_code(0).json()["snapshots"].as_array().unwrap().len(),
        2
    );
    // What a list names and is not there is missing, and said to be (exit code 3).
    assert_eq!(piped(&["--files-from", "-"], b"live/a\nlive/gone\n").code, 3);
}

#[test]
fn inodes_and_times_of_metadata_are_looked_at_unless_told_otherwise() {
    let world = world();
    backup(&world, &["live/a"]);
    let file = world.path("live/a/one.txt");
    let unmodified = |args: &[&str]| {
        backup(&world, &[args, &["live/a", "--dry-run"][..]].concat())["files_unmodified"].clone()
    };
    assert_eq!(unmodified(&[]), 2);
    // A new time of metadata, the same inode.
    let mode =
        |mode| std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    mode(0o600);
    assert_eq!((unmodified(&[]), unmodified(&["--ignore-ctime"])), (1.into(), 2.into()));
    assert_eq!(unmodified(&["--ignore-inode"]), 2);
    // Another inode, the same content and time.
    let time = std::fs::metadata(&file).unwrap().modified().unwrap();
    let copy = world.path("live/a/copy");
    std::fs::copy(&file, &copy).unwrap();
    std::fs::File::options().write(true).open(&copy).unwrap().set_modified(time).unwrap();
    std::fs::rename(&copy, &file).unwrap();
    assert_eq!((unmodified(&["--ignore-ctime"]), unmodified(&["--ignore-inode"])), (1.into(), 2.into()));
    assert_eq!(unmodified(&["--force"]), 0);
}

#[test]
fn an_unchanged_tree_makes_no_snapshot_if_so_asked() {
    let world = world();
    let first = backup(&world, &["live", "--skip-if-unchanged"]);
    assert!(first["snapshot"].is_string() && first["skipped"] == false);
    let again = backup(&world, &["live", "--skip-if-unchanged"]);
    assert!(again["snapshot"].is_null() && again["skipped"] == true, "{again}");
    std::fs::write(world.path("live/a/one.txt"), "changed").unwrap();
    assert!(backup(&world, &["live", "--skip-if-unchanged"])["snapshot"].is_string());
    assert!(backup(&world, &["live"])["snapshot"].is_string(), "nobody asked");
    let snapshots = world.repo(["snapshots", "--json"]).expect_code(0).json();
    assert_eq!(snapshots["snapshots"].as_array().unwrap().len(), 3);
    world.restic(["check", "--no-cache"]).expect_code(0);
}

#[test]
fn the_parent_is_the_newest_of_the_group_that_is_not_later() {
    let world = world();
    let parent = |args: &[&str]| {
        let id = backup(&world, &[args, &["live"][..]].concat())["snapshot"].clone();
        let all = world.repo(["snapshots", "--json"]).expect_code(0).json();
        let all = all["snapshots"].as_array().unwrap().clone();
        let mine = all.iter().find(|s| s["id"] == id).unwrap().clone();
        (mine["parent"].clone(), id)
    };
    let (_, first) = parent(&["--tag", "x", "--time", "2026-01-01T00:00:00Z"]);
    let (of_second, second) = parent(&["--host", "other"]);
    assert!(of_second.is_null(), "another host");
    assert_eq!(parent(&["--host", "third", "--group-by", "paths"]).0, second);
    assert_eq!(parent(&["--group-by", "host,tags", "--tag", "x"]).0, first);
    assert!(parent(&["--time", "2025-01-01T00:00:00Z"]).0.is_null(), "all others are later");
}

#[test]
fn gitignore_files_are_honoured_if_so_asked_and_options_of_newer_restics_are_understood() {
    let world = world();
    std::fs::write(world.path("live/.gitignore"), "*.log\n/b/\n").unwrap();
    let all = backup(&world, &["live", "--read-concurrency", "3", "--no-scan"]);
    let some = backup(&world, &["live", "--exclude-gitignore", "--force"]);
    assert_eq!((all["files_new"].as_u64().unwrap(), some["files_new"].as_u64().unwrap()), (7, 5));
    // `.` stands for what is in it, and what its .gitignore leaves out was not named.
    let mut command = world.repo_command();
    command.current_dir(world.path("live")).args(["backup", ".", "--exclude-gitignore", "--json"]);
    assert_eq!(Ran::of(&mut command).expect_code(0).json()["files_new"], 5);
    assert_eq!(backup(&world, &["live/a/two.log", "--exclude-gitignore"])["files_new"], 1, "named itself");
}

#[test]
fn the_answer_says_which_chunker_was_used_and_restic_reads_what_it_made() {
    let world = world();
    let text: String =
        (0..100_000).map(|n| format!("insert into t values ({n}, '{}');\n", n * 7919)).collect();
    std::fs::write(world.path("live/dump.sql"), text).unwrap();
    for chunker in ["rabin", "pages", "lines"] {
        let answer = backup(&world, &["live", "--force", "--chunker", chunker]);
        assert_eq!(answer["chunker"], chunker);
        world.restic(["check", "--read-data", "--no-cache"]).expect_code(0);
        let out = world.path(chunker);
        world.restic(["restore", "latest", "--no-cache", "--target", out.to_str().unwrap()]).expect_code(0);
        let restored = out.join("live/dump.sql");
        assert_eq!(std::fs::read(restored).unwrap(), std::fs::read(world.path("live/dump.sql")).unwrap());
    }
    assert_eq!(world.repo(["backup", "live", "--chunker", "words"]).code, 2);
}

/// Kills a backup that reads slowly, as soon as it has left a partial snapshot; what it left.
fn killed(world: &World) -> Value {
    let usual = world.command();
    let mut traced = Command::new("strace");
    traced.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=read", "-e", "inject=read:delay_enter=30000"]);
    traced.arg(recoup_binary()).args(["repo", "backup", "live", "--tag", "nightly", "--partial-every", "1s"]);
    traced.env_clear().envs(usual.get_envs().filter_map(|(name, value)| Some((name, value?))));
    traced.current_dir(world.dir.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut run = traced.process_group(0).spawn().unwrap();
    let snapshots = world.path("repo/snapshots");
    let is_temporary = |file: &std::fs::DirEntry| file.file_name().to_string_lossy().starts_with('.');
    let is_there = || {
        std::fs::read_dir(&snapshots).is_ok_and(|mut found| found.any(|file| !is_temporary(&file.unwrap())))
    };
    while !is_there() {
        assert_eq!(run.try_wait().unwrap(), None, "it came to its end");
        std::thread::sleep(Duration::from_millis(1));
    }
    kill_process_group(Pid::from_child(&run), Signal::KILL).unwrap();
    run.wait().unwrap();
    let left = world.repo(["snapshots", "--json"]).expect_code(0).json()["snapshots"].clone();
    let [partial] = left.as_array().unwrap().as_slice() else { panic!("{left}") };
    partial.clone()
}

#[test]
fn a_killed_backup_leaves_a_partial_snapshot_that_the_next_one_completes() {
    let world = world();
    for n in 0..40_u64 {
        std::fs::write(world.path(&format!("live/a/{n}")), recoup_testkit::tree::noise(n, 1_500_000))
            .unwrap();
    }
    let partial = killed(&world);
    let id = partial["id"].as_str().unwrap();
    assert_eq!(partial["tags"], serde_json::json!(["nightly", "recoup-partial"]));

    // It is a snapshot like others, and is not taken for a complete one.
    world.repo(["check", "--read-data"]).expect_code(0);
    // Where nobody reaps the dead, restic takes them for living.
    world.restic(["unlock", "--remove-all", "--no-cache"]).expect_code(0);
    world.restic(["check", "--no-cache"]).expect_code(0);
    world.repo(["restore", "latest", "--target", "out"]).expect_code(1);
    let restored = world.repo(["restore", id, "--target", "out", "--json"]).expect_code(0).json();
    assert!(restored["findings"].as_array().unwrap().iter().any(|f| f["id"] == "W0479"), "{restored}");
    for shown in [vec!["ls", id], vec!["diff", id, id], vec!["dump", id, "/"]] {
        let ran = Ran::of(world.repo_command().args(&shown)).expect_code(0);
        assert!(ran.stderr.contains("W0479") || ran.stdout.contains("W0479"), "{shown:?}: {}", ran.stderr);
    }
    let refused = world.repo(["restore", id, "--target", "out", "--delete"]).expect_code(1);
    assert!(refused.stderr.contains("E0480"), "{}", refused.stderr);

    // Nobody makes a snapshot partial by hand, or whole.
    let marked = world.repo(["backup", "live", "--tag", "a,recoup-partial"]).expect_code(1);
    assert!(marked.stderr.contains("E0482"), "{}", marked.stderr);
    world.repo(["tag", "--set", "", id]).expect_code(1);

    let done = backup(&world, &["live", "--tag", "nightly", "--parent", id, "--dry-run"]);
    assert_eq!((&done["resumed"], &done["snapshot"]), (&Value::Null, &Value::Null));
    let done = backup(&world, &["live", "--tag", "nightly"]);
    assert_eq!(done["resumed"], id);
    assert!(done["files_adopted"].as_u64().unwrap() > 0, "{done}");
    let left = world.repo(["snapshots", "--json"]).expect_code(0).json();
    let left = left["snapshots"].as_array().unwrap();
    assert_eq!(left.iter().map(|s| &s["id"]).collect::<Vec<_>>(), [&done["snapshot"]]);
    world.repo(["restore", "latest", "--target", "whole", "--verify"]).expect_code(0);
    world.restic(["check", "--read-data", "--no-cache"]).expect_code(0);
}

#[test]
fn row_060_a_clock_that_is_two_years_behind_is_noticed_and_nothing_is_lost() {
    let world = world();
    let warned = |world: &World, args: &[&str]| {
        let saved =
            Ran::of(world.repo_command().args(["backup", "live", "--json"]).args(args)).expect_code(0).json();
        saved["findings"].as_array().unwrap().iter().any(|finding| finding["id"] == "W0497")
    };
    let hours = |hours: i64| (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours)).to_string();
    assert!(!warned(&world, &[]));
    assert!(!warned(&world, &["--time", &hours(17_520)]), "whoever gives the time knows");
    assert!(warned(&world, &[]), "seen from the last one, this clock is two years behind");
    assert!(!warned(&world, &["--host", "elsewhere"]), "another place");
    assert!(!warned(&world, &["--time", &hours(-17_520)]));
    let listed = world.repo(["snapshots", "--json"]).expect_code(0).json();
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 5);
    // No policy takes it for the newest either.
    assert!(world.repo(["forget", "--keep-last", "1"]).expect_code(1).stderr.contains("E0475"));
}
