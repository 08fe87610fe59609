//! The exit codes: a contract for scripts, tested. One table for recoup's own verbs, and restic's
//! manners for `recoup repo`.

use recoup_core::event::Outcome;
use recoup_core::{Error, Kind};

/// Done, and all that was asked was proven.
pub const DONE: u8 = 0;
/// Ran to the end and the answer is bad.
pub const BAD: u8 = 1;
/// Usage or configuration error; nothing was attempted.
pub const USAGE: u8 = 2;
/// Could not find out.
pub const UNKNOWN: u8 = 3;
/// The durable minimum is met, something else is missing.
pub const PARTIAL: u8 = 4;
/// Refused by a guard.
pub const REFUSED: u8 = 5;
/// Interrupted and resumable.
pub const RESUMABLE: u8 = 6;
/// Ctrl-C before anything resumable existed.
pub const CANCELLED: u8 = 130;

/// The code of a verb that came to an answer.
pub fn of_outcome(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Pass => DONE,
        Outcome::Fail => BAD,
        Outcome::Unknown => UNKNOWN,
        Outcome::Partial => PARTIAL,
        Outcome::Refused => REFUSED,
    }
}

/// The code of a verb that ended in an error.
pub fn of_error(error: &Error) -> u8 {
    match error.kind() {
        Kind::Config => USAGE,
        Kind::Corrupt => BAD,
        Kind::Exists | Kind::Conflict | Kind::Refused => REFUSED,
        Kind::Interrupted => RESUMABLE,
        Kind::NotFound
        | Kind::Denied
        | Kind::Locked
        | Kind::Unavailable
        | Kind::TimedOut
        | Kind::Unsupported
        | Kind::Bug => UNKNOWN,
    }
}

/// The word of an error in JSON.
pub fn outcome_of_error(error: &Error) -> Outcome {
    match of_error(error) {
        REFUSED => Outcome::Refused,
        BAD | USAGE => Outcome::Fail,
        _ => Outcome::Unknown,
    }
}

/// The code of `recoup repo` for an error: restic defines 1, 10, 11 and 12; 2 stays recoup's for
/// usage, as in restic's own command line parser.
pub fn of_repo_error(error: &Error) -> u8 {
    match error.stable_code() {
        Some("E0402" | "E0410") => 10,
        Some("E0411") => 11,
        Some("E0412") => 12,
        _ if error.kind() == Kind::Config => USAGE,
        _ => BAD,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_and_kind_has_its_code() {
        let outcomes = [
            (Outcome::Pass, 0),
            (Outcome::Fail, 1),
            (Outcome::Unknown, 3),
            (Outcome::Partial, 4),
            (Outcome::Refused, 5),
        ];
        for (outcome, code) in outcomes {
            assert_eq!(of_outcome(outcome), code);
        }
        let kinds = [
            (Kind::Config, 2),
            (Kind::Corrupt, 1),
            (Kind::Refused, 5),
            (Kind::Interrupted, 6),
            (Kind::Unavailable, 3),
        ];
        for (kind, code) in kinds {
            assert_eq!(of_error(&Error::new(kind, "try")), code);
        }
        let locked = Error::new(Kind::Locked, "lock").code("E0411");
        assert_eq!((of_repo_error(&locked), of_error(&locked)), (11, 3));
    }
}
