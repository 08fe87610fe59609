//! The recovery kit: was one made, does it still fit, and was it proven lately?
//!
//! Nothing here fails a contract. Until a kit was made or `[keys] kit` asks for one, a key that no kit covers
//! is only told, and nothing is said about there being none: `recoup status` reminds of that.

use super::Past;
use crate::config::{Loaded, Problem};
use crate::keys::record::{Complaint, Current, PROVE_EVERY, judge};
use jiff::Timestamp;

/// All problems with the kit.
pub(super) fn check(loaded: &Loaded, past: &Past, now: Timestamp) -> Vec<Problem> {
    let declared = loaded.config.keys.as_ref().and_then(|keys| keys.kit);
    let asked = declared.is_some() || past.kit.is_some();
    let Some(current) = past.current.clone().or_else(|| Current::of(loaded, |_| None).ok()) else {
        return vec![];
    };
    let prove_every = declared.and_then(|kit| kit.prove_every).unwrap_or(PROVE_EVERY);
    let kit = past.kit.as_ref().map_or("", |kit| kit.kit.as_str());
    let complaints = judge(past.kit.as_ref(), &current, prove_every, now);
    complaints.into_iter().filter_map(|c| problem(loaded, c, kit, asked)).collect()
}

fn problem(loaded: &Loaded, complaint: Complaint, kit: &str, asked: bool) -> Option<Problem> {
    let new = "recoup keys kit --write FOLDER";
    let (problem, place) = match complaint {
        Complaint::NoKit if !asked => return None,
        Complaint::NoKit => (
            Problem::warning("W0490", "no recovery kit was made")
                .label("as far as this machine remembers")
                .hint(new),
            &["keys", "kit"],
        ),
        Complaint::NeverProven(location) => (
            Problem::warning("W0491", format!("the recovery kit was never proven at `location.{location}`"))
                .label(format!("kit {kit}"))
                .hint("recoup keys prove --kit kit.txt --secret secret.txt"),
            &["keys", "kit"],
        ),
        Complaint::Failed(location) => (
            Problem::warning("W0491", format!("the recovery kit does not open `location.{location}`"))
                .label(format!("kit {kit} failed its last proof"))
                .hint(new),
            &["keys", "kit"],
        ),
        Complaint::Old { location, age, allowed } => (
            Problem::warning(
                "W0491",
                format!("the proof of the recovery kit at `location.{location}` is old"),
            )
            .label(format!("kit {kit} was proven {age} ago, and at most {allowed} are allowed"))
            .hint("recoup keys prove --kit kit.txt --secret secret.txt"),
            &["keys", "kit"],
        ),
        Complaint::Changed(what) => (
            Problem::warning("W0492", "the recovery kit is not up to date")
                .label(format!("changed since kit {kit} was made: {}", what.join(", ")))
                .hint(new),
            &["keys", "kit"],
        ),
        Complaint::Uncovered(key) => {
            let title = format!("`{key}` is needed to read the data, and no recovery kit covers it");
            let problem = match asked {
                true => Problem::warning("W0420", title),
                false => Problem::info("W0420", title),
            };
            let hint =
                "make a kit after it was declared, and keep its value with the kit: recoup stores none";
            (problem.hint(hint), &["python", "keys"])
        }
    };
    Some(loaded.problem_at(problem, place))
}
