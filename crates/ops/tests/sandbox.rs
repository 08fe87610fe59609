//! The sandbox by itself: without root, and when recoup is killed.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests touch the world")]

use recoup_ops::sandbox::run;
use recoup_ops::sandbox::spec::{Answer, Data, Health, Shape, Spec, Step, User, What};
use rusqlite::Connection;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const NOBODY: u32 = 65534;
const HOST: &str = env!("CARGO_BIN_EXE_recoup-sandbox-host");

/// A project with a live database, a production database beside it, and a restored copy.
struct Place {
    root: TempDir,
    live: PathBuf,
    production: PathBuf,
    restored: PathBuf,
}

impl Place {
    fn new() -> Self {
        // Not below the target folder: another user must reach it.
        let root = tempfile::Builder::new().prefix("recoup-sandbox-").tempdir_in("/var/tmp").unwrap();
        let base = root.path();
        for folder in ["project", "production", "scratch/copies"] {
            fs::create_dir_all(base.join(folder)).unwrap();
        }
        let place = Place {
            live: base.join("project/db.sqlite3"),
            production: base.join("production/live.sqlite3"),
            restored: base.join("scratch/copies/db"),
            root,
        };
        for (file, word) in
            [(&place.live, "live"), (&place.production, "production"), (&place.restored, "restored")]
        {
            let made = Connection::open(file).unwrap();
            made.execute_batch(&format!("create table t(word); insert into t values ('word-{word}')"))
                .unwrap();
        }
        place
    }

    fn spec(&self, user: User, script: &str) -> Spec {
        let base = self.root.path();
        Spec {
            scratch: base.join("scratch"),
            project: base.join("project"),
            data: vec![Data {
                source: "db".into(),
                restored: self.restored.clone(),
                live: self.live.clone(),
                shape: Shape::Database,
            }],
            forbidden: Vec::new(),
            covered: if user.through_user_namespace { vec![self.production.clone()] } else { Vec::new() },
            program: Vec::new(),
            user,
            environment: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
            steps: vec![Step {
                name: "start web".into(),
                command: ["sh", "-c", script].map(str::to_owned).to_vec(),
                environment: Default::default(),
                within_seconds: 20.0,
                service: true,
                health: Some(Health::Command {
                    command: ["test", "-e", "/tmp/ready"].map(str::to_owned).to_vec(),
                }),
                go_on: false,
                after_failure_of: None,
            }],
            limit_seconds: 30.0,
        }
    }
}

fn processes_with(text: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if pid != std::process::id() && String::from_utf8_lossy(&line).contains(text) {
            found.push(pid);
        }
    }
    found
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn without_root_other_databases_are_covered_and_asking_for_them_is_seen() {
    let place = Place::new();
    let base = place.root.path();
    let mut program = PathBuf::from(HOST);
    let mut uid = rustix::process::geteuid().as_raw();
    if is_root() {
        // The same program, started by a user without any privilege.
        uid = NOBODY;
        program = base.join("unprivileged");
        fs::copy(HOST, base.join("host")).unwrap();
        let text = format!(
            "#!/bin/sh\nexec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups {} \"$@\"\n",
            base.join("host").display()
        );
        fs::write(&program, text).unwrap();
        assert!(Command::new("chown").args(["-R", "65534:65534"]).arg(base).status().unwrap().success());
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let user = User { uid, gid: uid, through_user_namespace: true };
    let script = format!(
        "grep -aoh 'word-[a-z]*' {} {}; id -u; touch /tmp/ready; sleep 30",
        place.live.display(),
        place.production.display()
    );
    match run(&place.spec(user, &script), &program).unwrap() {
        Answer::Observed(observed) => {
            let step = &observed.steps[0];
            assert!(step.ok, "{observed:#?}");
            let said = step.log.join(" ");
            assert!(
                said.contains("word-restored")
                    && !said.contains("word-production")
                    && !said.contains("word-live"),
                "{said}"
            );
            assert!(said.ends_with(&uid.to_string()), "{said}");
            let of = |what: What| observed.opened.iter().find(|o| o.what == what).map(|o| o.path.clone());
            assert_eq!(of(What::Restored), Some(place.live.display().to_string()));
            assert_eq!(of(What::Foreign), Some(place.production.display().to_string()));
        }
        // Some kernels forbid this to everybody but root; then the answer must say so.
        Answer::Impossible(impossible) => assert_eq!(impossible.code, "E0701", "{impossible:?}"),
    }
    assert!(fs::read(&place.production).unwrap().windows(15).any(|w| w == b"word-production"));
}

#[test]
fn nothing_survives_a_killed_recoup() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let marker = place.root.path().file_name().unwrap().to_str().unwrap().to_owned();
    let user = User { uid: NOBODY, gid: NOBODY, through_user_namespace: false };
    let spec = place.spec(user, &format!("trap '' TERM HUP; : {marker}; sleep 1000 & sleep 1000"));
    let mut outer = Command::new(HOST)
        .args(["__sandbox", "outer", "0", "30"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let order = serde_json::json!({ "spec": spec, "sockets": [] });
    outer.stdin.take().unwrap().write_all(order.to_string().as_bytes()).unwrap();
    let until = |done: &dyn Fn() -> bool| {
        let end = Instant::now() + Duration::from_secs(20);
        while !done() {
            assert!(Instant::now() < end, "it took too long");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    // The service itself, and not the short question before it whether its folders can be reached.
    until(&|| !processes_with(&format!(": {marker}; sleep")).is_empty());
    outer.kill().unwrap();
    outer.wait().unwrap();
    until(&|| processes_with(&marker).is_empty());
    assert!(!fs::read_to_string("/proc/mounts").unwrap().contains(&marker));
    assert!(Path::new(&place.live).exists());
}
