//! `recoup audit log` and `recoup audit export`: what the log says, for people and for others to check.

use super::file;
use crate::session::Session;
use jiff::Timestamp;
use recoup_core::audit::words::Name;
use recoup_core::audit::{Event, Line, Record};
use recoup_core::event::{Finding, Severity};
use recoup_core::moment::Moment;
use recoup_core::{Error, Kind, Result};
use serde::Serialize;

/// Which records.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// Not those before this moment, as typed.
    pub since: Option<String>,
    /// Only those of this event.
    pub event: Option<Event>,
    /// Only those of this actor: all of it, or what stands before the `@`.
    pub actor: Option<String>,
    /// Only the newest so many.
    pub newest: Option<usize>,
}

/// Records of the log.
#[derive(Clone, Debug, Serialize)]
pub struct Logged {
    /// Those that were asked for, the newest last.
    pub records: Vec<Record>,
    /// How many the log has in all.
    pub total: u64,
    /// What was noticed.
    #[serde(skip)]
    pub findings: Vec<Finding>,
}

/// A log as text.
#[derive(Clone, Debug)]
pub struct Exported {
    /// Its name.
    pub log: String,
    /// How many records it has.
    pub records: u64,
    /// Its whole lines: JSON, each with a record and its checkpoint.
    pub text: String,
}

/// Reads the log. Whether it is what was written is not checked here.
///
/// # Errors
/// `Kind::NotFound` `E0682` if there is none; `Kind::Config` `E0604` for a moment that is not understood.
pub async fn log(session: &Session, options: &LogOptions) -> Result<Logged> {
    let since = since(session, options.since.as_deref())?;
    file::settled(session).await;
    let text = file::read(&file::path(session))?;
    let mut logged = Logged { records: Vec::new(), total: 0, findings: Vec::new() };
    let mut unread = 0_u64;
    for line in text.split_inclusive(|b| *b == b'\n') {
        logged.total += 1;
        let line = Line::parse(line.strip_suffix(b"\n").unwrap_or(line)).ok();
        let Some(record) = line.and_then(|line| line.record()) else {
            unread += 1;
            continue;
        };
        if wanted(&record, options, since) {
            logged.records.push(record);
        }
    }
    let newest = options.newest.unwrap_or(usize::MAX);
    logged.records.drain(..logged.records.len().saturating_sub(newest));
    if unread > 0 {
        logged.findings.push(Finding::new(
            "R0136",
            Severity::Warning,
            session.app(),
            format!("{unread} lines of the audit log cannot be read"),
            "`recoup audit verify` says which",
        ));
    }
    Ok(logged)
}

fn since(session: &Session, text: Option<&str>) -> Result<Option<Timestamp>> {
    let Some(text) = text else { return Ok(None) };
    match session.moment(Some(text))? {
        Moment::At(at) => Ok(Some(at)),
        _ => Err(Error::new(Kind::Config, "read the moment given with --since: it names a point")
            .code("E0604")
            .effect("nothing was attempted")
            .hint("write a time, as in \"today 14:02\" or 2026-11-22T00:00:00Z")),
    }
}

fn wanted(record: &Record, options: &LogOptions, since: Option<Timestamp>) -> bool {
    let name = record.actor.as_str().split('@').next();
    let by = |actor: &String| {
        let actor = Name::of(actor);
        record.actor == actor || name == Some(actor.as_str())
    };
    since.is_none_or(|since| record.time >= since)
        && options.event.is_none_or(|event| record.event == event)
        && options.actor.as_ref().is_none_or(by)
}

/// The log as it is, for others to verify with the public key alone.
///
/// # Errors
/// `Kind::NotFound` `E0682` if there is none; `Kind::Corrupt` `E0682` if it is no text.
pub async fn export(session: &Session) -> Result<Exported> {
    file::settled(session).await;
    let mut text = file::read(&file::path(session))?;
    let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    text.truncate(whole);
    let records = text.iter().filter(|b| **b == b'\n').count() as u64;
    let log = file::origin_in(&file::path(session)).map(|origin| origin.to_string()).unwrap_or_default();
    let text = String::from_utf8(text).map_err(|e| {
        Error::new(Kind::Corrupt, "export the audit log: it is no text").code("E0682").caused_by(e)
    })?;
    Ok(Exported { log, records, text })
}
