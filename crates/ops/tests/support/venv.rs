//! The virtual environment with Django, made once by the first test that needs it and kept below
//! `target/`.

use rustix::fs::FlockOperation;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const DJANGO: &str = "Django==5.2.19";

/// Its folder. Tests in other processes wait for the one that makes it.
pub(crate) fn venv() -> PathBuf {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("venv-django");
    fs::create_dir_all(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let lock = fs::File::create(home.with_extension("lock")).unwrap();
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).unwrap();
    let ready = home.join("ready");
    if fs::read_to_string(&ready).is_ok_and(|made| made == DJANGO) {
        return home;
    }
    let python = if Path::new("/usr/bin/python3").exists() { "/usr/bin/python3" } else { "python3" };
    let run = |command: &mut Command| assert!(command.status().unwrap().success(), "{command:?}");
    run(Command::new(python).args(["-m", "venv", "--clear"]).arg(&home));
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", DJANGO];
    run(Command::new(home.join("bin/python")).args(pip));
    fs::write(ready, DJANGO).unwrap();
    home
}
