//! Whether a log is what it was: lines and public keys in, the first thing that is wrong out.

use super::record::Line;
use crate::crypto::Signer;
use crate::crypto::note::{Checkpoint, Note};
use crate::crypto::tree::Tree;
use std::fmt;

/// What a log proves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How many records hold, from the first.
    pub records: u64,
    /// What the log says of itself after the last of them.
    pub head: Option<Checkpoint>,
    /// Up to which record somebody who is trusted answers for it.
    pub signed: u64,
    /// Who that is, the latest last.
    pub signers: Vec<Signer>,
    /// Records that nobody signed when they were written.
    pub late: Vec<Late>,
    /// The first thing that is wrong; what comes after it says nothing.
    pub wrong: Option<Wrong>,
}

/// Records that nobody signed when they were written, and that a later signature answers for: what they were
/// before that, nobody says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late {
    /// The first.
    pub from: u64,
    /// The last.
    pub to: u64,
}

/// The first thing that is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// A record, or its checkpoint, is not what was written.
    Changed {
        /// Which.
        number: u64,
    },
    /// Nobody signed the records `from` to `to - 1`, and they are not those that the checkpoint of `to` is about.
    Between {
        /// The first that is in doubt.
        from: u64,
        /// The last.
        to: u64,
    },
    /// Records are missing.
    Missing {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// A record stands before one that is older.
    Moved {
        /// Which.
        number: u64,
        /// Whose place it is.
        place: u64,
    },
    /// Something stands after this record that was there before already.
    Added {
        /// After which.
        after: u64,
    },
    /// The checkpoint of a record is signed, but by nobody who is trusted.
    Stranger {
        /// Which.
        number: u64,
    },
    /// The last line has no end: a crash cut it off, or somebody did.
    CutOff {
        /// Which record it would be.
        number: u64,
    },
}

/// Checks the text of a log with the public keys in `trusted`. Without any, signatures are not looked at.
pub fn verify(log: &[u8], trusted: &[Signer]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut tree = Tree::default();
    let lines: Vec<&[u8]> = log.split_inclusive(|b| *b == b'\n').collect();
    for (at, line) in lines.iter().enumerate() {
        if let Err(wrong) = next(line, &lines[at + 1..], &mut tree, &mut verdict, trusted) {
            verdict.wrong = Some(wrong);
            break;
        }
    }
    verdict
}

/// Whether `line` is the record that comes next.
fn next(
    line: &[u8],
    later: &[&[u8]],
    tree: &mut Tree,
    verdict: &mut Verdict,
    trusted: &[Signer],
) -> Result<(), Wrong> {
    let number = verdict.records + 1;
    let whole = line.strip_suffix(b"\n").ok_or(Wrong::CutOff { number })?;
    let changed = |_| Wrong::Changed { number };
    let line = Line::parse(whole).map_err(changed)?;
    let note = Note::parse(&line.note).map_err(changed)?;
    let said = &note.checkpoint;
    let ours = verdict.head.as_ref().is_none_or(|head| head.origin == said.origin);
    if said.size != line.number || said.origin != line.log || !ours {
        return Err(Wrong::Changed { number });
    }
    if line.number != number {
        return Err(misplaced(line.number, number, later));
    }
    tree.push(line.hashed.as_bytes());
    let signer = note.signer(trusted);
    if said.root != tree.root() {
        let from = verdict.signed + 1;
        let doubtful = signer.is_some() && from < number;
        return Err(if doubtful { Wrong::Between { from, to: number } } else { Wrong::Changed { number } });
    }
    if signer.is_none() && note.is_signed() && !trusted.is_empty() {
        return Err(Wrong::Stranger { number });
    }
    if let Some(signer) = signer {
        if verdict.signed + 1 < number {
            verdict.late.push(Late { from: verdict.signed + 1, to: number - 1 });
        }
        verdict.signed = number;
        if verdict.signers.last() != Some(signer) {
            verdict.signers.retain(|known| known != signer);
            verdict.signers.push(signer.clone());
        }
    }
    verdict.records = number;
    verdict.head = Some(note.checkpoint);
    Ok(())
}

/// The record `found` stands where `expected` should.
fn misplaced(found: u64, expected: u64, later: &[&[u8]]) -> Wrong {
    if found < expected {
        return Wrong::Added { after: expected - 1 };
    }
    let comes_later = later.iter().any(|line| {
        let line = Line::parse(line.strip_suffix(b"\n").unwrap_or(line));
        line.is_ok_and(|line| line.number == expected)
    });
    if comes_later {
        Wrong::Moved { number: found, place: expected }
    } else {
        Wrong::Missing { from: expected, to: found - 1 }
    }
}

/// A log beside its copy, each of which holds by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compared {
    /// They are the same.
    Same,
    /// The copy is the beginning of the log.
    Behind {
        /// How many records the copy lacks.
        records: u64,
    },
    /// The log ends earlier than its copy: it was truncated, or an old state of it was put back.
    Truncated {
        /// The last record of the log.
        after: u64,
        /// The last record of the copy.
        copy: u64,
    },
    /// Both have this record, and it is not the same.
    Rewritten {
        /// The first that differs.
        from: u64,
    },
}

/// Compares the lines of a log with those of its copy, as far as each of them holds.
pub fn compare(log: &[u8], copy: &[u8], held: [u64; 2]) -> Compared {
    let lines =
        |text: &'_ [u8]| -> Vec<Vec<u8>> { text.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect() };
    let (ours, theirs) = (lines(log), lines(copy));
    let both = held[0].min(held[1]);
    let differs = (0..both).find(|at| {
        let at = usize::try_from(*at).unwrap_or(usize::MAX);
        ours.get(at) != theirs.get(at)
    });
    match differs {
        Some(at) => Compared::Rewritten { from: at + 1 },
        None if held[0] == held[1] => Compared::Same,
        None if held[0] > held[1] => Compared::Behind { records: held[0] - held[1] },
        None => Compared::Truncated { after: held[0], copy: held[1] },
    }
}

impl Wrong {
    /// The record that it names.
    pub fn number(&self) -> u64 {
        match self {
            Wrong::Changed { number } | Wrong::Stranger { number } | Wrong::CutOff { number } => *number,
            Wrong::Between { from, .. } | Wrong::Missing { from, .. } => *from,
            Wrong::Moved { place, .. } => *place,
            Wrong::Added { after } => after + 1,
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Changed { number } => write!(f, "record {number} is not what was written"),
            Wrong::Between { from, to } => write!(
                f,
                "one of the records {from} to {to} is not what was written; of these only {to} was signed"
            ),
            Wrong::Missing { from, to } if from == to => write!(f, "record {from} is missing"),
            Wrong::Missing { from, to } => write!(f, "records {from} to {to} are missing"),
            Wrong::Moved { number, place } => {
                write!(f, "record {number} stands in the place of record {place}")
            }
            Wrong::Added { after } => {
                write!(f, "record {}: what stands after record {after} was added", after + 1)
            }
            Wrong::Stranger { number } => {
                write!(f, "record {number} was sealed with a key that nobody here trusts")
            }
            Wrong::CutOff { number } => write!(f, "record {number} is cut off in the middle of its line"),
        }
    }
}
