//! `recoup audit verify`: the log by itself, and beside its copies.

use super::copies::{self, Segment};
use super::{file, signers, trusted};
use crate::session::{Place, Session};
use recoup_core::audit::words::Name;
use recoup_core::audit::{self, Compared, Late, Line, Verdict, Wrong};
use recoup_core::crypto::Signer;
use recoup_core::event::{Finding, Outcome, Severity};
use recoup_core::units::counted;
use recoup_core::{Error, Kind, Result};
use recoup_store::Store;
use serde::Serialize;
use std::path::Path;

/// What the log proves.
#[derive(Clone, Debug, Serialize)]
pub struct AuditReport {
    /// The name of the log: the origin of its checkpoints.
    pub log: Option<String>,
    /// Records that hold, from the first.
    pub records: u64,
    /// The hash that stands for them, as in the newest checkpoint.
    pub root: Option<String>,
    /// Up to which record somebody who is trusted answers for it.
    pub signed: u64,
    /// Fingerprints of those who signed.
    pub signers: Vec<String>,
    /// The first record that is wrong.
    pub wrong: Option<u64>,
    /// The copies at the locations; none for a file.
    pub copies: Vec<CopyLine>,
    /// How it ended.
    #[serde(skip)]
    pub outcome: Outcome,
    /// What was noticed.
    #[serde(skip)]
    pub findings: Vec<Finding>,
}

/// The copy at a location.
#[derive(Clone, Debug, Serialize)]
pub struct CopyLine {
    /// Name of the location.
    pub location: String,
    /// Records of the copy that hold.
    pub records: u64,
    /// What it says about the log.
    pub state: CopyState,
}

/// What a copy says about the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CopyState {
    /// It is the same.
    Same,
    /// It is the beginning of the log.
    Behind,
    /// It has records that the log lacks.
    Ahead,
    /// It has another record of the same number.
    Differs,
    /// It is damaged itself.
    Damaged,
    /// There is none.
    Missing,
    /// The location could not be asked.
    Unreachable,
}

/// Verifies the log of this machine, and compares it with every copy.
///
/// # Errors
/// `Kind::NotFound` `E0682` if there is neither a log nor a copy; if there is no location.
pub async fn verify(session: &Session) -> Result<AuditReport> {
    let signing = signers(session).await;
    let trusted = trusted(signing.as_ref());
    file::settled(session).await;
    let (text, missing) = match file::read(&file::path(session)) {
        Ok(text) => (text, None),
        Err(error) if error.kind() == Kind::NotFound => (Vec::new(), Some(error)),
        Err(error) => return Err(error),
    };
    let mut report = judged(session.app(), &text, trusted);
    let origin = report.log.as_deref().map_or_else(|| file::origin(session), Name::of);
    let mut findings = Vec::new();
    for place in session.places(None)? {
        report
            .copies
            .push(beside(session, &place, &origin, &text, report.records, trusted, &mut findings).await);
        findings.extend(another(session, &place, &origin).await);
    }
    let found = report.copies.iter().any(|c| !matches!(c.state, CopyState::Missing | CopyState::Unreachable));
    if let Some(error) = missing.filter(|_| !found) {
        return Err(error);
    }
    // That a line is cut off says nothing if a copy has the record.
    if findings.iter().any(|f| f.id == "R0131") {
        report.findings.retain(|f| f.id != "R0136");
    }
    report.findings.extend(findings);
    report.outcome = outcome(&report);
    Ok(report)
}

/// Verifies an exported log with public keys alone. That its end is missing cannot be seen from it.
///
/// # Errors
/// `Kind::NotFound` `E0682` if there is no such file; `Kind::Corrupt` `E0682` if it is empty.
pub fn verify_file(path: &Path, trusted: &[Signer]) -> Result<AuditReport> {
    let text = file::read(path)?;
    if text.is_empty() {
        return Err(Error::new(Kind::Corrupt, "verify an audit log: the file is empty").code("E0682"));
    }
    let shown = recoup_core::name::escape(path.as_os_str().as_encoded_bytes());
    let mut report = judged(&shown, &text, trusted);
    // Nobody was writing to this file: a line that is cut off is one that was tampered with.
    for finding in report.findings.iter_mut().filter(|f| f.id == "R0136") {
        (finding.id, finding.severity) = ("R0130".to_owned(), Severity::High);
    }
    report.outcome = outcome(&report);
    Ok(report)
}

/// The log by itself.
fn judged(address: &str, text: &[u8], trusted: &[Signer]) -> AuditReport {
    let verdict = audit::verify(text, trusted);
    let mut findings = Vec::new();
    if let Some(wrong) = &verdict.wrong {
        findings.push(broken(address, wrong));
    }
    if verdict.signed < verdict.records {
        findings.push(unsigned(address, &verdict, trusted));
    }
    findings.extend(verdict.late.first().map(|first| signed_late(address, first, verdict.late.len())));
    AuditReport {
        log: verdict.head.as_ref().map(|head| head.origin.clone()),
        records: verdict.records,
        root: verdict.head.as_ref().map(recoup_core::crypto::note::Checkpoint::root_text),
        signed: verdict.signed,
        signers: verdict.signers.iter().map(Signer::fingerprint).collect(),
        wrong: verdict.wrong.as_ref().map(Wrong::number),
        copies: Vec::new(),
        outcome: Outcome::Unknown,
        findings,
    }
}

/// What is bad fails, what nobody signed is not known, and a copy that could not be looked at is missing.
fn outcome(report: &AuditReport) -> Outcome {
    let has = |severity| report.findings.iter().any(|f| f.severity == severity);
    if has(Severity::High) {
        return Outcome::Fail;
    }
    if report.wrong.is_some() || report.signed < report.records {
        return Outcome::Unknown;
    }
    if has(Severity::Warning) { Outcome::Partial } else { Outcome::Pass }
}

async fn beside(
    session: &Session,
    place: &Place,
    origin: &Name,
    log: &[u8],
    held: u64,
    trusted: &[Signer],
    findings: &mut Vec<Finding>,
) -> CopyLine {
    let line = |records, state| CopyLine { location: place.name.clone(), records, state };
    if !copies::is_reachable(place) {
        findings.push(not_compared(place, "it cannot be reached"));
        return line(0, CopyState::Unreachable);
    }
    let store = session.store(place);
    let copy = match copy_of(&*store, origin, log).await {
        Ok(Some(copy)) => copy,
        Ok(None) => {
            findings.push(not_compared(place, "it has no copy yet"));
            return line(0, CopyState::Missing);
        }
        Err(error) => {
            findings.push(not_compared(place, &error.to_string()));
            return line(0, CopyState::Unreachable);
        }
    };
    let verdict = audit::verify(&copy.text, trusted);
    let compared = match copy.forked {
        Some(from) => Compared::Rewritten { from },
        None => audit::compare(log, &copy.text, [held, verdict.records]),
    };
    let state = match compared {
        Compared::Rewritten { from } => {
            findings.push(rewritten(place, from));
            CopyState::Differs
        }
        Compared::Truncated { after, copy } => {
            findings.push(truncated(place, after, copy));
            CopyState::Ahead
        }
        Compared::Same => CopyState::Same,
        Compared::Behind { .. } => CopyState::Behind,
    };
    let state = match (&verdict.wrong, state) {
        (Some(wrong), CopyState::Same | CopyState::Behind) => {
            findings.push(damaged(place, wrong));
            CopyState::Damaged
        }
        (_, state) => state,
    };
    line(verdict.records, state)
}

/// A log that was put in the place of this machine's brings its own name, and no copy would differ from it. The
/// name that this machine would give tells.
async fn another(session: &Session, place: &Place, origin: &Name) -> Option<Finding> {
    let ours = file::origin(session);
    if ours == *origin || !copies::is_reachable(place) {
        return None;
    }
    let found = copies::list(&*session.store(place), &ours).await.is_ok_and(|segments| !segments.is_empty());
    found.then(|| {
        Finding::new(
            "R0132",
            Severity::High,
            format!("location {}", place.name),
            format!(
                "the log on this machine is called {origin}, and here is one that this machine called {ours}"
            ),
            "find out which is this machine's; put the other aside, and the next record takes over the copy",
        )
    })
}

/// A copy as one text.
struct Copy {
    text: Vec<u8>,
    /// The first record of which the location has two versions.
    forked: Option<u64>,
}

/// Puts the objects of a copy together. Of two versions of a record the one in `log` is taken, if it is there.
async fn copy_of(store: &dyn Store, origin: &Name, log: &[u8]) -> Result<Option<Copy>> {
    let segments: Vec<Segment> = copies::list(store, origin).await?;
    if segments.is_empty() {
        return Ok(None);
    }
    let ours: Vec<&[u8]> = log.split(|b| *b == b'\n').collect();
    let (mut text, mut forked) = (Vec::new(), None);
    for (number, mut versions) in copies::read(store, &segments, 1).await? {
        let is_ours = |line: &Vec<u8>| {
            let at = usize::try_from(number - 1).unwrap_or(usize::MAX);
            ours.get(at).is_some_and(|ours| *ours == line.as_slice())
        };
        versions.sort_by_key(|line| !is_ours(line));
        // A version that is no record is damage and no second history.
        versions.sort_by_key(|line| !Line::parse(line).is_ok_and(|line| line.number == number));
        let whole = versions.iter().filter(|line| Line::parse(line).is_ok_and(|line| line.number == number));
        if whole.count() > 1 && forked.is_none() {
            forked = Some(number);
        }
        text.extend(versions.into_iter().next().unwrap_or_default());
        text.push(b'\n');
    }
    Ok(Some(Copy { text, forked }))
}

fn broken(address: &str, wrong: &Wrong) -> Finding {
    let (id, severity) = match wrong {
        Wrong::CutOff { .. } => ("R0136", Severity::Warning),
        _ => ("R0130", Severity::High),
    };
    Finding::new(
        id,
        severity,
        address,
        format!("{wrong}; what comes after it proves nothing"),
        "keep the file as it is, and compare it with the copies at the locations",
    )
}

fn unsigned(address: &str, verdict: &Verdict, trusted: &[Signer]) -> Finding {
    let who = if trusted.is_empty() { "no signer is known here" } else { "nobody signed them" };
    Finding::new(
        "R0133",
        Severity::Warning,
        address,
        format!(
            "records {} to {} prove little: {who}, so only accidents can be seen",
            verdict.signed + 1,
            verdict.records
        ),
        "`recoup keys add signing` makes a key; what is recorded from then on is signed",
    )
}

fn signed_late(address: &str, first: &Late, ranges: usize) -> Finding {
    let more = if ranges > 1 {
        format!(", and {} more", counted(ranges as u64 - 1, "range"))
    } else {
        String::new()
    };
    Finding::new(
        "R0139",
        Severity::Warning,
        address,
        format!(
            "records {} to {}{more} were not signed when they were written; record {} answers for them only since \
             then",
            first.from,
            first.to,
            first.to + 1
        ),
        "if the key was there all the time, somebody wrote these records anew: compare them with a copy",
    )
}

fn truncated(place: &Place, after: u64, copy: u64) -> Finding {
    Finding::new(
        "R0131",
        Severity::High,
        format!("location {}", place.name),
        format!(
            "the log ends after record {after}, and its copy at this location has {}; {} gone from this machine",
            counted(copy, "record"),
            if copy - after == 1 {
                format!("record {copy} is")
            } else {
                format!("records {} to {copy} are", after + 1)
            }
        ),
        "find out who removed them; the next record that is written takes them over from the copy",
    )
}

fn rewritten(place: &Place, from: u64) -> Finding {
    Finding::new(
        "R0132",
        Severity::High,
        format!("location {}", place.name),
        format!("the log and its copy at this location are two histories: they differ from record {from} on"),
        "keep both, and find out which of them was rewritten; neither is believed from there on",
    )
}

fn damaged(place: &Place, wrong: &Wrong) -> Finding {
    Finding::new(
        "R0135",
        Severity::High,
        format!("location {}", place.name),
        format!("the copy of the audit log at this location is not whole: {wrong}"),
        "`recoup verify` says whether the location has lost more than that",
    )
}

fn not_compared(place: &Place, why: &str) -> Finding {
    Finding::new(
        "R0134",
        Severity::Warning,
        format!("location {}", place.name),
        format!("the audit log was not compared with a copy at this location: {why}"),
        "the next backup to the location copies it there; only a copy shows that the newest records are gone",
    )
}
