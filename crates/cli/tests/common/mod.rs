//! What the command line tests share: a private world for the real binary.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "each test file uses its part; tests touch the world"
)]

use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// The binary under test.
pub fn recoup_binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_recoup"))
}

/// A directory of its own for a repository, its password and what is backed up.
pub struct World {
    pub dir: TempDir,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("recoup-cli-").tempdir().unwrap();
        std::fs::write(dir.path().join("password"), "correct horse battery staple").unwrap();
        World { dir }
    }

    /// With an empty repository.
    pub fn with_repository() -> Self {
        let world = World::new();
        world.repo(["init", "--generated-password"]).expect_code(0);
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `recoup repo ARGS` on this world's repository.
    pub fn repo<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ran {
        Ran::of(self.repo_command().args(args))
    }

    pub fn repo_command(&self) -> Command {
        let mut command = self.command();
        command.arg("repo");
        command
    }

    /// `recoup` with a cleared environment.
    pub fn command(&self) -> Command {
        let mut command = Command::new(recoup_binary());
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path())
            .env("TZ", "Europe/Berlin")
            .env("RESTIC_REPOSITORY", self.path("repo"))
            .env("RESTIC_PASSWORD_FILE", self.path("password"))
            .env("RECOUP_STATE_DIR", self.path("state"))
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    /// Debian's restic on the same repository.
    pub fn restic<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ran {
        Ran::of(self.restic_command().args(args))
    }

    pub fn restic_command(&self) -> Command {
        let mut command = Command::new("restic");
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path())
            .env("TZ", "Europe/Berlin")
            .env("RESTIC_REPOSITORY", self.path("repo"))
            .env("RESTIC_PASSWORD_FILE", self.path("password"))
            .env("RESTIC_CACHE_DIR", self.path("restic-cache"))
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }
}

/// A finished run.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap_or_else(|e| panic!("{:?}: {e}", command.get_program()));
        Ran::from(output)
    }

    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("{e}\nstdout:\n{}\nstderr:\n{}", self.stdout, self.stderr))
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Seed of a random test: `RECOUP_TEST_SEED` replays, otherwise a new one; always printed.
pub fn seed() -> u64 {
    let seed = std::env::var("RECOUP_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::from(now.subsec_nanos()) ^ now.as_secs()
    });
    println!("RECOUP_TEST_SEED={seed}");
    seed
}

/// Whether the long form of slow tests was asked for.
pub fn full() -> bool {
    std::env::var_os("RECOUP_TEST_FULL").is_some()
}
