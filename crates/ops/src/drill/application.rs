//! The application on the restored data: what is run, as whom, with which environment, and what it
//! showed. Where this host cannot isolate, the answer is "could not find out", never a pass.
#![allow(
    clippy::disallowed_methods,
    reason = "this module makes and removes private copies in the scratch folder of a drill"
)]

use super::nearby;
use super::proof::{self, MIGRATE_ASK, MIGRATE_RUN, START};
use super::subject::{NotRun, Subject, SubjectSource};
use crate::config::section::Health as Declared;
use crate::sandbox::{self, spec};
use nix::unistd::{Uid, User};
use recoup_core::env::Env;
use recoup_core::event::{Finding, Outcome};
use recoup_core::{Error, Result};
use recoup_sources::Check;
use serde::Serialize;
use spec::{Answer, Data, Forbidden, Impossible, Observed, Shape, Spec, Step};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown};
use std::path::{Path, PathBuf};

const MIGRATE_SECONDS: f64 = 600.0;
/// How long a service without a health question is left running.
const WITHOUT_HEALTH_SECONDS: f64 = 5.0;
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the application part of a drill gave.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ApplicationResult {
    /// Every check, by address.
    pub checks: Vec<(String, Check)>,
    /// What was not looked at.
    pub not_run: Vec<NotRun>,
    /// Time of the migrations, in seconds; 0 if they were not asked for.
    pub migrate_seconds: f64,
    /// Time until all services were healthy, in seconds.
    pub start_seconds: f64,
    /// Whether every service became healthy.
    pub healthy: bool,
    /// Why nothing could be run, if nothing was.
    pub impossible: Option<Impossible>,
    /// Everything that was seen, for the evidence.
    pub observed: Option<Observed>,
}

impl ApplicationResult {
    /// What was found.
    pub fn findings(&self) -> Vec<Finding> {
        self.checks.iter().filter_map(|(_, check)| check.finding.clone()).collect()
    }

    /// The worst outcome.
    pub fn outcome(&self) -> Outcome {
        let any = |outcome| self.checks.iter().any(|(_, c)| c.outcome == outcome);
        match (any(Outcome::Fail), any(Outcome::Unknown)) {
            (true, _) => Outcome::Fail,
            (_, true) => Outcome::Unknown,
            _ => Outcome::Pass,
        }
    }
}

/// Runs the application of `subject` in a sandbox. When this returns, nothing of it runs or is
/// mounted any more, and nothing but the scratch folder was touched.
///
/// # Errors
/// If copies cannot be made, or the sandbox itself breaks. What cannot be isolated is a value.
pub async fn run(subject: &Subject, _env: &Env) -> Result<ApplicationResult> {
    let subject = subject.clone();
    // The thread that starts a sandbox must outlive it: its end would end the sandbox.
    tokio::task::spawn_blocking(move || run_blocking(&subject))
        .await
        .map_err(|e| Error::bug("run the application of a drill").caused_by(e))?
}

fn run_blocking(subject: &Subject) -> Result<ApplicationResult> {
    if subject.services.is_empty() && !(subject.migrate && subject.manage.is_some()) {
        return Ok(unknown(
            subject,
            Impossible {
                code: "E0704".into(),
                reason:
                    "there is nothing to run: no service has a drill variant and no manage.py is declared"
                        .into(),
                fix: "add `drill = { start = [...] }` and `health` to a service".into(),
            },
        ));
    }
    let user = match choose_user(subject) {
        Ok(user) => user,
        Err(impossible) => return Ok(unknown(subject, impossible)),
    };
    let folder = tempfile::Builder::new().prefix("sandbox-").tempdir_in(&subject.scratch).map_err(|e| {
        Error::io("make the folder of a sandbox", e).with("scratch", proof::shown(&subject.scratch))
    })?;
    let (spec, mut not_run) = prepare(subject, user, folder.path())?;
    let answer = sandbox::run(&spec, &subject.executable)?;
    let mut result = match answer {
        Answer::Impossible(impossible) => unknown(subject, impossible),
        Answer::Observed(observed) => seen(subject, *observed),
    };
    not_run.append(&mut result.not_run);
    result.not_run = not_run;
    Ok(result)
}

fn unknown(subject: &Subject, impossible: Impossible) -> ApplicationResult {
    let detail = format!("{} ({}); {}", impossible.reason, impossible.code, impossible.fix);
    ApplicationResult {
        checks: vec![(subject.application.clone(), Check::unknown("application", detail))],
        impossible: Some(impossible),
        ..ApplicationResult::default()
    }
}

fn seen(subject: &Subject, observed: Observed) -> ApplicationResult {
    let mut judged = proof::judge(subject, &observed);
    for name in &subject.not_startable {
        let check = Check::unknown(
            &format!("{START}{name}"),
            format!("[service.{name}] has no `drill` variant to start"),
        );
        judged.checks.push((subject.application.clone(), check));
    }
    let starts: Vec<_> = observed.steps.iter().filter(|s| s.name.starts_with(START)).collect();
    let seconds = |steps: &mut dyn Iterator<Item = f64>| steps.sum();
    ApplicationResult {
        migrate_seconds: seconds(
            &mut observed
                .steps
                .iter()
                .filter(|s| s.name == MIGRATE_ASK || s.name == MIGRATE_RUN)
                .map(|s| s.seconds),
        ),
        start_seconds: seconds(&mut starts.iter().map(|s| s.seconds)),
        healthy: starts.len() == subject.services.len() && starts.iter().all(|s| s.ok && s.health.is_some()),
        checks: judged.checks,
        not_run: judged.not_run,
        impossible: None,
        observed: Some(observed),
    }
}

/// The owner of the project, `nobody` if that is root; as ourselves where recoup is not root.
fn choose_user(subject: &Subject) -> std::result::Result<spec::User, Impossible> {
    let own = Uid::current();
    let no = |reason: String, fix: &str| Impossible { code: "E0703".into(), reason, fix: fix.into() };
    if !own.is_root() {
        let gid = nix::unistd::getgid().as_raw();
        return Ok(spec::User { uid: own.as_raw(), gid, through_user_namespace: true });
    }
    let by_name = |name: &str| User::from_name(name).ok().flatten();
    let named = match &subject.user {
        Some(name) => Some(by_name(name).ok_or_else(|| {
            no(
                format!("there is no user `{}`", recoup_core::name::escape(name.as_bytes())),
                "name another one with `user` in [scratch]",
            )
        })?),
        None => None,
    };
    let (uid, gid) = match named {
        Some(user) => (user.uid.as_raw(), user.gid.as_raw()),
        None => {
            let meta = fs::metadata(&subject.project).map_err(|e| {
                no(
                    format!("the project {} cannot be looked at: {e}", proof::shown(&subject.project)),
                    "check `project` in [python]",
                )
            })?;
            (meta.uid(), meta.gid())
        }
    };
    if uid != 0 {
        return Ok(spec::User { uid, gid, through_user_namespace: false });
    }
    if subject.user.is_some() {
        return Err(no("a drill never runs as root".into(), "name another user with `user` in [scratch]"));
    }
    let nobody = by_name("nobody").map_or((65534, 65534), |u| (u.uid.as_raw(), u.gid.as_raw()));
    Ok(spec::User { uid: nobody.0, gid: nobody.1, through_user_namespace: false })
}

fn prepare(subject: &Subject, user: spec::User, folder: &Path) -> Result<(Spec, Vec<NotRun>)> {
    let project = real(&subject.project);
    let mut not_run = Vec::new();
    let mut data = Vec::new();
    for source in &subject.sources {
        let live = real(&source.live);
        if project.starts_with(&live) {
            let reason = "its folder contains the project itself, so it cannot be laid over it".to_owned();
            not_run.push(NotRun { check: format!("data used: {}", source.name), reason });
            continue;
        }
        data.push(lay(source, live, user, folder)?);
    }
    let forbidden = subject
        .elsewhere
        .iter()
        .map(|(source, path)| Forbidden { source: source.clone(), path: real(path) })
        .filter(|f| !project.starts_with(&f.path))
        .collect();
    let program = programs(subject.interpreter.as_deref());
    // Without root nothing can be refused at the moment it is opened, so it is covered beforehand.
    let covered = if user.through_user_namespace {
        near(&project, &data, &program, &subject.scratch)
    } else {
        Vec::new()
    };
    let spec = Spec {
        scratch: real(folder),
        project,
        covered,
        data,
        forbidden,
        program,
        user,
        environment: environment(subject),
        steps: steps(subject),
        limit_seconds: subject.limit.0.as_secs_f64(),
    };
    Ok((spec, not_run))
}

/// Databases that the application may reach by mistake: around the project and beside it.
fn near(project: &Path, data: &[Data], program: &[PathBuf], scratch: &Path) -> Vec<PathBuf> {
    let mut around: Vec<PathBuf> =
        project.parent().filter(|p| p.components().count() > 2).map(Path::to_owned).into_iter().collect();
    around.push(project.to_owned());
    let mut without: Vec<PathBuf> = program.to_vec();
    without.push(real(scratch));
    without.extend(data.iter().map(|d| d.live.clone()));
    let journals = data.iter().filter(|d| d.shape == Shape::Database).map(|d| d.live.clone());
    let own: Vec<PathBuf> = journals.collect();
    let mine =
        |path: &PathBuf| own.iter().any(|live| path.to_string_lossy().starts_with(&*live.to_string_lossy()));
    nearby::databases(&around, &without).into_iter().filter(|path| !mine(path)).collect()
}

/// The path without symbolic links, as far as it exists.
fn real(path: &Path) -> PathBuf {
    let mut missing = Vec::new();
    for folder in path.ancestors() {
        if let Ok(found) = folder.canonicalize() {
            return missing.iter().rev().fold(found, |at, name| at.join(name));
        }
        missing.extend(folder.file_name());
    }
    path.to_owned()
}

/// A database is copied, so that what the application writes stays out of what was restored. A folder
/// is used as the lower side of a layer and only changes its owner, if that is needed.
fn lay(source: &SubjectSource, live: PathBuf, user: spec::User, folder: &Path) -> Result<Data> {
    let doing = "make a private copy of restored data";
    let failed = |e: io::Error| Error::io(doing, e).with("source", &source.name);
    let name = source.name.clone();
    let Some(file) = source.database().filter(|_| source.is_database()) else {
        if !user.through_user_namespace {
            give_away(&source.restored, user).map_err(failed)?;
        }
        return Ok(Data { source: name, restored: real(&source.restored), live, shape: Shape::Folder });
    };
    let place = folder.join("copies").join(&name);
    fs::create_dir_all(&place).map_err(failed)?;
    let copy = place.join("database");
    fs::copy(&file, &copy).map_err(failed)?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    if !user.through_user_namespace {
        chown(&copy, Some(user.uid), Some(user.gid)).map_err(failed)?;
    }
    Ok(Data { source: name, restored: real(&copy), live, shape: Shape::Database })
}

/// What belongs to root in the restored folder goes to `user`; other owners stay as captured.
fn give_away(folder: &Path, user: spec::User) -> io::Result<()> {
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        let meta = fs::symlink_metadata(&path)?;
        if meta.uid() == 0 {
            lchown(&path, Some(user.uid), Some(user.gid))?;
        }
        if meta.is_dir() {
            open.extend(fs::read_dir(&path)?.flatten().map(|entry| entry.path()));
        }
    }
    Ok(())
}

/// The folders of the interpreter and of the one it was made from.
fn programs(interpreter: Option<&Path>) -> Vec<PathBuf> {
    let prefix = |python: &Path| python.parent().and_then(Path::parent).map(Path::to_owned);
    let mut found: Vec<PathBuf> = interpreter
        .into_iter()
        .flat_map(|python| {
            [prefix(&absolute(python)).map(|p| real(&p)), python.canonicalize().ok().and_then(|p| prefix(&p))]
        })
        .flatten()
        .filter(|p| p.components().count() > 1)
        .collect();
    found.dedup();
    found
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Nothing of recoup's own environment goes in.
fn environment(subject: &Subject) -> BTreeMap<String, String> {
    let bin = subject.interpreter.as_deref().and_then(|p| absolute(p).parent().map(Path::to_owned));
    let path = bin.as_ref().map_or(SYSTEM_PATH.to_owned(), |bin| format!("{}:{SYSTEM_PATH}", bin.display()));
    let mut all: BTreeMap<String, String> = [
        ("PATH", path.as_str()),
        ("HOME", "/tmp"),
        ("TMPDIR", "/tmp"),
        ("LANG", "C.UTF-8"),
        ("PYTHONUNBUFFERED", "1"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
        ("EMAIL_HOST", "127.0.0.1"),
        ("EMAIL_PORT", "1025"),
        ("RECOUP_DRILL", "1"),
        ("RECOUP_RESTORED", subject.point.as_str()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    if let Some(settings) = &subject.settings {
        all.insert("DJANGO_SETTINGS_MODULE".into(), settings.clone());
    }
    all
}

fn steps(subject: &Subject) -> Vec<Step> {
    let mut steps = Vec::new();
    if let (true, Some(manage)) = (subject.migrate, &subject.manage) {
        let python =
            subject.interpreter.as_deref().map_or("python3".into(), |p| absolute(p).display().to_string());
        let command = |more: &[&str]| {
            let words = [python.as_str(), manage].into_iter().chain(more.iter().copied());
            words.map(str::to_owned).collect::<Vec<_>>()
        };
        // What services are given, the migrations need as well: secrets and settings come that way.
        let given: BTreeMap<String, String> =
            subject.services.iter().flat_map(|s| s.environment.clone()).collect();
        let step = |name: &str, command: Vec<String>, after: Option<&str>| Step {
            name: name.into(),
            command,
            environment: given.clone(),
            within_seconds: MIGRATE_SECONDS,
            service: false,
            health: None,
            go_on: true,
            after_failure_of: after.map(str::to_owned),
        };
        steps.push(step(MIGRATE_ASK, command(&["migrate", "--check"]), None));
        steps.push(step(MIGRATE_RUN, command(&["migrate", "--noinput"]), Some(MIGRATE_ASK)));
    }
    steps.extend(subject.services.iter().map(|service| Step {
        name: format!("{START}{}", service.name),
        command: service.start.clone(),
        environment: service.environment.clone(),
        within_seconds: service.health.as_ref().map_or(WITHOUT_HEALTH_SECONDS, |h| h.within.0.as_secs_f64()),
        service: true,
        health: service.health.as_ref().map(health),
        go_on: false,
        after_failure_of: None,
    }));
    steps
}

fn health(declared: &Declared) -> spec::Health {
    match (&declared.http, &declared.command) {
        (Some(url), _) => spec::Health::Http { url: url.clone(), expect: declared.expect },
        (None, command) => spec::Health::Command { command: command.clone().unwrap_or_default() },
    }
}
