//! Is this capture what it should be, or is it what ransomware, a broken mount or a dead job leaves behind?
//!
//! Counts in, reasons out. A reason never keeps data from being stored: the capture is marked, what came before
//! it is held, and somebody is told. The rules want two signs where one is common in daily life: logs are
//! rewritten every day, but they compress; pictures do not compress, but they are not rewritten.

use crate::units::{ByteSize, Span, counted};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Files that must have been there before a share of them says anything.
const FILES_MIN: u64 = 10;
/// Bytes that must have been there before a loss of them says anything.
const BYTES_MIN: u64 = 1 << 20;
/// What was added is as good as incompressible when it is stored in this share of its size or more. Sealing
/// adds about a thousandth.
const INCOMPRESSIBLE: f64 = 0.9;
/// What was added before was compressible when it was stored in this share of its size or less.
const COMPRESSIBLE: f64 = 0.6;
/// How much must be new, in parts of what there was, for each part of the files that were rewritten: moving logs
/// on by one changes all files and adds nearly nothing.
const NEW_MIN: f64 = 0.125;
/// The share of a database that must be new before its compressibility says anything.
const ADDED_MIN: f64 = 0.2;

/// From when on a capture is suspicious.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// The share of files that were rewritten or replaced by others, with content that does not compress.
    pub rewritten: f64,
    /// The share of bytes, files or rows that are gone.
    pub shrunk: f64,
    /// How long nothing at all may change; `None` if nothing has to.
    pub unchanged: Option<Span>,
}

impl Default for Thresholds {
    fn default() -> Self {
        Thresholds { rewritten: 0.4, shrunk: 0.5, unchanged: None }
    }
}

/// What a capture did to what was stored before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Files that were not there before.
    pub files_new: u64,
    /// Files that were there with other content or other times.
    pub files_changed: u64,
    /// Plain bytes that were not in the repository.
    pub bytes_added: u64,
    /// What they take there.
    pub bytes_stored: u64,
}

/// What a capture holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
    /// Rows in all tables, for a database.
    pub rows: Option<u64>,
}

/// A capture and the one before it.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// What it holds.
    pub now: Counts,
    /// What it did.
    pub changes: Changes,
    /// What the one before held.
    pub before: Counts,
    /// What the one before did, if it is known.
    pub changes_before: Option<Changes>,
    /// Whether it is one file that is rewritten in place all the time.
    pub is_database: bool,
    /// Since when all captures were the same, this one included; `None` if this one differs.
    pub same_since: Option<Timestamp>,
    /// When it was made.
    pub at: Timestamp,
    /// Canary files that are gone or have other content than before.
    pub canaries: &'a [String],
}

/// Why a capture is suspicious, one sentence each; empty if it is not.
pub fn reasons(seen: &Observed<'_>, limits: &Thresholds) -> Vec<String> {
    let rules = [
        emptied(seen),
        shrunk(seen, limits),
        rewritten(seen, limits),
        scrambled(seen),
        unchanged(seen, limits),
        canaries(seen),
    ];
    rules.into_iter().flatten().collect()
}

fn emptied(seen: &Observed<'_>) -> Option<String> {
    let had = seen.before.files > 0 && seen.before.bytes > 0;
    let is_empty = seen.now.files == 0 || seen.now.bytes == 0 || seen.now.rows == Some(0);
    let had_rows = seen.now.rows != Some(0) || seen.before.rows.is_some_and(|rows| rows > 0);
    (had && is_empty && had_rows).then(|| match (seen.now.rows, seen.before.rows) {
        (Some(0), Some(rows)) => format!("it is empty, and had {} before", counted(rows, "row")),
        _ => format!("it is empty, and had {} before", counted(seen.before.files, "file")),
    })
}

fn shrunk(seen: &Observed<'_>, limits: &Thresholds) -> Option<String> {
    let fell = |before: u64, now: u64| share(before.saturating_sub(now), before);
    let (before, now) = (&seen.before, &seen.now);
    let worth = before.files >= FILES_MIN || before.bytes >= BYTES_MIN;
    let rows = before.rows.zip(now.rows).filter(|(b, _)| *b >= FILES_MIN);
    let losses = [
        (worth && !seen.is_database).then(|| ("files", fell(before.files, now.files))),
        // A database that was vacuumed is smaller and has the rows it had.
        (before.rows.is_none() && before.bytes >= BYTES_MIN)
            .then(|| ("bytes", fell(before.bytes, now.bytes))),
        rows.map(|(b, n)| ("rows", fell(b, n))),
    ];
    let worst = losses.into_iter().flatten().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let is_gone = worst.1 >= 1.0;
    (worst.1 >= limits.shrunk && !is_gone)
        .then(|| format!("{} % of its {} are gone", percent(worst.1), worst.0))
}

/// Ransomware rewrites files in place, or writes others and removes the old ones.
fn rewritten(seen: &Observed<'_>, limits: &Thresholds) -> Option<String> {
    if seen.is_database || seen.before.files < FILES_MIN {
        return None;
    }
    let removed = (seen.before.files + seen.changes.files_new).saturating_sub(seen.now.files);
    let files = seen.changes.files_changed + removed.min(seen.changes.files_new);
    let part = share(files, seen.before.files);
    let is_new =
        seen.changes.bytes_added > 0 && share(seen.changes.bytes_added, seen.before.bytes) >= part * NEW_MIN;
    (part >= limits.rewritten && is_new && stored(&seen.changes) >= INCOMPRESSIBLE).then(|| {
        format!(
            "{} of {} files ({} %) were rewritten, with {} that do not compress",
            files.min(seen.before.files),
            seen.before.files,
            percent(part.min(1.0)),
            ByteSize(seen.changes.bytes_added),
        )
    })
}

/// A database whose new pages do not compress although those before did was encrypted from within.
fn scrambled(seen: &Observed<'_>) -> Option<String> {
    let before = seen.changes_before.filter(|c| c.bytes_added > 0)?;
    let added = share(seen.changes.bytes_added, seen.now.bytes);
    (seen.is_database
        && seen.changes.bytes_added >= BYTES_MIN
        && added >= ADDED_MIN
        && stored(&before) <= COMPRESSIBLE
        && stored(&seen.changes) >= INCOMPRESSIBLE)
        .then(|| format!("{} % of it are new and do not compress any more", percent(added)))
}

fn unchanged(seen: &Observed<'_>, limits: &Thresholds) -> Option<String> {
    let (allowed, since) = (limits.unchanged?, seen.same_since?);
    let seconds = u64::try_from(seen.at.as_second() - since.as_second()).unwrap_or(0);
    let age = Span(Duration::from_secs(seconds));
    (age > allowed).then(|| format!("nothing has changed for {age}, and something should every {allowed}"))
}

fn canaries(seen: &Observed<'_>) -> Option<String> {
    let first = seen.canaries.first()?;
    let more = seen.canaries.len() - 1;
    let others = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!(
        "the canary file {first}{others}, which nobody has a reason to touch, was changed or removed"
    ))
}

fn stored(changes: &Changes) -> f64 {
    share(changes.bytes_stored, changes.bytes_added)
}

/// 0 of nothing.
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn percent(part: f64) -> f64 {
    (part * 100.0).round()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A folder of 200 pictures, 100 MiB, of which nothing changed since yesterday.
    fn quiet() -> Observed<'static> {
        Observed {
            now: Counts { files: 200, bytes: 100 * MIB, rows: None },
            changes: Changes::default(),
            before: Counts { files: 200, bytes: 100 * MIB, rows: None },
            changes_before: None,
            is_database: false,
            same_since: Some(Timestamp::UNIX_EPOCH),
            at: Timestamp::from_second(86_400).unwrap(),
            canaries: &[],
        }
    }

    fn changes(files_new: u64, files_changed: u64, added: u64, stored: u64) -> Changes {
        Changes { files_new, files_changed, bytes_added: added * MIB, bytes_stored: stored * MIB }
    }

    fn why(seen: &Observed<'_>) -> String {
        reasons(seen, &Thresholds::default()).join("; ")
    }

    #[test]
    fn days_as_they_are_raise_no_alarm() {
        let upload = Observed {
            now: Counts { files: 700, bytes: 350 * MIB, rows: None },
            changes: changes(500, 0, 250, 250),
            ..quiet()
        };
        // Twenty logs, each moved on by one, the newest begun anew: all changed, little is new.
        let rotated = Observed { changes: changes(0, 200, 3, 1), ..quiet() };
        // Small logs are stored whole when a line is added; they compress.
        let appended = Observed { changes: changes(0, 200, 100, 12), ..quiet() };
        let touched = Observed { changes: changes(0, 200, 0, 0), ..quiet() };
        let edited = Observed { changes: changes(0, 40, 20, 20), ..quiet() };
        let cleaned = Observed { now: Counts { files: 130, bytes: 70 * MIB, rows: None }, ..quiet() };
        let growing = Observed {
            now: Counts { files: 1, bytes: 120 * MIB, rows: Some(1200) },
            before: Counts { files: 1, bytes: 100 * MIB, rows: Some(1000) },
            changes: changes(0, 1, 30, 8),
            changes_before: Some(changes(0, 1, 30, 9)),
            is_database: true,
            ..quiet()
        };
        for seen in [quiet(), upload, rotated, appended, touched, edited, cleaned, growing] {
            assert_eq!(why(&seen), "", "{seen:?}");
        }
        // A handful of files says nothing, whatever became of them.
        let few = Counts { files: 4, bytes: 9000, rows: None };
        assert_eq!(why(&Observed { now: few, before: few, changes: changes(0, 4, 1, 1), ..quiet() }), "");
    }

    #[test]
    fn encrypted_in_place_or_beside_is_seen() {
        let in_place = Observed { changes: changes(0, 80, 40, 40), ..quiet() };
        assert!(why(&in_place).starts_with("80 of 200 files (40 %) were rewritten"), "{}", why(&in_place));
        let beside = Observed { changes: changes(90, 0, 45, 45), ..quiet() };
        assert!(why(&beside).contains("90 of 200 files (45 %)"), "{}", why(&beside));
        let database = Observed {
            now: Counts { files: 1, bytes: 100 * MIB, rows: Some(1000) },
            before: Counts { files: 1, bytes: 100 * MIB, rows: Some(1000) },
            changes: changes(0, 1, 60, 60),
            changes_before: Some(changes(0, 1, 10, 2)),
            is_database: true,
            ..quiet()
        };
        assert_eq!(why(&database), "60 % of it are new and do not compress any more");
    }

    #[test]
    fn what_is_gone_is_seen() {
        let nothing = Observed { now: Counts::default(), ..quiet() };
        assert_eq!(why(&nothing), "it is empty, and had 200 files before");
        let half = Observed { now: Counts { files: 90, bytes: 80 * MIB, rows: None }, ..quiet() };
        assert_eq!(why(&half), "55 % of its files are gone");
        let rows = Observed {
            now: Counts { files: 1, bytes: 100 * MIB, rows: Some(100) },
            before: Counts { files: 1, bytes: 100 * MIB, rows: Some(1000) },
            is_database: true,
            ..quiet()
        };
        assert_eq!(why(&rows), "90 % of its rows are gone");
        let none = Observed { now: Counts { rows: Some(0), ..rows.now }, ..rows };
        assert_eq!(why(&none), "it is empty, and had 1000 rows before");
    }

    #[test]
    fn silence_and_canaries_are_seen_where_they_are_asked_for() {
        let limits = Thresholds { unchanged: Some("12h".parse().unwrap()), ..Thresholds::default() };
        assert_eq!(
            reasons(&quiet(), &limits),
            ["nothing has changed for 1d, and something should every 12h"]
        );
        assert!(reasons(&Observed { same_since: None, ..quiet() }, &limits).is_empty());
        let touched = ["do-not-touch.jpg".to_owned()];
        assert!(
            why(&Observed { canaries: &touched, ..quiet() }).starts_with("the canary file do-not-touch.jpg,")
        );
    }
}
