//! The audit log through the real binary: what is in it, what is not, and who touched it (fault row 170).
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests touch the world")]

mod common;

use common::{Ran, World};
use rusqlite::Connection;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

const ROW: &str = "canary-row-4f1c02aa";
const CONTENT: &str = "canary-content-77d1";

/// A small project with a recoup.toml, whose signing key `recoup init` made.
fn project(world: &World) -> PathBuf {
    let project = world.path("project");
    fs::create_dir_all(project.join("media")).unwrap();
    let db = Connection::open(project.join("app.sqlite3")).unwrap();
    db.execute_batch("create table orders(id integer primary key, what text);").unwrap();
    db.execute("insert into orders(what) values (?1)", [ROW]).unwrap();
    fs::write(project.join("media/a.txt"), CONTENT).unwrap();
    run(world, &project, &["init", "--path", world.path("copies").to_str().unwrap()]).expect_code(0);
    project
}

fn run(world: &World, project: &Path, args: &[&str]) -> Ran {
    Ran::of(world.command().arg("-C").arg(project).args(args))
}

fn log_file(world: &World) -> PathBuf {
    world.path("state/project/audit/log.jsonl")
}

/// The public key, as recoup.toml has it.
fn signer(project: &Path) -> String {
    let config = fs::read_to_string(project.join("recoup.toml")).unwrap();
    let line = config.lines().find(|line| line.starts_with("signers")).unwrap();
    line.split('"').nth(1).unwrap().to_owned()
}

/// Event, phase and outcome of every record that these options show.
fn events(world: &World, project: &Path, options: &[&str]) -> Vec<String> {
    let args = [&["audit", "log", "--output", "json"], options].concat();
    let shown = run(world, project, &args).expect_code(0).json();
    assert_eq!((shown["schema"].as_str(), shown["kind"].as_str()), (Some("recoup/1"), Some("audit log")));
    let word = |r: &Value| {
        let parts =
            ["event", "phase", "outcome"].map(|field| r[field].as_str().unwrap_or_default().to_owned());
        parts.iter().filter(|p| !p.is_empty()).cloned().collect::<Vec<_>>().join(" ")
    };
    shown["records"].as_array().unwrap().iter().map(word).collect()
}

/// A backup, an accident and the way back. Gives the name of the restore.
fn the_whole_way(world: &World, project: &Path) -> String {
    run(world, project, &["backup"]).expect_code(0);
    let restored = run(world, project, &["restore", "--output", "json"]).expect_code(0).json();
    let (name, confirm) = (restored["restore"].as_str().unwrap(), restored["confirm"].as_str().unwrap());
    run(world, project, &["promote", name, "--confirm", "zzzz"]).expect_code(5);
    run(world, project, &["promote", name, "--confirm", confirm]).expect_code(0);
    run(world, project, &["rollback", name]).expect_code(0);
    name.to_owned()
}

#[test]
fn every_event_stands_in_the_log_in_its_order() {
    let world = World::new();
    let project = project(&world);
    let name = the_whole_way(&world, &project);
    run(&world, &project, &["verify"]).expect_code(0);
    let drilled = run(&world, &project, &["drill", "--output", "json"]).json();
    run(&world, &project, &["keys", "sheet"]).expect_code(0);
    run(&world, &project, &["keys", "sheet", "--with-secret"]).expect_code(0);
    run(&world, &project, &["keys", "confirm"]).expect_code(0);
    let drill = format!("drill {}", drilled["outcome"].as_str().unwrap());
    let expected = [
        "log",
        "backup pass",
        "restore intent",
        "restore result pass",
        "refusal refused",
        "promote intent",
        "promote result pass",
        "rollback intent",
        "rollback result pass",
        "verify pass",
        &drill,
        "key-use",
        "key-use",
    ];
    assert_eq!(events(&world, &project, &[]), expected);
    assert_eq!(events(&world, &project, &["--event", "key-use", "-n", "1"]), ["key-use"]);
    assert_eq!(
        events(&world, &project, &["--since", "yesterday 00:00", "--event", "verify"]),
        ["verify pass"]
    );
    assert!(events(&world, &project, &["--actor", "nobody-here"]).is_empty());

    let text = run(&world, &project, &["audit", "log"]).expect_code(0).stdout;
    assert!(text.contains(&name) && text.contains("E0611") && text.contains("begins"), "{text}");
    run(&world, &project, &["audit", "log", "--event", "chat"]).expect_code(2);
    run(&world, &project, &["audit", "log", "--since", "latest"]).expect_code(2);
    // Verbs that only look are refused with a trace as well.
    let other = world.path("other");
    fs::rename(world.path("copies"), &other).unwrap();
    let password = fs::read_to_string(project.join("recoup.toml")).unwrap();
    let password = password.lines().find(|l| l.starts_with("password")).unwrap();
    let password = world.path(password.split('"').nth(1).unwrap().trim_start_matches("~/"));
    let mut init = world.repo_command();
    init.env("RESTIC_REPOSITORY", world.path("copies")).env("RESTIC_PASSWORD_FILE", password).arg("init");
    Ran::of(&mut init).expect_code(0);
    run(&world, &project, &["keys", "confirm"]).expect_code(5);
    let last = run(&world, &project, &["audit", "log", "-n", "1", "--output", "json"]).json();
    let last = &last["records"][0];
    assert_eq!(
        (last["event"].as_str(), last["details"]["verb"].as_str()),
        (Some("refusal"), Some("keys-confirm"))
    );
    assert_eq!(last["details"]["fault"]["code"], "E0643");
    assert!(!world.path("copies/recoup").exists(), "nothing is copied to the repository of something else");
}

#[test]
fn row_170_an_edited_byte_is_named_with_its_record_by_the_public_key_alone() {
    let world = World::new();
    let project = project(&world);
    the_whole_way(&world, &project);
    let file = world.path("audit.jsonl");
    let file = file.to_str().unwrap();
    run(&world, &project, &["audit", "export", "--write", file]).expect_code(0);
    let signer = signer(&project);
    // Elsewhere: no recoup.toml, no state, no repository.
    let elsewhere = World::new();
    let args = ["audit", "verify", "--output", "json", "--signer", signer.as_str(), "--file"];
    let check = |file: &str| Ran::of(elsewhere.command().args(args).arg(file));
    let whole = check(file).expect_code(0).json();
    assert_eq!((whole["records"].as_u64(), whole["signed"].as_u64()), (Some(9), Some(9)));
    assert_eq!(whole["outcome"], "pass");

    let bytes = fs::read(file).unwrap();
    let touched = world.path("touched.jsonl");
    let touched = touched.to_str().unwrap();
    for place in (0..bytes.len()).step_by(bytes.len() / 60) {
        let number = bytes[..place].iter().filter(|b| **b == b'\n').count() + 1;
        let mut edited = bytes.clone();
        edited[place] ^= 2;
        fs::write(touched, edited).unwrap();
        let found = check(touched).expect_code(1).json();
        assert_eq!(found["wrong"].as_u64(), Some(number as u64), "byte {place}");
        let finding = &found["findings"][0];
        assert_eq!(finding["id"], "R0130");
        assert!(finding["message"].as_str().unwrap().contains(&format!("record {number} ")), "{finding}");
    }
    // Whoever has no key cannot write it anew, and another key is a stranger's.
    let stranger = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICw/cZbYHBYXCnvlHPdRcz9VWG3ovkFfJLM6Q0qHiJGp";
    let wrong = ["audit", "verify", "--file", file, "--signer", stranger];
    let strange = Ran::of(elsewhere.command().args(wrong)).expect_code(1);
    assert!(
        strange.stdout.contains("record 1 was sealed with a key that nobody here trusts"),
        "{}",
        strange.stdout
    );
    // Without a key hashes are compared, and nothing is proven.
    let unknown = Ran::of(elsewhere.command().args(["audit", "verify", "--file", file])).expect_code(3);
    assert!(unknown.stdout.contains("unsigned: only accidents can be seen"), "{}", unknown.stdout);
    Ran::of(elsewhere.command().args(["audit", "verify", "--file", "no-such-file"])).expect_code(3);
    Ran::of(elsewhere.command().args(["audit", "verify", "--file", file, "--signer", "nonsense"]))
        .expect_code(2);
}

#[test]
fn row_170_a_dropped_tail_is_found_by_the_copy_at_a_location() {
    let world = World::new();
    let project = project(&world);
    the_whole_way(&world, &project);
    let verified = run(&world, &project, &["audit", "verify"]).expect_code(0);
    assert!(verified.stdout.contains("copy     local: the same"), "{}", verified.stdout);
    let log = fs::read_to_string(log_file(&world)).unwrap();
    let kept: Vec<&str> = log.split_inclusive('\n').take(5).collect();
    fs::write(log_file(&world), kept.concat()).unwrap();
    let cut = run(&world, &project, &["audit", "verify", "--output", "json"]).expect_code(1).json();
    assert_eq!((cut["records"].as_u64(), cut["findings"][0]["id"].as_str()), (Some(5), Some("R0131")));
    assert!(cut["findings"][0]["message"].as_str().unwrap().contains("records 6 to 9 are gone"), "{cut:#}");
    assert_eq!(cut["copies"][0]["state"], "ahead");
    // The next record takes them over, and says so.
    run(&world, &project, &["verify"]).expect_code(0);
    assert!(fs::read_to_string(log_file(&world)).unwrap().starts_with(&log));
    assert_eq!(events(&world, &project, &["-n", "2"]), ["log", "verify pass"]);
    run(&world, &project, &["audit", "verify"]).expect_code(0);
}

#[test]
fn no_secret_no_row_and_no_content_gets_into_the_log() {
    let world = World::new();
    let project = project(&world);
    the_whole_way(&world, &project);
    run(&world, &project, &["keys", "sheet", "--with-secret"]).expect_code(0);
    run(&world, &project, &["verify", "--read-data"]).expect_code(0);
    run(&world, &project, &["drill"]);
    // A source that cannot be captured, with an error that quotes what it met.
    fs::write(project.join("app.sqlite3"), format!("no database, {ROW}")).unwrap();
    run(&world, &project, &["backup"]);
    let config = fs::read_to_string(project.join("recoup.toml")).unwrap();
    let secret = |name: &str| {
        let line = config.lines().find(|line| line.starts_with(name)).unwrap();
        let file = world.path(line.split('"').nth(1).unwrap().trim_start_matches("~/"));
        fs::read_to_string(file).unwrap()
    };
    let (password, signing) = (secret("password"), secret("signing "));
    let key = signing.lines().nth(2).unwrap();
    let exported = run(&world, &project, &["audit", "export"]).expect_code(0).stdout;
    let shown = run(&world, &project, &["audit", "log"]).expect_code(0).stdout;
    assert!(exported.lines().count() > 12, "{exported}");
    for text in [exported, shown, everything_below(&world.path("copies/recoup/audit"))] {
        assert!(!text.is_empty());
        for canary in [ROW, CONTENT, password.trim(), key] {
            assert!(!text.contains(canary), "{canary} is in {text}");
        }
    }
}

#[test]
fn holds_and_deletions_are_written_down_before_they_are_stated() {
    let world = World::new();
    let project = project(&world);
    for n in 0..3 {
        fs::write(project.join("media/a.txt"), format!("version {n}")).unwrap();
        run(&world, &project, &["backup"]).expect_code(0);
    }
    run(&world, &project, &["hold", "add", "latest", "--reason", "the auditor asked"]).expect_code(0);
    run(&world, &project, &["hold", "release", "latest", "--reason", "it is over"]).expect_code(0);
    let file = project.join("recoup.toml");
    let config = fs::read_to_string(&file).unwrap();
    let lines = config.lines().filter(|line| !line.starts_with("retain"));
    let policy = |line: &str| if line.starts_with("[class.") { "\nretain = { min = 1 }" } else { "" };
    let edited: Vec<String> = lines.map(|line| format!("{line}{}", policy(line))).collect();
    fs::write(&file, edited.join("\n")).unwrap();
    let shown = run(&world, &project, &["retention", "apply", "--dry-run", "--output", "json"]).json();
    let hash = shown["hash"].as_str().unwrap();
    run(&world, &project, &["retention", "apply"]).expect_code(5);
    run(&world, &project, &["retention", "apply", "--confirm", &hash[..8]]).expect_code(0);
    let expected =
        ["hold", "hold", "configuration", "refusal refused", "deletion intent", "deletion result pass"];
    assert_eq!(events(&world, &project, &["-n", "6"]), expected);
    let text = run(&world, &project, &["audit", "log", "-n", "6"]).expect_code(0).stdout;
    assert!(text.contains("because: the auditor asked") && text.contains("hold-release"), "{text}");
    run(&world, &project, &["audit", "verify"]).expect_code(0);
}

fn everything_below(folder: &Path) -> String {
    let read = |path: PathBuf| {
        if path.is_dir() { everything_below(&path) } else { fs::read_to_string(path).unwrap() }
    };
    fs::read_dir(folder).unwrap().map(|entry| read(entry.unwrap().path())).collect()
}
