//! The audit log at work: what the verbs write into it, and the copies at the locations.
//!
//! A verb has a [`Trail`]. Before an operation that could do harm it writes down that it is going to, on this
//! machine and at every location that can be reached; if that fails, the operation does not begin. When
//! the verb has ended, with a report or with an error, the trail says how. Everything else is written once,
//! afterwards, and trouble with it is a finding: no backup fails over its audit log.

mod copies;
mod file;
mod look;
mod verify;

pub use look::{Exported, LogOptions, Logged, export, log};
pub use verify::{AuditReport, CopyLine, CopyState, verify, verify_file};

use self::file::{Draft, LogFile};
use crate::session::Session;
use crate::signing::{Signing, signing};
use recoup_core::audit::Event;
use recoup_core::audit::words::{Code, Fault, Name};
use recoup_core::audit::{Details, Phase};
use recoup_core::crypto::Signer;
use recoup_core::event::{Event as Happened, Finding, Outcome, Severity};
use recoup_core::{Error, Kind, Result};
use std::collections::BTreeSet;

/// The code of an operation that was not begun because it could not be written down.
const NOT_WRITTEN: &str = "E0680";

/// What the log keeps of a report.
#[derive(Clone, Debug)]
pub struct Told {
    /// Name of the run; the one of the intent if empty.
    pub run: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What else is known.
    pub details: Details,
    /// Locations whose repository was found to be the right one, where a copy may be begun.
    pub proven: Vec<String>,
}

/// A report that the log keeps something of.
pub trait Reported {
    /// What is kept of it.
    fn told(&self) -> Told;
    /// What was noticed; trouble with the log is added.
    fn findings(&mut self) -> &mut Vec<Finding>;
}

/// What one verb leaves in the log.
pub struct Trail<'a> {
    session: &'a Session,
    event: Event,
    run: Option<Name>,
    intent: Option<u64>,
    copies: bool,
    findings: Vec<Finding>,
}

impl<'a> Trail<'a> {
    /// For a verb that begins.
    pub fn new(session: &'a Session, event: Event) -> Self {
        let (run, intent, copies, findings) = (None, None, event == Event::Backup, Vec::new());
        Trail { session, event, run, intent, copies, findings }
    }

    /// Writes down what is going to be done, before it is done.
    ///
    /// # Errors
    /// `Kind::Refused` `E0680` if it cannot be written; then it must not be done.
    pub async fn intent(&mut self, run: &str, details: Details) -> Result<()> {
        self.begin(run, details).await.map_err(|cause| {
            Error::new(
                Kind::Refused,
                format!("begin the {}: it cannot be written into the audit log", self.event.word()),
            )
            .code(NOT_WRITTEN)
            .effect("nothing was changed")
            .caused_by(cause)
        })
    }

    /// Writes down that something began which does no harm. Trouble is a finding.
    pub async fn begun(&mut self, run: &str, details: Details) {
        if let Err(error) = self.begin(run, details).await {
            self.findings.push(not_written(self.session, &error));
        }
    }

    async fn begin(&mut self, run: &str, details: Details) -> Result<()> {
        self.run = Some(Name::of(run)).filter(|_| !run.is_empty());
        let draft =
            Draft { phase: Some(Phase::Intent), run: self.run.clone(), ..Draft::new(self.event, details) };
        self.intent = Some(write(self.session, draft).await?);
        self.copies = true;
        // Whoever owns this machine later cannot take the intent back.
        self.findings.extend(copy(self.session, &[]).await);
        Ok(())
    }

    /// Writes down how the verb ended, and hands its result on.
    ///
    /// # Errors
    /// The error that the verb ended with.
    pub async fn end<R: Reported>(mut self, done: Result<R>) -> Result<R> {
        match done {
            Ok(mut report) => {
                let Told { run, outcome, mut details, proven } = report.told();
                let noticed = report.findings().iter().filter_map(|f| Code::of(&f.id));
                let codes: BTreeSet<Code> = noticed.chain(details.findings).collect();
                details.findings = codes.into_iter().collect();
                if !run.is_empty() {
                    self.run = Some(Name::of(&run));
                }
                self.finish(self.event, Some(outcome), details, &proven).await;
                self.tell();
                report.findings().append(&mut self.findings);
                Ok(report)
            }
            Err(error) => {
                self.failed(&error).await;
                self.tell();
                Err(error)
            }
        }
    }

    fn tell(&self) {
        self.findings.iter().for_each(|finding| self.session.env().emit(Happened::Finding(finding.clone())));
    }

    async fn failed(&mut self, error: &Error) {
        let was_begun = self.intent.is_some();
        // A mistake in the command line is no event, and what could not be written cannot be written now.
        if !was_begun && (error.kind() == Kind::Config || error.stable_code() == Some(NOT_WRITTEN)) {
            return;
        }
        let mut details = Details { fault: Some(Fault::of(error)), ..Details::default() };
        let refused = is_refusal(error);
        let mut event = self.event;
        if refused && !was_begun {
            details.verb = Some(Name::of(event.word()));
            event = Event::Refusal;
        }
        let outcome = match error.kind() {
            _ if refused => Outcome::Refused,
            Kind::Corrupt => Outcome::Fail,
            _ => Outcome::Unknown,
        };
        self.finish(event, Some(outcome), details, &[]).await;
    }

    async fn finish(&mut self, event: Event, outcome: Option<Outcome>, details: Details, proven: &[String]) {
        let phase = self.intent.map(|_| Phase::Result);
        let (of, run) = (self.intent, self.run.clone());
        let draft = Draft { phase, of, run, outcome, ..Draft::new(event, details) };
        if let Err(error) = write(self.session, draft).await {
            self.findings.push(not_written(self.session, &error));
        }
        if self.copies {
            self.findings.extend(copy(self.session, proven).await);
        }
    }
}

/// Writes down one event that has no end, before it is made true.
///
/// # Errors
/// `Kind::Refused` `E0680` if it cannot be written; what the record speaks of must not be done then.
pub async fn record(
    session: &Session,
    event: Event,
    outcome: Option<Outcome>,
    details: Details,
) -> Result<()> {
    let draft = Draft { outcome, ..Draft::new(event, details) };
    write(session, draft).await.map_err(|cause| {
        Error::new(Kind::Refused, format!("go on: the {} cannot be written into the audit log", event.word()))
            .code(NOT_WRITTEN)
            .effect("nothing was done")
            .caused_by(cause)
    })?;
    for finding in copy(session, &[]).await {
        session.env().emit(Happened::Finding(finding));
    }
    Ok(())
}

/// Writes down that a guard said no to a verb that leaves no trail of its own. Other errors are no event.
pub async fn refused(session: &Session, verb: &str, error: &Error) {
    if !is_refusal(error) || error.stable_code() == Some(NOT_WRITTEN) {
        return;
    }
    let verb = Some(Name::of(&verb.replace(' ', "-")));
    let details = Details { verb, fault: Some(Fault::of(error)), ..Details::default() };
    let draft = Draft { outcome: Some(Outcome::Refused), ..Draft::new(Event::Refusal, details) };
    if let Err(error) = write(session, draft).await {
        session.env().emit(Happened::Finding(not_written(session, &error)));
    }
}

fn is_refusal(error: &Error) -> bool {
    matches!(error.kind(), Kind::Refused | Kind::Denied)
}

async fn write(session: &Session, draft: Draft) -> Result<u64> {
    let signing = signers(session).await;
    let mut log = LogFile::open(session).await?;
    copies::catch_up(session, &mut log, trusted(signing.as_ref())).await;
    log.append(session, draft, signing.as_ref().and_then(|s| s.key.as_ref()))
}

async fn copy(session: &Session, proven: &[String]) -> Vec<Finding> {
    let path = file::path(session);
    // The log may have been begun under another name, on another machine.
    match file::origin_in(&path) {
        Some(origin) => copies::copy(session, &path, &origin, proven).await,
        None => Vec::new(),
    }
}

/// Who signs. A key that cannot be used leaves records unsigned, which `audit verify` shows; it stops nothing.
async fn signers(session: &Session) -> Option<Signing> {
    signing(session).await.ok().flatten()
}

fn trusted(signing: Option<&Signing>) -> &[Signer] {
    signing.map_or(&[], |signing| &signing.trusted)
}

fn not_written(session: &Session, error: &Error) -> Finding {
    Finding::new(
        "R0137",
        Severity::Warning,
        session.app(),
        format!("the audit log has no record of this: {error}"),
        "see whether the state directory can be written and has room",
    )
}
