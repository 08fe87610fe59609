//! The verbs through the real binary: the whole way, exit codes, interruptions, and no secret anywhere.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests touch the world")]

mod common;

use common::{Ran, World};
use rusqlite::Connection;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

/// A small project that is no Django project: a database, uploads, and an old dump.
fn project(world: &World, upload_bytes: usize) -> PathBuf {
    let project = world.path("project");
    fs::create_dir_all(project.join("media")).unwrap();
    let db = Connection::open(project.join("app.sqlite3")).unwrap();
    db.execute_batch("pragma journal_mode=wal; create table orders(id integer primary key, what text);")
        .unwrap();
    for i in 0..500 {
        db.execute("insert into orders(what) values (?1)", [format!("order {i}")]).unwrap();
    }
    drop(db);
    let mut seed = 1_u64;
    for n in 0..4 {
        let mut bytes = Vec::with_capacity(upload_bytes);
        while bytes.len() < upload_bytes {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            bytes.extend_from_slice(&seed.to_le_bytes());
        }
        fs::write(project.join(format!("media/{n}.bin")), bytes).unwrap();
    }
    project
}

fn run(world: &World, project: &Path, args: &[&str]) -> Ran {
    Ran::of(world.command().arg("-C").arg(project).args(args))
}

/// With a recoup.toml and one point.
fn with_point(world: &World, upload_bytes: usize) -> PathBuf {
    let project = project(world, upload_bytes);
    let copies = world.path("copies");
    run(world, &project, &["init", "--path", copies.to_str().unwrap()]).expect_code(0);
    run(world, &project, &["backup"]).expect_code(0);
    project
}

fn orders(project: &Path) -> i64 {
    let db = Connection::open(project.join("app.sqlite3")).unwrap();
    db.query_row("select count(*) from orders", [], |row| row.get(0)).unwrap()
}

#[test]
fn the_whole_way_without_a_secret_in_any_output() {
    let world = World::new();
    let project = project(&world, 300_000);
    let copies = world.path("copies");
    let mut said = vec![run(&world, &project, &["init", "--path", copies.to_str().unwrap()]).expect_code(0)];
    let again = run(&world, &project, &["init"]).expect_code(5);
    assert!(again.stderr.contains("E0116"), "{}", again.stderr);
    said.push(again);
    let made = run(&world, &project, &["backup", "--output", "json"]).expect_code(0);
    let report = made.json();
    assert_eq!((report["schema"].as_str(), report["outcome"].as_str()), (Some("recoup/1"), Some("pass")));
    assert_eq!(report["sources"].as_array().unwrap().len(), 2, "{report:#}");
    said.push(made);

    Connection::open(project.join("app.sqlite3"))
        .unwrap()
        .execute("delete from orders where id > 10", [])
        .unwrap();
    fs::remove_file(project.join("media/2.bin")).unwrap();
    let restored = run(&world, &project, &["restore", "--output", "json"]).expect_code(0);
    let report = restored.json();
    assert_eq!(report["state"], "proved");
    assert_eq!(orders(&project), 10, "a restore does not touch live data");
    let (name, confirm) = (report["restore"].as_str().unwrap(), report["confirm"].as_str().unwrap());
    said.push(run(&world, &project, &["promote", name]).expect_code(5));
    said.push(run(&world, &project, &["promote", name, "--confirm", confirm]).expect_code(0));
    assert_eq!(orders(&project), 500);
    assert!(project.join("media/2.bin").exists());
    said.push(run(&world, &project, &["rollback", name]).expect_code(0));
    assert_eq!(orders(&project), 10);
    said.push(restored);
    for args in [
        &["points"][..],
        &["points", "--output", "json"],
        &["show", "latest"],
        &["show", name],
        &["verify", "--read-data"],
        &["config", "show", "--origin"],
        &["config", "schema"],
        &["keys", "sheet"],
        &["keys", "confirm"],
        &["export", "systemd"],
        &["export", "cron"],
        &["explain"],
        &["explain", "E0411"],
        &["completions", "bash"],
        &["man"],
    ] {
        said.push(run(&world, &project, args).expect_code(0));
    }
    // Both give an opinion about the host and the contract; what they say is tested elsewhere.
    said.push(run(&world, &project, &["status", "--output", "json"]));
    said.push(run(&world, &project, &["doctor", "-v"]));
    let config = fs::read_to_string(project.join("recoup.toml")).unwrap();
    let password = fs::read_to_string(world.dir.path().join(password_file(&config))).unwrap();
    let with_secret = run(&world, &project, &["keys", "sheet", "--with-secret"]).expect_code(0);
    assert!(with_secret.stdout.contains(password.trim()), "asked for, it stands there");
    for ran in &said {
        assert!(!ran.stdout.contains(password.trim()), "{}", ran.stdout);
        assert!(!ran.stderr.contains(password.trim()), "{}", ran.stderr);
    }
    assert!(!config.contains(password.trim()));
    assert_no_file_has(&world.path("state"), password.trim());
}

/// `file = "~/..."` of `[keys]`; the home directory of a test is its world.
fn password_file(config: &str) -> String {
    let line = config.lines().find(|l| l.starts_with("password")).expect("keys are declared");
    let path = line.split('"').nth(1).expect("the path is quoted");
    path.trim_start_matches("~/").to_owned()
}

fn assert_no_file_has(dir: &Path, secret: &str) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        if entry.path().is_dir() {
            assert_no_file_has(&entry.path(), secret);
        } else {
            let text = String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned();
            assert!(!text.contains(secret), "{}", entry.path().display());
        }
    }
}

#[test]
fn wrong_words_are_told_before_anything_is_attempted() {
    let world = World::new();
    let empty = world.path("empty");
    fs::create_dir(&empty).unwrap();
    let none = run(&world, &empty, &["backup"]).expect_code(2);
    assert!(none.stderr.contains("E0100"), "{}", none.stderr);
    run(&world, Path::new("/no/such/folder"), &["status"]).expect_code(2);
    run(&world, &empty, &["explain", "E9999"]).expect_code(2);
    run(&world, &empty, &["bakup"]).expect_code(2);

    let project = with_point(&world, 1000);
    let file = project.join("recoup.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replacen("\nversion", "\nversoin", 1)).unwrap();
    let wrong = run(&world, &project, &["backup", "--output", "json"]).expect_code(2);
    assert!(wrong.stderr.contains("recoup.toml:"), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("version"), "the nearest name is offered: {}", wrong.stderr);
    assert_eq!(wrong.json()["code"], 2);
    fs::write(&file, text).unwrap();
    run(&world, &project, &["promote", "R0"]).expect_code(3);
    run(&world, &project, &["restore", "--at", "the day before"]).expect_code(2);
}

#[test]
fn row_133_an_interrupted_restore_says_how_to_go_on() {
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::KILL] {
        let world = World::new();
        let project = with_point(&world, 12_000_000);
        let (mut child, name) = until_resumable(&world, &project);
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, signal).unwrap();
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        let status = child.wait().unwrap();
        if signal == rustix::process::Signal::INT {
            assert_eq!(status.code(), Some(6), "{stderr}");
            assert_eq!(stderr.lines().last(), Some(format!("recoup resume {name}").as_str()));
        }
        let seen = run(&world, &project, &["status", "--output", "json"]).json();
        let waiting = &seen["restores"][0];
        assert_eq!(
            (waiting["restore"].as_str(), waiting["state"].as_str()),
            (Some(name.as_str()), Some("interrupted"))
        );
        let resumed = run(&world, &project, &["resume", &name, "--output", "json"]).expect_code(0).json();
        assert_eq!(resumed["state"], "proved", "{resumed:#}");
    }
}

/// A restore that has just begun to fetch, with its name.
fn until_resumable(world: &World, project: &Path) -> (Child, String) {
    let mut child = world
        .command()
        .arg("-C")
        .arg(project)
        .args(["restore", "--output", "jsonl"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut name = String::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        if text("event") == "checkpoint" && text("stage") == "resume" {
            name = text("message").split(' ').next_back().unwrap().to_owned();
        }
        if text("event") == "stage.start" && text("stage") == "fetch" && text("address").ends_with("media") {
            break;
        }
    }
    assert!(!name.is_empty(), "the restore never said how to resume it");
    (child, name)
}

#[test]
fn a_drill_on_a_host_that_cannot_isolate_ends_with_3_and_is_no_pass() {
    let world = World::new();
    let project = with_point(&world, 1000);
    let file = project.join("recoup.toml");
    let text =
        fs::read_to_string(&file).unwrap().replace("level = \"rehydrated\"", "level = \"application\"");
    let service = "\n[service.web]\nneeds = [\"db\"]\ndrill = { start = [\"python3\", \"-m\", \"http.server\", \"8123\"], \
                   health = { http = \"http://127.0.0.1:8123/\", within = \"10s\" } }\n";
    fs::write(&file, text + service).unwrap();
    // A user namespace in which no mount namespace may be made.
    let mut command = std::process::Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "sh", "-c"])
        .arg("echo 0 > /proc/sys/user/max_mnt_namespaces; exec \"$0\" -C \"$1\" drill --output json")
        .arg(common::recoup_binary())
        .arg(&project)
        .env("HOME", world.dir.path())
        .env("RECOUP_STATE_DIR", world.path("state"))
        .env_remove("RECOUP_CONFIG")
        .stdin(Stdio::null());
    let report = Ran::of(&mut command).expect_code(3).json();
    assert_eq!(report["outcome"], "unknown", "{report:#}");
    assert!(report["level"].is_null() || report["level"] == "rehydrated", "{report:#}");
    let checks = report["not_run"].as_array().unwrap();
    assert!(checks.iter().any(|c| c["check"] == "application"), "{report:#}");
}
