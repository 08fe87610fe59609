//! Debian's stock restic, as the second opinion.

use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// restic with one repository, a password file and a private home.
#[derive(Debug)]
pub struct Restic {
    home: tempfile::TempDir,
    repository: PathBuf,
    zone: String,
}

impl Restic {
    /// For the repository at `repository`, with `password`, in UTC.
    pub fn new(repository: impl Into<PathBuf>, password: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("password"), password).unwrap();
        Restic { home, repository: repository.into(), zone: "UTC".into() }
    }

    /// In another time zone; restic writes the times of a tree in it.
    #[must_use]
    pub fn zone(mut self, zone: &str) -> Self {
        self.zone = zone.into();
        self
    }

    pub fn repository(&self) -> &Path {
        &self.repository
    }

    /// A file with the password.
    pub fn password_file(&self) -> PathBuf {
        self.home.path().join("password")
    }

    /// Runs restic, whatever comes of it.
    pub fn try_run<S: AsRef<OsStr>>(&self, args: &[S]) -> Output {
        Command::new("restic")
            .args(["--no-cache", "--quiet"])
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("RESTIC_REPOSITORY", &self.repository)
            .env("RESTIC_PASSWORD_FILE", self.password_file())
            .env("RESTIC_FROM_PASSWORD_FILE", self.password_file())
            .env("TZ", &self.zone)
            .output()
            .expect("restic runs; Debian has it as the package restic")
    }

    /// Runs restic, which must succeed without a word of warning on stderr; returns stdout.
    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> String {
        let output = self.try_run(args);
        let line: Vec<_> = args.iter().map(|a| a.as_ref().to_string_lossy()).collect();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(
            output.status.success() && err.is_empty(),
            "restic {}: {}\n{out}{err}",
            line.join(" "),
            output.status
        );
        out.into_owned()
    }

    pub fn init(&self) {
        self.run(&["init"]);
    }

    /// Backs up the absolute path `path` under the host name `testhost`; returns the snapshot id.
    pub fn backup(&self, path: &Path) -> String {
        self.run(&[OsStr::new("backup"), "--host=testhost".as_ref(), path.as_os_str()]);
        let snapshots = self.snapshots();
        let newest =
            snapshots.iter().max_by_key(|s| s["time"].as_str().map(str::to_owned)).expect("a snapshot");
        newest["id"].as_str().unwrap().to_owned()
    }

    /// `check --read-data` without a complaint.
    pub fn check(&self) {
        self.run(&["check", "--read-data"]);
    }

    pub fn restore(&self, snapshot: &str, target: &Path) {
        self.run(&[OsStr::new("restore"), snapshot.as_ref(), "--target".as_ref(), target.as_os_str()]);
    }

    /// The snapshots as restic shows them in JSON.
    pub fn snapshots(&self) -> Vec<Value> {
        let text = self.run(&["snapshots", "--json"]);
        serde_json::from_str(&text).unwrap()
    }

    /// `cat KIND ID` as JSON.
    pub fn cat(&self, kind: &str, id: &str) -> Value {
        serde_json::from_str(&self.run(&["cat", kind, id])).unwrap()
    }

    /// Copies every snapshot of `from`, which has the same password, into this repository.
    pub fn copy_from(&self, from: &Path) {
        // restic 0.14 calls the source `--from-repo`.
        self.run(&[OsStr::new("copy"), "--from-repo".as_ref(), from.as_os_str()]);
    }
}
