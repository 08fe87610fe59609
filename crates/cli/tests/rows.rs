//! Faults around one run of the binary: signals, limits, partial results, commands that must wait.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests touch the world"
)]

mod common;

use common::{Ran, World, recoup_binary};
use recoup_core::secret::Secret;
use recoup_repo::Limits;
use recoup_repo::locks::LockMode;
use recoup_repo::repository::Repository;
use recoup_store::local::Local;
use rustix::fs::{AtFlags, CWD, Mode, Timespec, Timestamps};
use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[test]
fn row_006_a_signal_ends_a_run_at_once_and_the_next_one_finds_no_obstacle() {
    let world = World::with_repository();
    std::fs::create_dir(world.path("data")).unwrap();
    std::fs::write(world.path("data/f"), "x").unwrap();
    for signal in [Signal::TERM, Signal::INT] {
        let mut command = world.repo_command();
        // The stream never ends, and says through a pipe when it began.
        let begun = world.path("begun");
        rustix::fs::mkfifoat(CWD, &begun, Mode::from_raw_mode(0o600)).unwrap();
        let script = "echo begun >begun; exec sleep 1000";
        command.args(["backup", "--stdin-from-command", "--", "sh", "-c", script]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        assert_eq!(std::fs::read_to_string(&begun).unwrap(), "begun\n");
        std::fs::remove_file(&begun).unwrap();
        let from = Instant::now();
        kill_process(Pid::from_child(&child), signal).unwrap();
        let code = child.wait().unwrap().code();
        assert!(from.elapsed() < Duration::from_secs(10), "{:?}", from.elapsed());
        assert_eq!(code, Some(130));
        world.repo(["backup", "data"]).expect_code(0);
        world.repo(["forget", "--keep-last", "1", "--prune"]).expect_code(0);
    }
    let listed = world.repo(["snapshots", "--json"]).expect_code(0).json();
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 1, "what was cut off left no snapshot");
    world.restic(["check", "--read-data", "--no-cache"]).expect_code(0);
}

#[test]
fn row_020_with_few_descriptors_a_run_is_whole_or_says_that_it_is_not() {
    let world = World::with_repository();
    for n in 0..300 {
        let dir = world.path("data").join(format!("d{}", n % 30)).join("deeper");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(format!("f{n}")), format!("content {n}")).unwrap();
    }
    for limit in [12, 16, 24, 40] {
        let script = format!("ulimit -n {limit}; exec \"$0\" repo backup data --json");
        let usual = world.command();
        let mut limited = Command::new("sh");
        limited.arg("-c").arg(script).arg(recoup_binary()).env_clear();
        limited.envs(usual.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let ran = Ran::of(limited.current_dir(world.dir.path()).stdin(Stdio::null()));
        println!("{limit} descriptors: exit code {}", ran.code);
        match ran.code {
            0 => {
                let _ = std::fs::remove_dir_all(world.path("out"));
                world.repo(["restore", "latest", "--target", "out"]).expect_code(0);
                let mut same = Command::new("diff");
                Ran::of(same.args(["-r", "data", "out/data"]).current_dir(world.dir.path())).expect_code(0);
            }
            3 => assert!(!ran.json()["errors"].as_array().unwrap().is_empty(), "{}", ran.stdout),
            code => assert!([1, 10].contains(&code) && !ran.stderr.is_empty(), "{code}: {}", ran.stderr),
        }
        world.repo(["check", "--read-data"]).expect_code(0);
    }
    world.repo(["backup", "data"]).expect_code(0);
}

/// `recoup repo backup data` with `inject` in place of the kernel's answer to some calls; what strace saw of them.
fn injected(world: &World, inject: &str) -> (Ran, String) {
    let usual = world.command();
    let mut traced = Command::new("strace");
    traced.args(["-f", "-qq", "-o", "trace", "-e"]).arg(format!("inject={inject}"));
    traced.arg(recoup_binary()).args(["repo", "backup", "data"]).env_clear();
    traced.envs(usual.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ran = Ran::of(traced.current_dir(world.dir.path()).stdin(Stdio::null()));
    let trace = std::fs::read_to_string(world.path("trace")).unwrap();
    (ran, trace.lines().filter(|line| line.contains("INJECTED")).collect::<Vec<_>>().join("\n"))
}

/// The store fails in the middle of a backup as `calls` says: no snapshot claims what is not durable, nothing
/// that was there is harmed, and the next run is whole.
fn the_store_fails(calls: &str, error: &str, word: &str) {
    let world = World::with_repository();
    std::fs::create_dir(world.path("data")).unwrap();
    std::fs::write(world.path("data/before"), "before").unwrap();
    world.repo(["backup", "data"]).expect_code(0);
    let snapshots = |world: &World| std::fs::read_dir(world.path("repo/snapshots")).unwrap().count();
    let mut failed = 0;
    // Each thread counts its own calls: the one call, or it and all after it.
    for when in ["1", "3", "1+"] {
        std::fs::write(world.path("data/now"), format!("run {when}")).unwrap();
        let before = snapshots(&world);
        let (ran, seen) = injected(&world, &format!("{calls}:error={error}:when={when}"));
        if seen.is_empty() {
            continue;
        }
        if ran.code == 0 {
            // Written again, to another file.
            let now = world.repo(["dump", "latest", "/data/now"]).expect_code(0);
            assert_eq!(now.stdout, format!("run {when}"), "{seen}");
        } else {
            failed += 1;
            assert!(ran.stderr.contains(word), "{seen}\n{}", ran.stderr);
        }
        // The name of the snapshot may have been there before its directory could not be made durable.
        assert!(snapshots(&world) <= before + 1, "{seen}");
        world.repo(["check", "--read-data"]).expect_code(0);
        let latest = world.repo(["dump", "latest", "/data/before"]).expect_code(0);
        assert_eq!(latest.stdout, "before");
        world.repo(["unlock", "--remove-all"]);
    }
    assert!(failed >= 1, "{calls} never failed for good");
    std::fs::write(world.path("data/now"), "at last").unwrap();
    world.repo(["backup", "data"]).expect_code(0);
    assert_eq!(world.repo(["dump", "latest", "/data/now"]).expect_code(0).stdout, "at last");
    world.restic(["check", "--read-data", "--no-cache"]).expect_code(0);
}

#[test]
fn row_012_what_one_fsync_did_not_take_is_not_claimed_though_the_next_one_succeeds() {
    the_store_fails("fsync,fdatasync", "EIO", "nput/output error");
}

#[test]
fn row_013_a_name_that_cannot_be_given_is_a_failed_write() {
    the_store_fails("rename,renameat,renameat2,linkat", "EIO", "nput/output error");
}

#[test]
fn row_023_a_used_up_quota_is_called_a_quota() {
    the_store_fails("fsync,fdatasync", "EDQUOT", "the quota is used up");
}

/// The state directory is where the ledger of checks and the journal of restores would go.
#[test]
fn row_022_a_full_disk_under_the_local_state_stops_no_backup_and_no_check() {
    let Some(disk) = recoup_testkit::disk::Small::mount(64 << 10) else { return };
    let world = World::with_repository();
    std::fs::create_dir(world.path("data")).unwrap();
    std::fs::write(world.path("data/f"), "content").unwrap();
    // As full as it can be.
    let _full = std::fs::write(disk.path().join("filler"), vec![1; 128 << 10]);
    let here = |args: &[&str]| {
        let mut command = world.repo_command();
        Ran::of(command.env("RECOUP_STATE_DIR", disk.path().join("state")).args(args))
    };
    here(&["backup", "data"]).expect_code(0);
    here(&["check", "--read-data"]).expect_code(0);
    here(&["restore", "latest", "--target", "out"]).expect_code(0);
    assert_eq!(std::fs::read_to_string(world.path("out/data/f")).unwrap(), "content");
}

/// The time of the last change of the inode cannot be set back.
#[test]
fn row_041_a_change_that_keeps_size_and_time_is_seen() {
    let world = World::with_repository();
    std::fs::create_dir(world.path("data")).unwrap();
    let path = world.path("data/f");
    std::fs::write(&path, "before").unwrap();
    world.repo(["backup", "data"]).expect_code(0);
    let meta = std::fs::metadata(&path).unwrap();
    std::fs::write(&path, "after!").unwrap();
    let time = Timespec { tv_sec: meta.mtime(), tv_nsec: meta.mtime_nsec() };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty()).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().mtime_nsec(), meta.mtime_nsec());
    world.repo(["backup", "data"]).expect_code(0);
    assert_eq!(world.repo(["dump", "latest", "/data/f"]).expect_code(0).stdout, "after!");
}

#[test]
fn trap_12_a_command_is_started_only_when_the_repository_is_ready_for_its_output() {
    let world = World::with_repository();
    let marked = |world: &World| {
        let script = "echo started >started; ls repo/locks | wc -l >locks; echo output";
        let ran = world.repo(["backup", "--stdin-from-command", "--", "sh", "-c", script]);
        let is_started = world.path("started").exists();
        let _ = std::fs::remove_file(world.path("started"));
        (ran, is_started)
    };
    let (ran, is_started) = marked(&world);
    ran.expect_code(0);
    assert!(is_started);
    assert_eq!(std::fs::read_to_string(world.path("locks")).unwrap().trim(), "1", "the lock is held by then");
    // Somebody has the repository alone: the database must not be asked for a dump that nobody takes.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let guard = runtime.block_on(async {
        let store = Arc::new(Local::new(world.path("repo")));
        let password = Secret::new(std::fs::read(world.path("password")).unwrap());
        let env = recoup_testkit::env::real();
        let repository = Repository::open(store, &password, Limits::default(), &env).await.unwrap();
        repository.lock(LockMode::Exclusive).await.unwrap()
    });
    let (ran, is_started) = marked(&world);
    ran.expect_code(11);
    assert!(!is_started);
    runtime.block_on(guard.release()).unwrap();
    // A wrong password.
    std::fs::write(world.path("password"), "wrong").unwrap();
    let (ran, is_started) = marked(&world);
    ran.expect_code(12);
    assert!(!is_started);
}

#[test]
fn trap_14_an_incomplete_backup_says_so_to_programs_in_every_way() {
    let world = World::with_repository();
    std::fs::create_dir(world.path("data")).unwrap();
    std::fs::write(world.path("data/f"), "x").unwrap();
    let whole = world.repo(["backup", "data", "--json"]).expect_code(0).json();
    assert_eq!((whole["outcome"].as_str(), whole["code"].as_u64()), (Some("pass"), Some(0)));
    assert!(whole["errors"].as_array().unwrap().is_empty());
    // One source of two is missing: it is neither thrown away nor called whole.
    let partial = world.repo(["backup", "data", "missing", "--json"]).expect_code(3).json();
    assert_eq!(
        (partial["outcome"].as_str(), partial["code"].as_u64()),
        (Some("partial"), Some(3)),
        "{partial}"
    );
    let errors = partial["errors"].as_array().unwrap();
    assert_eq!(errors[0]["path"], "missing");
    assert!(errors.len() == 1 && errors[0]["error"].as_str().unwrap().contains("missing"), "{partial}");
    let id = partial["snapshot"].as_str().expect("it is kept");
    world.repo(["restore", id, "--target", "out"]).expect_code(0);
    assert_eq!(std::fs::read_to_string(world.path("out/data/f")).unwrap(), "x");
}
