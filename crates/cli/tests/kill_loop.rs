//! Random SIGKILLs during `recoup repo backup` of a tree that changes meanwhile, and during `recoup repo
//! prune` after forgetting. No completed snapshot is lost but those that were forgotten, the next run needs no
//! help, and stock restic checks the result clean. 20 kills of each by default, 500 with `RECOUP_TEST_FULL=1`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests touch the world"
)]

mod common;

use common::{World, full, seed};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[test]
fn killed_backups_lose_nothing_that_was_complete() {
    let mut rng = StdRng::seed_from_u64(seed());
    let kills = if full() { 500 } else { 20 };
    let world = World::with_repository();
    let (kept, churn) = (world.path("tree/kept"), world.path("tree/churn"));
    std::fs::create_dir_all(&kept).unwrap();
    std::fs::create_dir_all(&churn).unwrap();
    let mut completed: BTreeMap<String, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
    for i in 0..40 {
        write_random(&kept.join(format!("f{i}")), &mut rng, 300_000);
    }
    let started = Instant::now();
    let first = world.repo(["backup", "tree", "--output", "json"]).expect_code(0).json();
    let whole_run = started.elapsed();
    completed.insert(first["snapshot"].as_str().unwrap().to_owned(), contents(&kept));

    let mut killed = 0;
    while killed < kills {
        for _ in 0..rng.random_range(1..6) {
            let name = format!("f{}", rng.random_range(0..60));
            write_random(&kept.join(name), &mut rng, 600_000);
        }
        let state = contents(&kept);
        let wait = whole_run.mul_f64(rng.random_range(0.0..2.5));
        match backup_and_kill(&world, &churn, wait, rng.random()) {
            None => killed += 1,
            Some(snapshot) => drop(completed.insert(snapshot, state)),
        }
    }
    let listed = world.repo(["snapshots", "--output", "json"]).expect_code(0).json();
    let ids: Vec<&str> =
        listed["snapshots"].as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap()).collect();
    for id in completed.keys() {
        assert!(ids.contains(&id.as_str()), "completed snapshot {id} is gone; there are {ids:?}");
    }
    world.repo(["backup", "tree"]).expect_code(0);
    world.restic(["check", "--read-data", "--no-cache"]).expect_code(0);
    // Killed runs may leave whole snapshots that were never acknowledged; restore what was.
    for (id, state) in completed.iter().rev().take(8) {
        let out = world.path(&format!("out-{}", &id[..8]));
        world.repo(["restore", id, "--target", out.to_str().unwrap()]).expect_code(0);
        let restored = find_dir(&out, "kept").expect("the folder is in the snapshot");
        assert_eq!(&contents(&restored), state, "snapshot {id}");
    }
    println!("{killed} kills, {} completed snapshots, none lost", completed.len());
}

#[test]
fn killed_prunes_lose_nothing_that_is_needed() {
    let mut rng = StdRng::seed_from_u64(seed());
    let kills = if full() { 500 } else { 20 };
    let world = World::with_repository();
    let kept = world.path("tree/kept");
    std::fs::create_dir_all(&kept).unwrap();
    for i in 0..30 {
        write_random(&kept.join(format!("f{i}")), &mut rng, 300_000);
    }
    let mut snapshots = Vec::new();
    let (mut killed, mut finished) = (0, 0);
    while killed < kills {
        for _ in 0..rng.random_range(1..6) {
            write_random(&kept.join(format!("f{}", rng.random_range(0..40))), &mut rng, 400_000);
        }
        let made = world.repo(["backup", "tree", "--output", "json"]).expect_code(0).json();
        snapshots.push((made["snapshot"].as_str().unwrap().to_owned(), contents(&kept)));
        if snapshots.len() > 3 {
            let (gone, _) = snapshots.remove(rng.random_range(0..2));
            world.repo(["forget", &gone]).expect_code(0);
        }
        let how: &[&str] = match rng.random_range(0..3) {
            0 => &["--keep-delete", "0s"],
            1 => &["--keep-delete", "1s"],
            _ => &["--instant-delete"],
        };
        let mut child = world
            .repo_command()
            .args(["prune", "--max-unused", "0"])
            .args(how)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(rng.random_range(0..900)));
        let _ = child.kill();
        let output = child.wait_with_output().unwrap();
        match output.status.code() {
            None => killed += 1,
            Some(code) => {
                assert_eq!(code, 0, "{}", String::from_utf8_lossy(&output.stderr));
                finished += 1;
            }
        }
    }
    for (id, state) in &snapshots {
        let out = world.path(&format!("out-{}", &id[..8]));
        world.repo(["restore", id, "--target", out.to_str().unwrap()]).expect_code(0);
        let restored = find_dir(&out, "kept").expect("the folder is in the snapshot");
        assert_eq!(&contents(&restored), state, "snapshot {id}");
    }
    world.repo(["prune", "--instant-delete", "--max-unused", "0"]).expect_code(0);
    world.restic(["check", "--read-data", "--no-cache"]).expect_code(0);
    println!("{killed} kills, {finished} finished prunes, {} snapshots whole", snapshots.len());
}

/// The snapshot if the run was faster than the kill.
fn backup_and_kill(world: &World, churn: &Path, wait: Duration, churn_seed: u64) -> Option<String> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut rng = StdRng::seed_from_u64(churn_seed);
            while !over.load(Ordering::Relaxed) {
                let path = churn.join(format!("c{}", rng.random_range(0..30)));
                if rng.random_bool(0.3) {
                    let _ = std::fs::remove_file(path);
                } else {
                    write_random(&path, &mut rng, 40_000);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let mut child = world
            .repo_command()
            .args(["backup", "tree", "--output", "json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(wait);
        let _ = child.kill();
        let output = child.wait_with_output().unwrap();
        over.store(true, Ordering::Relaxed);
        // A kill may fall into the answer: what was not said to its end is not a completed run.
        if output.status.code().is_none() && serde_json::from_slice::<Value>(&output.stdout).is_err() {
            return None;
        }
        let ran = common::Ran::from(output);
        // 3 is restic's "incomplete": the churn may take files away while they are read.
        assert!(matches!(ran.code, -1 | 0 | 3), "{}\n{}", ran.stdout, ran.stderr);
        Some(ran.json()["snapshot"].as_str().unwrap().to_owned())
    })
}

fn write_random(path: &Path, rng: &mut StdRng, bytes_max: usize) {
    let mut bytes = vec![0; rng.random_range(0..bytes_max)];
    rng.fill_bytes(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap())
        .map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap()))
        .collect()
}

fn find_dir(root: &Path, name: &str) -> Option<std::path::PathBuf> {
    if root.file_name().is_some_and(|n| n == name) {
        return Some(root.to_owned());
    }
    let entries = std::fs::read_dir(root).ok()?;
    entries.flatten().filter(|e| e.path().is_dir()).find_map(|e| find_dir(&e.path(), name))
}
