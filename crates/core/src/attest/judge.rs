//! The chains that were found against what is known: facts in, a judgement out.

use super::{Sealed, Statement};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The newest statement of a signer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its number.
    pub sequence: u64,
    /// SHA-256 of its text, as hex.
    pub hash: String,
    /// When it was made.
    pub time: Timestamp,
}

/// The head of each signer, by its name.
pub type Heads = BTreeMap<String, Head>;

/// What this machine knows from before.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The application.
    pub application: &'a str,
    /// Full id of the repository.
    pub repository: &'a str,
    /// Name of the location.
    pub location: &'a str,
    /// Statements of which this machine has a copy.
    pub copies: &'a [Sealed],
    /// The newest of each signer that was seen at this location.
    pub seen: &'a Heads,
    /// Up to which number of each signer the location held every point.
    pub held: &'a BTreeMap<String, u64>,
}

/// One thing that is wrong with the chains at a location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The chain ends earlier than it did: an old state was put back, or the newest were removed.
    Backwards {
        /// Who signs.
        signer: String,
        /// What was there before.
        expected: u64,
        /// What is there now; 0 if nothing.
        found: u64,
    },
    /// A number has another statement than it had.
    Rewritten {
        /// Who signs.
        signer: String,
        /// Which number.
        sequence: u64,
    },
    /// Numbers are missing in between.
    Gap {
        /// Who signs.
        signer: String,
        /// The first that is missing.
        from: u64,
        /// The last that is missing.
        to: u64,
    },
    /// Two statements have one number, or one does not name the one before it.
    Forked {
        /// Who signs.
        signer: String,
        /// Which number.
        sequence: u64,
    },
    /// A statement is about another repository or application.
    Elsewhere {
        /// Who signs.
        signer: String,
        /// Which number.
        sequence: u64,
    },
}

/// What the chains prove.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgement {
    /// What is stated of each point, by its id.
    pub points: BTreeMap<String, Stated>,
    /// Why points are held, by point.
    pub holds: BTreeMap<String, Vec<Hold>>,
    /// Deletions that are planned and neither done nor undone, by the hash of the plan.
    pub planned: BTreeMap<String, Planned>,
    /// The policies that the newest plan followed, as canonical JSON: what somebody has confirmed.
    pub policies: Option<String>,
    /// Points that somebody looked into and released; they are not suspicious any more.
    pub released: BTreeSet<String>,
    /// Why points are suspicious that are neither released nor gone, by point.
    pub suspects: BTreeMap<String, Vec<String>>,
    /// Points that are stated as deleted.
    pub deleted: BTreeSet<String>,
    /// Points that were deleted as planned, or whose loss was looked into.
    pub gone: BTreeSet<String>,
    /// The newest of each signer at the location.
    pub heads: Heads,
    /// What is wrong.
    pub troubles: Vec<Trouble>,
}

/// A deletion that will be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// Full ids of the points that are still to go.
    pub points: BTreeSet<String>,
    /// Not before then.
    pub due: Timestamp,
    /// Who confirmed it.
    pub by: String,
}

/// What is stated of a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stated {
    /// Who signed it.
    pub signer: String,
    /// Number of the statement.
    pub sequence: u64,
    /// When it was stated, never before what the same signer stated earlier; none for a point that was taken
    /// over. It orders points when the clock of the host went back (fault row 60).
    pub order: Option<Timestamp>,
    /// Full tree ids by source.
    pub trees: BTreeMap<String, String>,
    /// Whether the location that is judged must have it.
    pub is_expected: bool,
}

/// Why a point is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hold {
    /// In words.
    pub reason: String,
    /// Who said so.
    pub by: String,
    /// When.
    pub since: Timestamp,
}

impl Judgement {
    /// Whether anybody ever signed for this application here.
    pub fn has_begun(&self) -> bool {
        !self.heads.is_empty() || !self.points.is_empty()
    }

    /// Whether somebody answers for the point `id` with these trees by source.
    pub fn attests(&self, id: &str, trees: &BTreeMap<String, String>) -> bool {
        self.points.get(id).is_some_and(|stated| stated.trees == *trees)
    }

    /// Points that the location must have, that nobody deleted, and that are not among `present`.
    pub fn missing(&self, present: &BTreeSet<&str>) -> impl Iterator<Item = (&str, &Stated)> {
        let absent = |id: &str| !present.contains(id) && !self.gone.contains(id);
        let points = self.points.iter().filter(|(_, stated)| stated.is_expected);
        points.map(|(id, stated)| (id.as_str(), stated)).filter(move |(id, _)| absent(id))
    }
}

/// Judges the statements `found` at a location, whose signatures hold, in any order.
pub fn judge(found: &[Sealed], known: &Known<'_>) -> Judgement {
    let mut judgement = Judgement::default();
    let mut chains: BTreeMap<&str, BTreeMap<u64, Vec<&Sealed>>> = BTreeMap::new();
    for sealed in found {
        let says = &sealed.attestation;
        if says.application != known.application || says.repository != known.repository {
            let (signer, sequence) = (says.signer.clone(), says.sequence);
            judgement.troubles.push(Trouble::Elsewhere { signer, sequence });
            continue;
        }
        chains.entry(&says.signer).or_default().entry(says.sequence).or_default().push(sealed);
    }
    for (signer, chain) in &chains {
        links(signer, chain, &mut judgement);
        if let Some(last) = chain.values().next_back().and_then(|at| at.first()) {
            judgement.heads.insert((*signer).to_owned(), last.head());
        }
    }
    for (signer, expected) in known.seen {
        against(signer, expected, chains.get(signer.as_str()), &mut judgement.troubles);
    }
    fold(&chains, known, &mut judgement);
    judgement
}

/// Whether the statements of one signer follow each other.
fn links(signer: &str, chain: &BTreeMap<u64, Vec<&Sealed>>, judgement: &mut Judgement) {
    let mut before: Option<(u64, String)> = None;
    for (&sequence, at) in chain {
        let next = before.as_ref().map_or(1, |(last, _)| last + 1);
        if sequence > next {
            let (from, to) = (next, sequence - 1);
            judgement.troubles.push(Trouble::Gap { signer: signer.to_owned(), from, to });
        }
        let expected = before.as_ref().filter(|_| sequence == next).map(|(_, hash)| hash);
        let follows = |s: &&Sealed| match (expected, &s.attestation.previous) {
            (Some(hash), previous) => previous.as_ref() == Some(hash),
            (None, previous) => sequence > 1 || previous.is_none(),
        };
        if at.len() > 1 || !at.iter().all(follows) {
            judgement.troubles.push(Trouble::Forked { signer: signer.to_owned(), sequence });
        }
        before = at.first().map(|s| (sequence, s.hash()));
    }
}

/// Whether what was seen at the location before is still there.
fn against(
    signer: &str,
    expected: &Head,
    chain: Option<&BTreeMap<u64, Vec<&Sealed>>>,
    troubles: &mut Vec<Trouble>,
) {
    let found = chain.and_then(|c| c.keys().next_back().copied()).unwrap_or(0);
    let signer = signer.to_owned();
    if found < expected.sequence {
        troubles.push(Trouble::Backwards { signer, expected: expected.sequence, found });
        return;
    }
    let then = chain.and_then(|c| c.get(&expected.sequence));
    if then.is_some_and(|at| at.iter().all(|s| s.hash() != expected.hash)) {
        troubles.push(Trouble::Rewritten { signer, sequence: expected.sequence });
    }
}

/// What the statements add up to, in the order of time. What this machine has a copy of counts as well: removing a
/// statement at a location does not unsay it, and a hold holds where it was not heard of yet.
fn fold(chains: &BTreeMap<&str, BTreeMap<u64, Vec<&Sealed>>>, known: &Known<'_>, judgement: &mut Judgement) {
    let is_meant = |s: &&Sealed| {
        s.attestation.application == known.application && s.attestation.repository == known.repository
    };
    let found = chains.values().flat_map(|chain| chain.values().flatten().copied());
    let mut all: Vec<&Sealed> = found.chain(known.copies.iter().filter(is_meant)).collect();
    all.sort_by(|a, b| order(a).cmp(&order(b)));
    // Within a chain the numbers are the order, whatever the clock of the host said.
    let mut latest: BTreeMap<&str, Timestamp> = BTreeMap::new();
    let mut timed: Vec<(Timestamp, &Sealed)> = Vec::with_capacity(all.len());
    for sealed in all {
        let at = latest.entry(&sealed.attestation.signer).or_insert(sealed.attestation.time);
        *at = sealed.attestation.time.max(*at);
        timed.push((*at, sealed));
    }
    timed.sort_by_key(|(at, _)| *at);
    let mut done = BTreeSet::new();
    for (at, sealed) in timed {
        if done.insert(sealed.hash()) {
            add(at, sealed, known, judgement);
        }
    }
}

fn order(sealed: &Sealed) -> (&str, u64) {
    (&sealed.attestation.signer, sealed.attestation.sequence)
}

fn add(at: Timestamp, sealed: &Sealed, known: &Known<'_>, judgement: &mut Judgement) {
    let says = &sealed.attestation;
    let held = known.held.get(&says.signer).is_some_and(|up_to| says.sequence <= *up_to);
    let stated = |trees: &BTreeMap<String, String>, order: Option<Timestamp>| Stated {
        signer: says.signer.clone(),
        sequence: says.sequence,
        order,
        trees: trees.clone(),
        is_expected: held || says.location == known.location,
    };
    match &says.statement {
        Statement::Begin { points } => {
            judgement.points.extend(points.iter().map(|(id, trees)| (id.clone(), stated(trees, None))));
        }
        Statement::Point(point) => {
            if !point.suspect.is_empty() {
                judgement.suspects.insert(point.point.clone(), point.suspect.clone());
            }
            judgement.points.insert(point.point.clone(), stated(&point.trees(), Some(at)));
        }
        Statement::Hold { point, reason, by } => {
            let hold = Hold { reason: reason.clone(), by: by.clone(), since: says.time };
            judgement.holds.entry(point.clone()).or_default().push(hold);
            judgement.released.remove(point);
        }
        Statement::Release { point, .. } => {
            judgement.holds.remove(point);
            judgement.suspects.remove(point);
            judgement.released.insert(point.clone());
        }
        Statement::Planned { points, plan, policies, due, by } => {
            let (points, by) = (points.iter().cloned().collect(), by.clone());
            judgement.planned.insert(plan.clone(), Planned { points, due: *due, by });
            judgement.policies = Some(policies.clone());
        }
        Statement::Undone { plan, reason, by } => {
            let hold = Hold { reason: reason.clone(), by: by.clone(), since: says.time };
            for point in judgement.planned.remove(plan).into_iter().flat_map(|p| p.points) {
                judgement.holds.entry(point).or_default().push(hold.clone());
            }
        }
        Statement::Deletion { points, .. } | Statement::Loss { points, .. } => {
            if matches!(says.statement, Statement::Deletion { .. }) {
                judgement.deleted.extend(points.iter().cloned());
            }
            for planned in judgement.planned.values_mut() {
                planned.points.retain(|id| !points.contains(id));
            }
            judgement.planned.retain(|_, planned| !planned.points.is_empty());
            judgement.suspects.retain(|id, _| !points.contains(id));
            judgement.gone.extend(points.iter().cloned());
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Backwards { signer, expected, found } => write!(
                f,
                "the signed history went backwards: number {found} < {expected} of signer {signer}; an old state \
                 was put back, or the newest statements were removed"
            ),
            Trouble::Rewritten { signer, sequence } => {
                write!(f, "statement {sequence} of signer {signer} is not the one that was there before")
            }
            Trouble::Gap { signer, from, to } if from == to => {
                write!(f, "statement {from} of signer {signer} is missing")
            }
            Trouble::Gap { signer, from, to } => {
                write!(f, "statements {from} to {to} of signer {signer} are missing")
            }
            Trouble::Forked { signer, sequence } => write!(
                f,
                "statement {sequence} of signer {signer} does not follow from the one before it; are two machines \
                 using one signing key?"
            ),
            Trouble::Elsewhere { signer, sequence } => write!(
                f,
                "statement {sequence} of signer {signer} is about another repository or application"
            ),
        }
    }
}
