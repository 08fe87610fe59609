//! Which packs are read, and in which order.

use crate::id::Id;
use jiff::Timestamp;
use recoup_core::env::Env;
use std::time::Duration;

/// Which packs a check reads.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Slice {
    /// All of them.
    #[default]
    All,
    /// One part of several: part 1 of 7 today, 2 of 7 tomorrow.
    Part(Subset),
    /// Some at random: so many of a hundred, and at least one.
    Percent(f64),
    /// Some at random that add up to so many bytes or a little more.
    Bytes(u64),
    /// Those that were verified the longest time ago, until the budget is used.
    Budget(Budget),
}

/// Part `part`, counted from 1, of `of` parts, by the first byte of the name, as restic divides them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subset {
    /// From 1 to `of`.
    pub part: u32,
    /// At least 1, at most 256: there are no more different first bytes.
    pub of: u32,
}

/// How much a check may cost. One pack is always read, so that many small budgets come through in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// Bytes that are read.
    Bytes(u64),
    /// After so long no further pack is begun.
    Time(Duration),
}

impl Subset {
    fn takes(self, pack: &Id) -> bool {
        u32::from(pack.as_bytes()[0]) % self.of.max(1) == self.part.saturating_sub(1)
    }
}

impl Slice {
    /// How long packs may be begun.
    pub(super) fn time(&self) -> Option<Duration> {
        match self {
            Slice::Budget(Budget::Time(time)) => Some(*time),
            _ => None,
        }
    }

    /// The packs to read, the first ones first. `when` says when a pack was verified last.
    pub(super) fn choose(
        &self,
        mut packs: Vec<(Id, u64)>,
        when: impl Fn(&Id) -> Option<Timestamp>,
        env: &Env,
    ) -> Vec<(Id, u64)> {
        match *self {
            Slice::All => packs,
            Slice::Part(subset) => {
                packs.retain(|(id, _)| subset.takes(id));
                packs
            }
            Slice::Percent(percent) => {
                let wanted = (packs.len() as f64 * percent.clamp(0.0, 100.0) / 100.0) as usize;
                shuffle(&mut packs, env);
                packs.truncate(wanted.max(1));
                packs
            }
            Slice::Bytes(bytes) => {
                shuffle(&mut packs, env);
                up_to(packs, bytes, true)
            }
            Slice::Budget(budget) => {
                // Never comes before any time.
                packs.sort_by_cached_key(|(id, _)| (when(id), *id));
                match budget {
                    Budget::Bytes(bytes) => up_to(packs, bytes, false),
                    Budget::Time(_) => packs,
                }
            }
        }
    }
}

/// The first packs that together have `bytes` bytes; with the one that reaches them if `over`, else without, but
/// at least one.
fn up_to(packs: Vec<(Id, u64)>, bytes: u64, over: bool) -> Vec<(Id, u64)> {
    let mut sum: u64 = 0;
    let mut first = true;
    let fits = |(_, size): &(Id, u64)| {
        let before = sum;
        sum = sum.saturating_add(*size);
        std::mem::take(&mut first) || if over { before < bytes } else { sum <= bytes }
    };
    packs.into_iter().take_while(fits).collect()
}

fn shuffle(packs: &mut [(Id, u64)], env: &Env) {
    packs.sort_by_cached_key(|_| env.random::<8>());
}
