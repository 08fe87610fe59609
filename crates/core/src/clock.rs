//! Can the clock be trusted with a deletion? Who can set the clock of the machine that deletes can make everything
//! look old (fault row 61), and a battery that is empty makes everything look young. Doubt stops deletions and
//! nothing else.

use crate::retention::points::Doubt;
use crate::units::Span;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How far two clocks may be apart.
pub const SKEW_MAX: Duration = Duration::from_secs(300);
/// How old the newest statement may be where points are not made more rarely.
pub const SILENCE_MAX: Duration = Duration::from_secs(86_400);

/// When a machine was last looked at, by its two clocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Wall clock.
    pub wall: Timestamp,
    /// Which start of the machine this was.
    pub boot: String,
    /// Time since then, sleep included.
    pub since_boot: Duration,
}

/// What is known of the time.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The clocks of this machine, now.
    pub now: &'a Seen,
    /// The same, when a run last looked.
    pub last: Option<&'a Seen>,
    /// The newest signed statement, by whoever.
    pub newest: Option<Timestamp>,
    /// How often points are made.
    pub every: Option<Span>,
    /// What locations with a clock of their own say the time is, by name.
    pub locations: &'a [(String, Timestamp)],
}

/// Why nothing should be deleted now; empty if the clock can be trusted as far as can be told.
pub fn doubts(facts: &Facts<'_>) -> Vec<Doubt> {
    let mut all = Vec::new();
    let mut doubt = |why: String| all.push(Doubt { code: "E0665".to_owned(), why });
    let now = facts.now.wall;
    if let Some(newest) = facts.newest {
        let silence = facts.every.map_or(SILENCE_MAX, |e| SILENCE_MAX.max(e.0.saturating_mul(3)));
        if apart(newest, now) > SKEW_MAX && newest > now {
            doubt(format!("the newest statement is of {newest}, which this clock has not reached"));
        } else if apart(newest, now) > silence {
            let age = Span(Duration::from_secs(apart(newest, now).as_secs()));
            doubt(format!(
                "by this clock nothing was signed for {age}: it was set forward, or backups do not run"
            ));
        }
    }
    if let Some(last) = facts.last.filter(|last| last.boot == facts.now.boot) {
        let wall = now.duration_since(last.wall).as_millis();
        let ran = facts.now.since_boot.saturating_sub(last.since_boot).as_millis();
        let ran = i128::try_from(ran).unwrap_or(i128::MAX);
        if (wall - ran).unsigned_abs() > SKEW_MAX.as_millis() {
            doubt(format!(
                "the clock was set since {}: it moved by other than the time that passed",
                last.wall
            ));
        }
    } else if let Some(last) = facts.last.filter(|last| last.wall > now && apart(last.wall, now) > SKEW_MAX) {
        doubt(format!("this clock was at {} before the machine was started anew", last.wall));
    }
    for (name, time) in facts.locations.iter().filter(|(_, time)| apart(*time, now) > SKEW_MAX) {
        doubt(format!("location {name} says it is {time}, this machine says {now}"));
    }
    all
}

fn apart(one: Timestamp, other: Timestamp) -> Duration {
    one.duration_since(other).unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(wall: &str, boot: &str, since_boot: u64) -> Seen {
        Seen { wall: wall.parse().unwrap(), boot: boot.into(), since_boot: Duration::from_secs(since_boot) }
    }

    fn why(now: &Seen, last: Option<&Seen>, newest: Option<&str>, locations: &[(&str, &str)]) -> String {
        let locations: Vec<(String, Timestamp)> =
            locations.iter().map(|(name, t)| ((*name).to_owned(), t.parse().unwrap())).collect();
        let newest = newest.map(|t| t.parse().unwrap());
        let facts = Facts { now, last, newest, every: None, locations: &locations };
        doubts(&facts).into_iter().map(|d| d.why).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn a_clock_that_runs_is_trusted() {
        let last = seen("2026-11-29T10:00:00Z", "a", 100);
        let now = seen("2026-11-29T11:00:00Z", "a", 3700);
        let near = [("eu", "2026-11-29T11:03:00Z")];
        assert_eq!(why(&now, Some(&last), Some("2026-11-29T10:55:00Z"), &near), "");
        // Started anew since, or never seen, or a little behind.
        assert_eq!(why(&seen("2026-11-29T11:00:00Z", "b", 5), Some(&last), None, &[]), "");
        assert_eq!(why(&now, None, None, &[]), "");
        assert_eq!(why(&now, None, Some("2026-11-29T11:04:00Z"), &[]), "");
    }

    #[test]
    fn row_061_a_clock_that_was_set_is_not() {
        let last = seen("2026-11-29T10:00:00Z", "a", 100);
        let ahead = seen("2036-11-29T11:00:00Z", "a", 3700);
        let said = why(&ahead, Some(&last), Some("2026-11-29T10:55:00Z"), &[]);
        assert!(said.contains("nothing was signed for") && said.contains("was set since"), "{said}");
        // After a start the passed time is not known, and the silence still tells.
        let restarted = seen("2036-11-29T11:00:00Z", "b", 10);
        assert!(
            why(&restarted, Some(&last), Some("2026-11-29T10:55:00Z"), &[])
                .contains("nothing was signed for")
        );
        let behind = seen("2024-11-29T11:00:00Z", "b", 10);
        let said = why(&behind, Some(&last), Some("2026-11-29T10:55:00Z"), &[]);
        assert!(
            said.contains("has not reached") && said.contains("before the machine was started"),
            "{said}"
        );
        let alone = seen("2026-11-29T11:00:00Z", "a", 3700);
        assert!(why(&alone, None, None, &[("eu", "2026-11-29T10:50:00Z")]).starts_with("location eu says"));
        // A minute in which six passed.
        let crept = seen("2026-11-29T11:06:00Z", "a", 3700);
        assert!(why(&crept, Some(&last), None, &[]).starts_with("the clock was set"));
    }

    #[test]
    fn points_that_are_made_rarely_allow_a_longer_silence() {
        let now = seen("2026-11-29T11:00:00Z", "a", 3700);
        let newest = Some("2026-11-20T11:00:00Z".parse().unwrap());
        let weekly =
            Facts { now: &now, last: None, newest, every: Some("7d".parse().unwrap()), locations: &[] };
        assert_eq!(doubts(&weekly), []);
        assert_eq!(doubts(&Facts { every: Some("1d".parse().unwrap()), ..weekly }).len(), 1);
    }
}
