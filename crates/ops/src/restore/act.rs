//! What each step of a plan does. Every step may be done twice, and undone whether it was done or not.
#![allow(
    clippy::disallowed_methods,
    reason = "this module owns the folders that restores make, and waits for services"
)]

use super::execute::{Acted, Actor, StepError};
use crate::point::{self, Document};
use crate::session::Session;
use async_trait::async_trait;
use recoup_core::entry::PathProblem;
use recoup_core::env::Env;
use recoup_core::event::{Finding, Outcome, Severity};
use recoup_core::name::escape;
use recoup_core::plan::{Action, Health, Step};
use recoup_core::units::{ByteSize, counted};
use recoup_core::{Error, Kind, Result};
use recoup_repo::locks::{LockGuard, LockMode};
use recoup_repo::read::glob::Pattern;
use recoup_repo::repository::Repository;
use recoup_repo::{Id, read};
use recoup_sources::files::beneath::{Beneath, BeneathOptions, RestoreNotes};
use recoup_sources::process::{Run, run};
use recoup_sources::{Check, Holding};
use recoup_store::local::durable;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Findings kept per step; a wholly damaged tree must not fill the journal.
const FINDINGS_MAX: usize = 200;
/// Between two questions to a service.
const PROBE_EVERY: Duration = Duration::from_millis(250);

/// Does the steps of one restore.
pub(crate) struct RestoreActor<'a> {
    session: &'a Session,
    location: String,
    repo: Option<Repository>,
    guard: Option<LockGuard>,
    extra: Option<&'a mut dyn Extra>,
}

/// The steps that only a drill has.
#[async_trait]
pub(crate) trait Extra: Send + Sync {
    /// Does [`Action::Checks`] or [`Action::Application`].
    async fn act(&mut self, action: &Action) -> Result<Acted, StepError>;
}

impl<'a> RestoreActor<'a> {
    /// `repo` is opened when it is first needed, if it is not given.
    pub(crate) fn new(session: &'a Session, location: &str, repo: Option<Repository>) -> Self {
        RestoreActor { session, location: location.to_owned(), repo, guard: None, extra: None }
    }

    /// Lets `extra` do the steps of a drill.
    pub(crate) fn with_extra(mut self, extra: &'a mut dyn Extra) -> Self {
        self.extra = Some(extra);
        self
    }

    /// Gives the lock of the repository back.
    pub(crate) async fn release(&mut self) {
        if let Some(guard) = self.guard.take() {
            // A lock that cannot be removed now goes stale and is removed by a later run.
            drop(guard.release().await);
        }
    }

    async fn repo(&mut self) -> Result<Repository> {
        if self.repo.is_none() {
            let place = self.session.place(Some(&self.location))?;
            self.repo = Some(self.session.repository(&place).await?);
        }
        let repo = self.repo.clone().ok_or_else(|| Error::bug("open a repository"))?;
        if self.guard.is_none() {
            match repo.lock(LockMode::Shared).await {
                Ok(guard) => self.guard = Some(guard),
                Err(e) if e.kind() == Kind::Locked => return Err(e),
                // A location that can only be read can still be restored from.
                Err(_) => {}
            }
        }
        Ok(repo)
    }

    async fn document(&mut self, snapshot: &str) -> Result<Document> {
        let repo = self.repo().await?;
        let snapshot = repo.snapshot(&snapshot.parse::<Id>()?).await?;
        point::read_document(&repo, snapshot.tree).await
    }

    async fn fetch(&mut self, source: &str, snapshot: &str, into: &str) -> Result<Acted, StepError> {
        let into = PathBuf::from(into);
        let repo = self.repo().await?;
        // What an interrupted attempt left is not trusted.
        remove_folder(&into)?;
        let parent = into.parent().ok_or_else(|| Error::bug("restore into a folder without a parent"))?;
        durable::create_dir_all(parent, 0o700)?;
        let root = repo.snapshot(&snapshot.parse::<Id>()?).await?.tree;
        let address = self.session.config().address(source);
        let options = read::RestoreOptions {
            include: vec![Pattern::new(format!("/{source}").as_bytes())?],
            keep_damaged: true,
            address: address.clone(),
            ..read::RestoreOptions::default()
        };
        let target = Arc::new(Beneath::open(parent, BeneathOptions::default())?);
        let mut report = read::restore(&repo, root, &options, target.clone()).await?;
        // What the target could not take is no damage of the point: mend it and resume.
        if let Some(at) = report.errors.iter().position(|p| !is_damage(&p.error)) {
            let problem = report.errors.swap_remove(at);
            return Err(Error::new(Kind::Unavailable, "write the restored data")
                .with("path", &problem.path)
                .code("E0608")
                .effect("live data is untouched; what was restored so far is done again")
                .hint("free some room or mend what it says, then resume")
                .caused_by(problem.error)
                .into());
        }
        let notes = target.finish_all()?;
        if !into.is_dir() {
            return Err(Error::new(Kind::Corrupt, "find the source in its snapshot")
                .with("source", &address)
                .code("E0601")
                .into());
        }
        let message = format!("{}, {}", counted(report.files, "file"), ByteSize(report.bytes));
        let mut findings: Vec<Finding> = report
            .errors
            .iter()
            .take(FINDINGS_MAX)
            .map(|problem| damaged(self.session.app(), problem))
            .collect();
        findings.extend(noted(&address, &notes));
        let outcome = if report.errors.is_empty() { Outcome::Pass } else { Outcome::Partial };
        let message = if outcome == Outcome::Pass {
            message
        } else {
            format!("{message}, {} damaged", report.errors.len())
        };
        Ok(Acted { outcome, message, findings })
    }

    async fn prove(&mut self, source: &str, restored: &str, snapshot: &str) -> Result<Acted, StepError> {
        let document = self.document(snapshot).await?;
        let address = self.session.config().address(source);
        let (Some(record), Ok(driver)) = (document.source(source), self.session.source(source)) else {
            let finding = unproved(&address, "recoup.toml no longer declares this source");
            return Ok(Acted {
                outcome: Outcome::Unknown,
                message: finding.message.clone(),
                findings: vec![finding],
            });
        };
        let checks = driver.prove(Path::new(restored), &record.facts, self.session.env()).await?;
        judge(&address, &checks)
    }

    async fn holders(&self, source: &str, target: &str) -> Result<Acted, StepError> {
        let holding: Holding = self.session.source(source)?.holders().await?;
        if let Some(first) = holding.holders.first() {
            let more = holding.holders.len() - 1;
            let error = Error::new(
                Kind::Refused,
                "switch to the restored data while a process has the live data open",
            )
            .with("target", target)
            .with("process", format!("{} ({})", first.pid, first.command))
            .code("E0622")
            .effect("live data is untouched")
            .hint("stop the process, or declare `stop` and `start` of its service in recoup.toml");
            return Err(if more > 0 { error.with("and others", more) } else { error }.into());
        }
        if holding.unseen == 0 || self.session.env().host.uid == 0 {
            return Ok(Acted::pass("nobody has it open"));
        }
        let message = format!(
            "nobody that can be seen has it open; {} processes of other users cannot",
            holding.unseen
        );
        let finding = Finding::new(
            "R0118",
            Severity::Warning,
            self.session.config().address(source),
            message.clone(),
            "run promote as root, or make sure yourself that no other user's process has the data open",
        );
        Ok(Acted { findings: vec![finding], ..Acted::pass(message) })
    }

    async fn command(
        &self,
        service: &str,
        what: &str,
        argv: &[String],
        seconds: u64,
    ) -> Result<Acted, StepError> {
        if argv.is_empty() {
            return Ok(Acted::pass(format!("no command to {what} {service} is declared")));
        }
        let command = Run::argv(argv, Duration::from_secs(seconds))?
            .cwd(self.session.loaded().root.clone())
            .keep_group();
        let output = run(&command).await?;
        output.ok(&command).map_err(|e| {
            Error::new(Kind::Unavailable, format!("{what} the service {service}")).code("E0620").caused_by(e)
        })?;
        Ok(Acted::pass(String::new()))
    }

    async fn probe(&self, service: &str, health: &Health) -> Result<Acted, StepError> {
        let clock = &self.session.env().clock;
        let end = clock.monotonic() + Duration::from_secs(health.within_seconds);
        loop {
            let answer = match &health.http {
                Some(url) => ask(url.clone(), health.expect.unwrap_or(200)).await,
                None => self
                    .command(service, "ask", &health.command, health.within_seconds)
                    .await
                    .map_err(|e| e.error)
                    .map(|_| ()),
            };
            let Err(error) = answer else { return Ok(Acted::pass("it is well")) };
            if clock.monotonic() >= end {
                let failed = Error::new(Kind::Unavailable, format!("ask {service} whether it is well"))
                    .with("within", format!("{} s", health.within_seconds))
                    .code("E0621")
                    .caused_by(error);
                return Err(failed.into());
            }
            tokio::time::sleep(PROBE_EVERY).await;
        }
    }

    /// The snapshot that `source` is fetched from stands in its fetch step.
    fn switch_paths<'s>(restored: &'s str, keep: &'s str) -> (&'s Path, &'s Path) {
        (Path::new(restored), Path::new(keep))
    }
}

/// A step with the plan's knowledge of where its source comes from.
pub(crate) struct Bound<'a> {
    actor: RestoreActor<'a>,
    snapshots: Vec<(String, String)>,
}

impl<'a> Bound<'a> {
    /// Binds an actor to a plan.
    pub(crate) fn new(actor: RestoreActor<'a>, steps: &[Step]) -> Self {
        let from = |s: &Step| match &s.action {
            Action::Fetch { source, snapshot, .. } => Some((source.clone(), snapshot.clone())),
            _ => None,
        };
        Bound { actor, snapshots: steps.iter().filter_map(from).collect() }
    }

    /// See [`RestoreActor::release`].
    pub(crate) async fn release(&mut self) {
        self.actor.release().await;
    }
}

#[async_trait]
impl Actor for Bound<'_> {
    async fn act(&mut self, step: &Step) -> Result<Acted, StepError> {
        let env: Env = self.actor.session.env().clone();
        match &step.action {
            Action::Create { folder, .. } => {
                durable::create_dir_all(Path::new(folder), 0o700)?;
                Ok(Acted::pass(String::new()))
            }
            Action::Fetch { source, snapshot, into, .. } => self.actor.fetch(source, snapshot, into).await,
            Action::Prove { source, restored } => {
                let from = self.snapshots.iter().find(|(name, _)| name == source).map(|(_, s)| s.clone());
                self.actor.prove(source, restored, &from.unwrap_or_default()).await
            }
            Action::Checks {} | Action::Application {} => match &mut self.actor.extra {
                Some(extra) => extra.act(&step.action).await,
                None => Err(Error::bug("run a drill's step outside a drill").into()),
            },
            Action::Gate {} => Ok(Acted::pass("confirmed")),
            Action::Stop { service, command, within_seconds, .. } => {
                self.actor.command(service, "stop", command, *within_seconds).await
            }
            Action::Holders { source, target } => self.actor.holders(source, target).await,
            Action::Keep { keep, .. } => {
                let parent = Path::new(keep)
                    .parent()
                    .ok_or_else(|| Error::bug("keep data in a folder without a parent"))?;
                durable::create_dir_all(parent, 0o700)?;
                Ok(Acted::pass(String::new()))
            }
            Action::Switch { source, restored, keep, .. } => {
                let (restored, keep) = RestoreActor::switch_paths(restored, keep);
                self.actor.session.source(source)?.switch(restored, keep, &env).await?;
                let kept = kept(&self.actor.session.config().address(source), keep);
                Ok(Acted { outcome: Outcome::Pass, message: String::new(), findings: vec![kept] })
            }
            Action::Start { service, command, within_seconds, .. } => {
                self.actor.command(service, "start", command, *within_seconds).await
            }
            Action::Probe { service, health } => self.actor.probe(service, health).await,
        }
    }

    async fn undo(&mut self, step: &Step) -> Result<Acted, StepError> {
        let env: Env = self.actor.session.env().clone();
        match &step.action {
            Action::Create { folder, .. } => {
                // Other sources of this restore may still have something in it.
                match std::fs::remove_dir(folder) {
                    Ok(()) => durable::sync_dir(Path::new(folder).parent().unwrap_or(Path::new("/")))?,
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                    Err(e) if e.kind() == std::io::ErrorKind::DirectoryNotEmpty => {}
                    Err(e) => {
                        return Err(Error::io("remove the folder of a restore", e)
                            .with("folder", folder)
                            .into());
                    }
                }
            }
            Action::Fetch { into, .. } => remove_folder(Path::new(into))?,
            Action::Switch { source, restored, keep, .. } => {
                let (restored, keep) = RestoreActor::switch_paths(restored, keep);
                self.actor.session.source(source)?.switch_back(restored, keep, &env).await?;
            }
            Action::Stop { service, start, within_seconds, .. } => {
                return self.actor.command(service, "start", start, *within_seconds).await;
            }
            Action::Start { service, stop, within_seconds, .. } => {
                return self.actor.command(service, "stop", stop, *within_seconds).await;
            }
            Action::Prove { .. }
            | Action::Checks {}
            | Action::Application {}
            | Action::Gate {}
            | Action::Holders { .. }
            | Action::Keep { .. }
            | Action::Probe { .. } => {}
        }
        Ok(Acted::pass(String::new()))
    }
}

/// All checks of a source as one end of a step: a failed check fails the step.
fn judge(address: &str, checks: &[Check]) -> Result<Acted, StepError> {
    let mut findings: Vec<Finding> = Vec::new();
    for check in checks {
        match (&check.finding, check.outcome) {
            (Some(finding), _) => findings.push(finding.clone()),
            (None, Outcome::Pass) => {}
            (None, Outcome::Unknown) => {
                findings.push(unproved(address, &format!("{}: {}", check.name, check.detail)))
            }
            (None, _) => findings.push(Finding::new(
                "R0102",
                Severity::High,
                address,
                format!("{}: {}", check.name, check.detail),
                "restore an older point, and run `recoup drill` on it",
            )),
        }
    }
    findings.truncate(FINDINGS_MAX);
    let names: Vec<&str> = checks.iter().map(|c| c.name.as_str()).collect();
    let worst = checks.iter().map(|c| c.outcome).max().unwrap_or(Outcome::Unknown);
    let failed = checks.iter().find(|c| matches!(c.outcome, Outcome::Fail | Outcome::Refused));
    if let Some(check) = failed {
        let error =
            Error::new(Kind::Corrupt, format!("prove the restored data: {}: {}", check.name, check.detail))
                .with("source", address)
                .code("R0102")
                .effect("live data is untouched; the restored data lies aside");
        return Err(StepError { error, findings });
    }
    Ok(Acted { outcome: worst, message: names.join(", "), findings })
}

async fn ask(url: String, expect: u16) -> Result<()> {
    let asked = tokio::task::spawn_blocking(move || {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(5)))
            .http_status_as_error(false)
            .max_redirects(0)
            .build()
            .into();
        let got = agent
            .get(&url)
            .call()
            .map_err(|e| Error::new(Kind::Unavailable, "ask for the page").caused_by(e))?;
        let status = got.status().as_u16();
        if status == expect {
            return Ok(());
        }
        Err(Error::new(Kind::Unavailable, format!("the answer was {status}, expected {expect}"))
            .with("url", url))
    });
    asked.await.map_err(|e| Error::bug("ask a service").caused_by(e))?
}

/// Whether the point is to blame, and not the place it is restored to.
fn is_damage(error: &Error) -> bool {
    matches!(error.kind(), Kind::Corrupt | Kind::NotFound | Kind::Refused | Kind::Unsupported)
}

/// Paths begin with the name of the source.
fn damaged(application: &str, problem: &PathProblem) -> Finding {
    Finding::new(
        "R0101",
        Severity::High,
        format!("{application}/{}", problem.path),
        problem.error.to_string(),
        "restore this path from an older point, and run `recoup verify --read-data`",
    )
}

/// What could not be restored as it was, without harm to the content.
fn noted(address: &str, notes: &RestoreNotes) -> Option<Finding> {
    let first = notes.withheld.first().or(notes.lost.first());
    let owners = notes.owners_not_restored;
    if first.is_none() && owners == 0 {
        return None;
    }
    let example = first.map_or_else(String::new, |(path, what)| format!(", as in {path}: {what}"));
    let count = notes.withheld_count + notes.lost_count;
    let message =
        format!("metadata of {count} entries and the owners of {owners} were not restored{example}");
    Some(Finding::new(
        "R0106",
        Severity::Info,
        address,
        message,
        "restore as root to keep owners; contents are not concerned",
    ))
}

fn unproved(address: &str, why: &str) -> Finding {
    Finding::new(
        "R0104",
        Severity::Warning,
        address,
        why.to_owned(),
        "mend this and restore again, or run a drill",
    )
}

fn kept(address: &str, keep: &Path) -> Finding {
    let shown = escape(keep.as_os_str().as_encoded_bytes());
    let message = format!("the old data is kept at {shown}");
    Finding::new(
        "R0105",
        Severity::Info,
        address,
        message,
        "delete it when you are sure; until then a rollback is one switch",
    )
}

fn remove_folder(path: &Path) -> Result<()> {
    let gone = match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(path),
        _ => std::fs::remove_file(path),
    };
    gone.map_err(|e| {
        Error::io("remove restored data", e).with("folder", escape(path.as_os_str().as_encoded_bytes()))
    })
}
