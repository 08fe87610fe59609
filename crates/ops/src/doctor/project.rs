//! Questions about the application: its interpreter, its data, its keys, its locations.

use super::{Answer, host::try_out};
use crate::config::Loaded;
use crate::env::state_dir;
use crate::interpreter::{self, Interpreter};
use crate::secret;
use recoup_core::env::Env;
use recoup_core::event::Outcome::{Fail, Pass, Unknown};
use recoup_core::units::ByteSize;
use recoup_store::local::durable;
use std::path::Path;

/// Less free space than this is named: one capture may not fit.
const FREE_BYTES_MIN: u64 = 1 << 30;

pub(super) async fn ask(loaded: &Loaded, env: &Env) -> Vec<Answer> {
    let mut answers = vec![state(loaded, env), key(loaded).await];
    answers.extend(sources(loaded));
    answers.extend(locations(loaded));
    let python = &loaded.config.python;
    let project = loaded.project().unwrap_or_else(|_| loaded.root.clone());
    match interpreter::find(&project, python.interpreter.as_deref(), &loaded.variables) {
        None => answers.push(Answer::new(
            "python",
            false,
            Unknown,
            "no interpreter was found for the project",
            "make a virtual environment in .venv, or declare `interpreter` under [python]",
        )),
        Some(found) => {
            answers.push(runnable(&found).await);
            answers.push(sqlite_of(&found).await);
        }
    }
    answers
}

fn state(loaded: &Loaded, env: &Env) -> Answer {
    let fix = "set RECOUP_STATE_DIR to a directory that only you can write";
    let tried = state_dir(&loaded.variables, &loaded.config.app).and_then(|dir| {
        durable::create_dir_all(&dir, 0o700)?;
        let probe = dir.join(format!(".doctor-{}", env.host.pid));
        durable::write(&probe, b"recoup\n", 0o600)?;
        durable::remove_file(&probe)?;
        Ok(dir)
    });
    match tried {
        Ok(dir) => {
            Answer::new("state-directory", true, Pass, format!("{} can be written", dir.display()), fix)
        }
        Err(error) => Answer::new("state-directory", true, Fail, error.to_string(), fix),
    }
}

async fn key(loaded: &Loaded) -> Answer {
    let fix = "put the password back where [keys] says; if it is lost, it stands on the recovery sheet";
    let Some(keys) = &loaded.config.keys else {
        return Answer::new("password", true, Fail, "[keys] is not declared", "recoup check says how");
    };
    match secret::resolve(&keys.password, &loaded.root, &loaded.variables).await {
        Ok(found) => match found.findings.first() {
            None => Answer::new("password", true, Pass, format!("{} can be read", keys.password), fix),
            Some(finding) => Answer::new("password", false, Fail, finding.message.clone(), &finding.fix),
        },
        Err(error) => Answer::new("password", true, Fail, error.to_string(), fix),
    }
}

fn sources(loaded: &Loaded) -> Vec<Answer> {
    let mut out = vec![];
    for (name, source) in &loaded.config.sources {
        let fix = "check the path and its permissions; captures of this source fail until then";
        let Ok(path) = loaded.path(source.driver.path()) else { continue };
        let tried = std::fs::metadata(&path).and_then(|meta| {
            if meta.is_dir() {
                std::fs::read_dir(&path).map(drop)
            } else {
                std::fs::File::open(&path).map(drop)
            }
        });
        let answer = match tried {
            Ok(()) => {
                Answer::new("source", true, Pass, format!("{name}: {} can be read", path.display()), fix)
            }
            Err(cause) => {
                Answer::new("source", true, Fail, format!("{name}: {}: {cause}", path.display()), fix)
            }
        };
        out.push(answer);
    }
    out
}

fn locations(loaded: &Loaded) -> Vec<Answer> {
    let mut out = vec![];
    for (name, location) in &loaded.config.locations {
        let fix = "mount it, or make the folder and let this user write to it";
        let Ok(path) = loaded.path(&location.path) else { continue };
        let answer = |outcome, detail: String| {
            Answer::new("location", true, outcome, format!("{name}: {detail}"), fix)
        };
        // The repository is made by the first backup; until then the folder above must do.
        let Some(there) = path.ancestors().find(|p| p.exists()) else { continue };
        out.push(match rustix::fs::access(there, rustix::fs::Access::WRITE_OK) {
            Err(cause) => answer(Fail, format!("{} cannot be written: {cause}", there.display())),
            Ok(()) => match free(there) {
                Some(bytes) if bytes < FREE_BYTES_MIN => {
                    answer(Fail, format!("{} has only {} free", there.display(), ByteSize(bytes)))
                }
                Some(bytes) if path.join("config").exists() => {
                    answer(Pass, format!("{} holds a repository, {} free", path.display(), ByteSize(bytes)))
                }
                Some(bytes) => answer(
                    Pass,
                    format!("{} is ready for its first backup, {} free", path.display(), ByteSize(bytes)),
                ),
                None => answer(Unknown, format!("{} does not say how much is free", there.display())),
            },
        });
    }
    out
}

fn free(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

/// Applications run as an unprivileged user in drills.
async fn runnable(found: &Interpreter) -> Answer {
    let path = found.path.display().to_string();
    let fix = "give other users the right to run it (chmod o+rx on it and the folders above), or set `user` under [scratch]";
    if !rustix::process::geteuid().is_root() {
        let version = found.version.clone().unwrap_or_else(|| "of unknown version".to_owned());
        return Answer::new("python", false, Pass, format!("{path}, Python {version}"), fix);
    }
    let argv = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--no-new-privs",
        "--",
        path.as_str(),
        "-I",
        "-S",
        "-c",
        "pass",
    ];
    match try_out(&argv).await {
        Some(output) if output.success() => {
            Answer::new("python", false, Pass, format!("{path} can be run by an unprivileged user"), fix)
        }
        Some(output) => Answer::new(
            "python",
            false,
            Fail,
            format!("{path} cannot be run by an unprivileged user: {}", output.tail()),
            fix,
        ),
        None => Answer::new(
            "python",
            false,
            Unknown,
            "setpriv is missing, so it was not tried",
            "apt-get install util-linux",
        ),
    }
}

/// SQLite before 3.51.3 can damage a database in WAL mode when a checkpoint resets the log at the
/// wrong moment. recoup's own library is newer; the application may still write with an old one.
async fn sqlite_of(found: &Interpreter) -> Answer {
    let fix = "the application writes with a SQLite that can damage a database in WAL mode (before 3.51.3): use a newer Python build, or journal_mode = DELETE";
    if !found.is_trusted() {
        let detail = "the interpreter belongs to another user and was not run";
        return Answer::new(
            "sqlite-of-python",
            false,
            Unknown,
            detail,
            "run doctor as the owner of the project",
        );
    }
    let path = found.path.display().to_string();
    let program = "import sqlite3; print(sqlite3.sqlite_version)";
    let version = try_out(&[path.as_str(), "-I", "-S", "-c", program]).await.filter(|o| o.success());
    let Some(version) = version.map(|o| o.text().trim().to_owned()) else {
        return Answer::new("sqlite-of-python", false, Unknown, "it does not say its version", fix);
    };
    let parts: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
    let outcome = if parts.as_slice() >= &[3, 51, 3][..] { Pass } else { Fail };
    Answer::new("sqlite-of-python", false, outcome, format!("Python writes with SQLite {version}"), fix)
}
