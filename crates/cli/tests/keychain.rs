//! The key chain through the real binary: a kit that is proven from an empty folder without any environment, what
//! is told when something is wrong, and no secret anywhere it was not asked for.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests touch the world")]

mod common;

use common::{Ran, World, recoup_binary};
use rusqlite::Connection;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// An application with two locations and one point.
fn project(world: &World, keys: &str) -> PathBuf {
    let project = world.path("project");
    fs::create_dir_all(project.join("media")).unwrap();
    let db = Connection::open(project.join("app.sqlite3")).unwrap();
    db.execute_batch(
        "create table orders(id integer primary key, what text); insert into orders values (1, 'tea');",
    )
    .unwrap();
    drop(db);
    fs::write(project.join("media/a.txt"), "a picture").unwrap();
    let copies = world.path("copies");
    run(world, &project, &["init", "--path", copies.to_str().unwrap()]).expect_code(0);
    let file = project.join("recoup.toml");
    let text = fs::read_to_string(&file).unwrap().replace("\n[keys]\n", &format!("\n[keys]\n{keys}"));
    let far = "\n[location.far]\nkind = \"local\"\npath = \"../far\"\nfailure_domain = \"elsewhere\"\n";
    fs::write(&file, text + far).unwrap();
    run(world, &project, &["backup"]).expect_code(0);
    project
}

fn run(world: &World, project: &Path, args: &[&str]) -> Ran {
    Ran::of(world.command().arg("-C").arg(project).args(args))
}

/// `env -i recoup ARGS` in a folder that has nothing.
fn bare(world: &World, args: &[&str]) -> Ran {
    let empty = world.path("empty");
    fs::create_dir_all(&empty).unwrap();
    let mut command = Command::new("env");
    let ran =
        Ran::of(command.arg("-i").arg(recoup_binary()).args(args).current_dir(&empty).stdin(Stdio::null()));
    assert_eq!(fs::read_dir(&empty).unwrap().count(), 0, "it left something behind");
    ran
}

fn password_file(world: &World, project: &Path) -> PathBuf {
    let config = fs::read_to_string(project.join("recoup.toml")).unwrap();
    let line = config.lines().find(|l| l.starts_with("password")).expect("keys are declared");
    world.path(line.split('"').nth(1).expect("the path is quoted").trim_start_matches("~/"))
}

fn kit(world: &World, project: &Path, folder: &str, more: &[&str]) -> PathBuf {
    let folder = world.path(folder);
    let mut args = vec!["keys", "kit", "--write", folder.to_str().unwrap()];
    args.extend(more);
    run(world, project, &args).expect_code(0);
    folder
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn a_kit_is_proven_from_an_empty_folder_without_any_environment() {
    let world = World::new();
    let project = project(&world, "");
    let folder = kit(&world, &project, "kit", &["--with-secret"]);
    let (paper, secret) = (folder.join("kit.txt"), folder.join("secret.txt"));
    let (paper, secret) = (paper.to_str().unwrap(), secret.to_str().unwrap());
    let ran = bare(&world, &["keys", "prove", "--kit", paper, "--secret", secret, "--output", "json"])
        .expect_code(0);
    let report = ran.json();
    assert_eq!((report["outcome"].as_str(), report["kind"].as_str()), (Some("pass"), Some("keys prove")));
    let locations = report["locations"].as_array().unwrap();
    assert_eq!(locations.len(), 2);
    for at in locations {
        let files = at["points"][0]["files"].as_array().unwrap();
        assert_eq!(files.len(), 2, "{at:#}");
        assert!(files.iter().all(|f| f["sha256"].as_str().unwrap().len() == 64));
    }
    assert_eq!(report["remembered"], false);
    // The page says the same, and the secret part beside it is found.
    bare(&world, &["keys", "prove", "--kit", folder.join("kit.html").to_str().unwrap()]).expect_code(0);
    let ran = run(&world, &project, &["keys", "prove", "--kit", paper]).expect_code(0);
    assert!(ran.stdout.contains("remembered"), "{}", ran.stdout);

    // From paper to data with a stock restic: the password comes back into a file.
    let back = world.path("back.password");
    bare(&world, &["keys", "prove", "--kit", paper, "--password-to", back.to_str().unwrap()]).expect_code(0);
    assert_eq!(text(&back), text(&password_file(&world, &project)));
    let mut restic = world.restic_command();
    restic.env("RESTIC_REPOSITORY", world.path("copies")).env("RESTIC_PASSWORD_FILE", &back).arg("snapshots");
    assert!(Ran::of(&mut restic).expect_code(0).stdout.contains("/media"));
    bare(&world, &["keys", "prove", "--kit", paper, "--password-to", back.to_str().unwrap()]).expect_code(5);
}

/// Changes one character of the last group of a line.
fn with_one_wrong(text: &str, line: usize) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let at = lines[line - 1].rfind(' ').unwrap() - 4;
    let old = lines[line - 1].as_bytes()[at];
    lines[line - 1].replace_range(at..=at, if old == b'7' { "8" } else { "7" });
    lines.join("\n") + "\n"
}

fn line_of(text: &str, start: &str) -> usize {
    text.lines().position(|l| l.starts_with(start)).unwrap() + 1
}

#[test]
fn what_is_wrong_on_paper_is_told_with_its_line() {
    let world = World::new();
    let project = project(&world, "");
    let folder = kit(&world, &project, "kit", &["--with-secret"]);
    let (paper, secret) = (text(&folder.join("kit.txt")), text(&folder.join("secret.txt")));
    let prove = || {
        let (kit, secret) = (world.path("typed-kit.txt"), world.path("typed-secret.txt"));
        bare(&world, &["keys", "prove", "--kit", kit.to_str().unwrap(), "--secret", secret.to_str().unwrap()])
    };
    let typed = |kit: &str, secret: &str| {
        fs::write(world.path("typed-kit.txt"), kit).unwrap();
        fs::write(world.path("typed-secret.txt"), secret).unwrap();
    };
    typed(&paper, &secret);
    prove().expect_code(0);
    let line = line_of(&secret, "02 ");
    typed(&paper, &with_one_wrong(&secret, line));
    let ran = prove().expect_code(2);
    for word in ["E0690", "typed-secret.txt", &format!("{line}"), "line 02: character"] {
        assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr);
    }
    let line = line_of(&paper, "02 app");
    let mut wrong: Vec<String> = paper.lines().map(str::to_owned).collect();
    wrong[line - 1] = wrong[line - 1].replacen("project", "projest", 1);
    typed(&wrong.join("\n"), &secret);
    let ran = prove().expect_code(2);
    for word in ["E0691", "typed-kit.txt", &format!("{line}")] {
        assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr);
    }
    typed("no kit at all\n", &secret);
    assert!(prove().expect_code(2).stderr.contains("E0693"));

    // A location that is not on this machine is no pass, and where it is can be said.
    typed(&paper, &secret);
    fs::rename(world.path("far"), world.path("mounted-here")).unwrap();
    let ran = prove().expect_code(3);
    assert!(ran.stdout.contains("R0144") && ran.stdout.contains("UNKNOWN far"), "{}", ran.stdout);
    let (kit, there) = (world.path("typed-kit.txt"), format!("far={}", world.path("mounted-here").display()));
    let secret = world.path("typed-secret.txt");
    let args = [
        "keys",
        "prove",
        "--kit",
        kit.to_str().unwrap(),
        "--secret",
        secret.to_str().unwrap(),
        "--path",
        &there,
    ];
    bare(&world, &args).expect_code(0);
}

#[test]
fn no_secret_is_where_it_was_not_asked_for() {
    let world = World::new();
    let seen = world.path("seen");
    let spy = format!(
        "wrap = [[\"sh\", \"-c\", \"cat /proc/$$/cmdline /proc/$$/environ > '{}'; wc -c\"]]\n",
        seen.display()
    );
    let project = project(&world, &spy);
    let password = text(&password_file(&world, &project)).trim().to_owned();
    let folder = world.path("kit");
    let write = folder.to_str().unwrap();
    let (kit, split) = (folder.join("kit.txt"), world.path("split"));
    let second = world.path("second.password");
    let mut said = Vec::new();
    for (code, args) in [
        (0, &["keys", "list"][..]),
        (0, &["keys", "list", "--output", "json"]),
        (0, &["keys", "kit"]),
        (2, &["keys", "kit", "--with-secret"]),
        (2, &["keys", "kit", "--write", write, "--qr"]),
        (0, &["keys", "kit", "--write", write, "--with-secret", "--qr", "--output", "json"]),
        (5, &["keys", "kit", "--write", write, "--with-secret"]),
        (0, &["keys", "kit", "--write", split.to_str().unwrap(), "--split", "2/3", "-v"]),
        (0, &["keys", "prove", "--kit", kit.to_str().unwrap(), "--output", "jsonl"]),
        (0, &["keys", "sheet"]),
        (0, &["keys", "confirm"]),
        (0, &["keys", "add", "signing"]),
        (0, &["keys", "add", "password", "--file", second.to_str().unwrap()]),
        (5, &["keys", "add", "password", "--file", second.to_str().unwrap()]),
        (0, &["keys", "rotate", "--output", "jsonl"]),
    ] {
        said.push(run(&world, &project, args).expect_code(code));
    }
    said.push(run(&world, &project, &["check"]));
    said.push(run(&world, &project, &["status"]));
    let new = text(&password_file(&world, &project)).trim().to_owned();
    assert_ne!(password, new);
    // What stands on the secret paper, line by line, is as secret as the password.
    let is_line = |line: &&str| line.len() > 20 && line.as_bytes()[0].is_ascii_digit();
    let paper = text(&folder.join("secret.txt"));
    let mut secrets: Vec<String> = paper.lines().filter(is_line).map(str::to_owned).collect();
    assert!(secrets.len() >= 5, "{paper}");
    secrets.extend([password, new, text(&second).trim().to_owned()]);
    for secret in &secrets {
        for ran in &said {
            assert!(
                !ran.stdout.contains(secret) && !ran.stderr.contains(secret),
                "{}{}",
                ran.stdout,
                ran.stderr
            );
        }
        for file in ["kit.txt", "kit.html", "secret-sealed-1"] {
            assert!(!text(&folder.join(file)).contains(secret), "{file}");
        }
        assert!(
            !fs::read(&seen).unwrap().windows(secret.len()).any(|w| w == secret.as_bytes()),
            "argv or environment"
        );
    }
    for entry in fs::read_dir(world.path("state/project")).unwrap().flatten().filter(|e| e.path().is_file()) {
        let bytes = String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned();
        assert!(secrets.iter().all(|secret| !bytes.contains(secret)), "{}", entry.path().display());
    }
}

#[test]
fn an_old_password_opens_nothing_after_a_rotation() {
    let world = World::new();
    let project = project(&world, "");
    let folder = kit(&world, &project, "kit", &["--with-secret"]);
    let old = world.path("old.password");
    fs::copy(password_file(&world, &project), &old).unwrap();
    let ran = run(&world, &project, &["keys", "rotate"]).expect_code(0);
    assert!(ran.stdout.contains("only a new repository helps then"), "{}", ran.stdout);
    let with = |file: &Path, place: &str| {
        let (repository, file) = (world.path(place), file.to_owned());
        let args = [
            "repo",
            "-r",
            repository.to_str().unwrap(),
            "--password-file",
            file.to_str().unwrap(),
            "snapshots",
        ];
        Ran::of(world.command().args(args))
    };
    for place in ["copies", "far"] {
        with(&old, place).expect_code(12);
        with(&password_file(&world, &project), place).expect_code(0);
    }
    let paper = folder.join("kit.txt");
    let ran = bare(&world, &["keys", "prove", "--kit", paper.to_str().unwrap()]).expect_code(1);
    assert!(ran.stdout.contains("R0143"), "{}", ran.stdout);
    let found = run(&world, &project, &["status", "--output", "json"]).json();
    let findings = found["findings"].as_array().unwrap();
    let about = |f: &&Value| f["id"] == "R0142" && f["message"].as_str().unwrap().contains("password");
    assert!(findings.iter().any(|f| about(&f)), "{findings:#?}");
    run(&world, &project, &["backup"]).expect_code(0);
}

#[test]
fn a_rotation_refuses_what_it_cannot_finish() {
    let world = World::new();
    let project = project(&world, "");
    fs::rename(world.path("far"), world.path("away")).unwrap();
    let before = text(&password_file(&world, &project));
    let ran = run(&world, &project, &["keys", "rotate"]).expect_code(5);
    assert!(ran.stderr.contains("E0696") && ran.stderr.contains("far"), "{}", ran.stderr);
    assert_eq!(text(&password_file(&world, &project)), before);
    let second = world.path("second.password");
    let ran = run(&world, &project, &["keys", "add", "password", "--file", second.to_str().unwrap()])
        .expect_code(5);
    assert!(ran.stderr.contains("E0696") && !second.exists(), "{}", ran.stderr);
}
