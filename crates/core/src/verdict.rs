//! From checks, findings and times to one outcome with its reasons. Unknown is never green.

use crate::event::{Finding, Outcome, Severity};
use crate::units::Span;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A measured time against what the class allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// What was measured, in seconds; `None` if it could not be.
    pub seconds: Option<f64>,
    /// What the class allows, in seconds; `None` if it sets no limit, or the limit does not apply.
    pub target_seconds: Option<f64>,
}

impl Measured {
    /// `seconds` against `target`.
    pub fn new(seconds: Option<f64>, target: Option<Span>) -> Self {
        Measured { seconds, target_seconds: target.map(|t| t.0.as_secs_f64()) }
    }

    /// Within the limit, beyond it, or unknown. Without a limit, whatever was measured passes.
    pub fn outcome(self) -> Outcome {
        match (self.seconds, self.target_seconds) {
            (_, None) => Outcome::Pass,
            (Some(seconds), Some(target)) if seconds <= target => Outcome::Pass,
            (Some(_), Some(_)) => Outcome::Fail,
            (None, Some(_)) => Outcome::Unknown,
        }
    }
}

/// Everything a verdict is made of.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// What was checked: name and outcome.
    pub checks: &'a [(String, Outcome)],
    /// What was found.
    pub findings: &'a [Finding],
    /// What was asked for and not done: name and reason.
    pub not_done: &'a [(String, String)],
    /// Time until the application was well.
    pub rto: Measured,
    /// Age of the data.
    pub rpo: Measured,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// `Pass`, `Fail` or `Unknown`.
    pub outcome: Outcome,
    /// Why it is no pass; empty if it is one.
    pub reasons: Vec<String>,
}

/// Judges. A finding of high severity, a failed check or a missed target fails; a check that could not
/// be made, or was asked for and not made, leaves it open; nothing checked at all leaves it open, too.
pub fn judge(facts: &Facts<'_>) -> Verdict {
    let mut bad: Vec<String> = Vec::new();
    for finding in facts.findings.iter().filter(|f| f.severity == Severity::High) {
        bad.push(format!("{} {}", finding.id, finding.message));
    }
    let named = |outcome| facts.checks.iter().filter(move |(_, o)| *o == outcome).map(|(name, _)| name);
    if bad.is_empty() {
        bad.extend(named(Outcome::Fail).map(|name| format!("{name} failed")));
    }
    for (what, measured) in [("RTO", facts.rto), ("RPO", facts.rpo)] {
        if let (Outcome::Fail, Some(s), Some(t)) =
            (measured.outcome(), measured.seconds, measured.target_seconds)
        {
            bad.push(format!("{what} {} is more than the {} that are allowed", span(s), span(t)));
        }
    }
    if !bad.is_empty() {
        return Verdict { outcome: Outcome::Fail, reasons: bad };
    }
    let mut open: Vec<String> =
        named(Outcome::Unknown).map(|name| format!("{name} could not be found out")).collect();
    open.extend(facts.not_done.iter().map(|(name, why)| format!("{name} was not done: {why}")));
    for (what, measured) in [("RTO", facts.rto), ("RPO", facts.rpo)] {
        if measured.outcome() == Outcome::Unknown {
            open.push(format!("{what} could not be measured"));
        }
    }
    if facts.checks.is_empty() {
        open.push("nothing was checked".into());
    }
    let outcome = if open.is_empty() { Outcome::Pass } else { Outcome::Unknown };
    Verdict { outcome, reasons: open }
}

fn span(seconds: f64) -> Span {
    Span(Duration::from_secs_f64(seconds.clamp(0.0, 1e12)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts<'a>(checks: &'a [(String, Outcome)], findings: &'a [Finding]) -> Facts<'a> {
        Facts { checks, findings, not_done: &[], rto: Measured::default(), rpo: Measured::default() }
    }

    #[test]
    fn unknown_is_never_green() {
        let pass = [("a".to_owned(), Outcome::Pass)];
        assert_eq!(judge(&facts(&pass, &[])).outcome, Outcome::Pass);
        assert_eq!(judge(&facts(&[], &[])).outcome, Outcome::Unknown);
        let open = [("a".to_owned(), Outcome::Pass), ("b".to_owned(), Outcome::Unknown)];
        assert_eq!(judge(&facts(&open, &[])).outcome, Outcome::Unknown);
        let not_done = [("c".to_owned(), "why".to_owned())];
        assert_eq!(judge(&Facts { not_done: &not_done, ..facts(&pass, &[]) }).outcome, Outcome::Unknown);
        let limited = Measured { seconds: None, target_seconds: Some(60.0) };
        assert_eq!(judge(&Facts { rto: limited, ..facts(&pass, &[]) }).outcome, Outcome::Unknown);
    }

    #[test]
    fn bad_beats_unknown() {
        let both = [("a".to_owned(), Outcome::Fail), ("b".to_owned(), Outcome::Unknown)];
        assert_eq!(judge(&facts(&both, &[])).outcome, Outcome::Fail);
        let pass = [("a".to_owned(), Outcome::Pass)];
        let slow = Measured { seconds: Some(61.0), target_seconds: Some(60.0) };
        let verdict = judge(&Facts { rpo: slow, ..facts(&pass, &[]) });
        assert_eq!((verdict.outcome, verdict.reasons.len()), (Outcome::Fail, 1));
        let finding = |severity| [Finding::new("R0301", severity, "shop", "m", "f")];
        assert_eq!(judge(&facts(&pass, &finding(Severity::High))).outcome, Outcome::Fail);
        assert_eq!(judge(&facts(&pass, &finding(Severity::Warning))).outcome, Outcome::Pass);
    }
}
