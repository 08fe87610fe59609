//! When each pack was last read from end to end and found whole.
//!
//! One sealed object in a place of the caller, beside no repository: it says of one repository at one location,
//! so a copy of it elsewhere is not verified by it. Unknown is never verified: what is torn, was changed, is of
//! another location or dated in the future counts as nothing, and that is said.

use crate::id::Id;
use crate::problem::Problem;
use crate::repository::Repository;
use jiff::{SignedDuration, Timestamp};
use recoup_core::{Error, Kind, Result};
use recoup_store::{Key, Put, Store};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// First line of the content; a newer form has another.
const MAGIC: &str = "recoup verified packs 1";

/// Bytes for one pack: its id and the second of its verification, big-endian.
const ENTRY_BYTES: usize = 32 + 8;

/// How far ahead of our clock a time may lie: other hosts share the place, and clocks differ.
const AHEAD: SignedDuration = SignedDuration::from_hours(1);

/// What counts as verified lately.
const LATELY: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Where a ledger is kept.
#[derive(Clone, Debug)]
pub struct LedgerPlace {
    /// A place of this host for this repository at this location, and for nothing else.
    pub store: Arc<dyn Store>,
    /// The location of the repository, in words that are always the same for it.
    pub location: String,
}

/// What is known of the packs of a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Packs that are there.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of these, packs that were never read as a whole, as far as is known.
    pub never: u64,
    /// Their bytes.
    pub never_bytes: u64,
    /// Packs that were read as a whole within 30 days.
    pub lately: u64,
    /// Their bytes.
    pub lately_bytes: u64,
    /// The longest time ago that any pack was read, if all have been.
    pub oldest: Option<Timestamp>,
}

/// The ledger of one repository at one location.
pub(super) struct Ledger {
    place: LedgerPlace,
    verified: BTreeMap<Id, Timestamp>,
    /// What this run has found damaged: nobody may say that it is whole.
    damaged: HashSet<Id>,
}

impl Ledger {
    /// Reads the ledger in `place`. One that cannot be used is as good as none, and a problem.
    pub(super) async fn load(repo: &Repository, place: LedgerPlace) -> (Self, Option<Problem>) {
        let (verified, problem) = match read(repo, &place).await {
            Ok(verified) => (verified, None),
            Err(err) => {
                let what = format!("it counts as empty, so no pack counts as verified: {err}");
                (BTreeMap::new(), Some(Problem::new("W0487", "ledger", what)))
            }
        };
        (Ledger { place, verified, damaged: HashSet::new() }, problem)
    }

    /// When `pack` was verified last.
    pub(super) fn when(&self, pack: &Id) -> Option<Timestamp> {
        self.verified.get(pack).copied()
    }

    /// Notes that `pack` was found whole.
    pub(super) fn whole(&mut self, pack: Id, now: Timestamp) {
        self.verified.insert(pack, now);
    }

    /// Notes that `pack` is not what it should be.
    pub(super) fn damaged(&mut self, pack: Id) {
        self.verified.remove(&pack);
        self.damaged.insert(pack);
    }

    /// Writes it down, with what others noted meanwhile; only `packs` are there any more.
    pub(super) async fn save(&mut self, repo: &Repository, packs: &HashSet<Id>) -> Result<()> {
        // One that cannot be read is replaced: it counts as empty.
        for (pack, when) in read(repo, &self.place).await.unwrap_or_default() {
            let known = self.verified.entry(pack).or_insert(when);
            *known = (*known).max(when);
        }
        self.verified.retain(|pack, _| packs.contains(pack) && !self.damaged.contains(pack));
        let mut plain = header(repo, &self.place).into_bytes();
        for (pack, when) in &self.verified {
            plain.extend_from_slice(pack.as_bytes());
            plain.extend_from_slice(&when.as_second().to_be_bytes());
        }
        let sealed = repo.key().seal(repo.env(), &plain);
        self.place.store.put(&key()?, sealed.into(), Put::Replace).await
    }

    /// What is known of `packs` with their sizes.
    pub(super) fn sum_up(&self, packs: &[(Id, u64)], now: Timestamp) -> Verified {
        let mut sum = Verified::default();
        let since = now.checked_sub(LATELY).unwrap_or(Timestamp::MIN);
        for (pack, bytes) in packs {
            sum.packs += 1;
            sum.bytes += bytes;
            match self.when(pack) {
                None => {
                    sum.never += 1;
                    sum.never_bytes += bytes;
                }
                Some(when) => {
                    sum.oldest = Some(sum.oldest.map_or(when, |oldest| oldest.min(when)));
                    if when >= since {
                        sum.lately += 1;
                        sum.lately_bytes += bytes;
                    }
                }
            }
        }
        if sum.never > 0 {
            sum.oldest = None;
        }
        sum
    }
}

fn key() -> Result<Key> {
    Key::new("verified-packs")
}

/// Names the repository and where it lies, so that the ledger of another is not taken for this one.
fn header(repo: &Repository, place: &LedgerPlace) -> String {
    format!("{MAGIC}\n{}\n{}\n\n", repo.id(), place.location)
}

async fn read(repo: &Repository, place: &LedgerPlace) -> Result<BTreeMap<Id, Timestamp>> {
    let sealed = match place.store.get(&key()?, None).await {
        Ok(sealed) => sealed,
        Err(err) if err.kind() == Kind::NotFound => return Ok(BTreeMap::new()),
        Err(err) => return Err(err),
    };
    let plain = repo.key().open(&sealed)?;
    let other = || Error::new(Kind::Corrupt, "read the ledger of verified packs: it is of something else");
    let entries = plain.strip_prefix(header(repo, place).as_bytes()).ok_or_else(other)?;
    let (entries, rest) = entries.as_chunks::<ENTRY_BYTES>();
    if !rest.is_empty() {
        return Err(other());
    }
    let latest = repo.env().now().checked_add(AHEAD).unwrap_or(Timestamp::MAX);
    let mut verified = BTreeMap::new();
    for entry in entries {
        let Some((id, second)) = entry.split_first_chunk::<32>() else { return Err(other()) };
        let second = second.first_chunk::<8>().map(|second| i64::from_be_bytes(*second));
        let when = second.and_then(|second| Timestamp::from_second(second).ok());
        if let Some(when) = when.filter(|when| *when <= latest) {
            verified.insert(Id::from_bytes(*id), when);
        }
    }
    Ok(verified)
}
