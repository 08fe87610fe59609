//! Which packs stay, go, or give their used blobs to new packs. Facts in, a plan with no choice left out.

use super::facts::{Facts, PackState};
use crate::blob::{BlobHandle, BlobKind};
use crate::golang::time::GoTime;
use jiff::Timestamp;
use recoup_core::{Error, Kind, Result};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::HashSet;
use std::str::FromStr;
use std::time::Duration;

/// A pack below this is small; several small ones become one. A quarter of what a full one has.
const SMALL_BYTES: u64 = 4 << 20;
/// The same for packs of trees.
const SMALL_TREE_BYTES: u64 = 1 << 20;
/// So many small packs are worth merging, however little is in them.
const SMALL_COUNT: usize = 10;

/// How much that nobody needs may stay in packs that are partly needed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unused {
    /// So many bytes.
    Bytes(u64),
    /// So many percent of what is stored afterwards, below 100.
    Percent(f64),
    /// Whatever there is.
    Unlimited,
}

impl FromStr for Unused {
    type Err = Error;

    /// As restic has it: `5%`, `200M`, `unlimited`.
    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::new(Kind::Config, format!("read \"{text}\" as a limit of unused space"))
                .hint("write a share as in \"5%\", a size as in \"200M\", or \"unlimited\"")
        };
        if text == "unlimited" {
            return Ok(Unused::Unlimited);
        }
        if let Some(number) = text.strip_suffix('%') {
            let percent: f64 = number.trim().parse().map_err(|_| bad())?;
            return if (0.0..100.0).contains(&percent) { Ok(Unused::Percent(percent)) } else { Err(bad()) };
        }
        bytes(text).map(Unused::Bytes).ok_or_else(bad)
    }
}

/// Bytes as restic's options have them: a number and perhaps K, M, G or T, by 1024.
pub fn bytes(text: &str) -> Option<u64> {
    let (number, shift) = match text.as_bytes().last()?.to_ascii_lowercase() {
        b'k' => (&text[..text.len() - 1], 10),
        b'm' => (&text[..text.len() - 1], 20),
        b'g' => (&text[..text.len() - 1], 30),
        b't' => (&text[..text.len() - 1], 40),
        b'b' => (&text[..text.len() - 1], 0),
        _ => (text, 0),
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// What the plan aims at.
#[derive(Clone, Debug)]
pub struct Goals {
    /// Unused bytes that may stay.
    pub max_unused: Unused,
    /// Bytes of packs that may be rewritten; `None` for all. Packs of both kinds are always rewritten.
    pub max_repack_bytes: Option<u64>,
    /// How long a pack that nobody needs stays marked; nothing is marked if it is zero.
    pub keep_delete: Duration,
    /// Now.
    pub now: Timestamp,
    /// Packs that were just written from others: their copies are the ones that stay.
    pub prefer: HashSet<crate::id::Id>,
    /// Whether packs may be rewritten at all.
    pub repack: bool,
}

/// What happens to a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It stays as it is, and an index file lists it.
    Keep,
    /// Its needed blobs are copied into new packs.
    Repack,
    /// It is given up; a later prune deletes it.
    Mark,
    /// It was given up and waits for its time.
    Wait,
    /// It was given up, and somebody needs it: it is listed again.
    Recover,
    /// It is deleted.
    Remove,
    /// It is missing; no index file speaks of it any more.
    Drop,
}

/// How much of what. Blobs count once for each copy, bytes are bytes in packs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Numbers {
    /// Blobs that snapshots need.
    pub blobs_used: u64,
    /// Their bytes.
    pub bytes_used: u64,
    /// Copies that nobody needs, second copies of needed ones among them.
    pub blobs_unused: u64,
    /// Their bytes.
    pub bytes_unused: u64,
    /// Packs that stay.
    pub packs_kept: u64,
    /// Packs that are rewritten.
    pub packs_repacked: u64,
    /// Bytes that are copied for it.
    pub bytes_repacked: u64,
    /// Packs that are given up now.
    pub packs_marked: u64,
    /// Bytes in them.
    pub bytes_marked: u64,
    /// Packs that were given up before and wait.
    pub packs_waiting: u64,
    /// Packs that were given up before and are listed again.
    pub packs_recovered: u64,
    /// Packs that are deleted.
    pub packs_removed: u64,
    /// Bytes in them.
    pub bytes_removed: u64,
    /// Bytes that nobody needs and that stay.
    pub bytes_unused_after: u64,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// For each pack of the facts.
    pub actions: Vec<Action>,
    /// For each copy of the facts, whether it is the one that is relied on.
    pub relied_on: Vec<bool>,
    /// In numbers.
    pub numbers: Numbers,
}

#[derive(Clone, Copy, Debug, Default)]
struct Load {
    used: u64,
    used_blobs: u64,
    unused: u64,
    has_data: bool,
    has_trees: bool,
}

impl Load {
    fn is_mixed(&self) -> bool {
        self.has_data && self.has_trees
    }

    fn is_small(&self, size: u64) -> bool {
        size < if self.has_trees { SMALL_TREE_BYTES } else { SMALL_BYTES }
    }
}

/// Decides. `needed[n]` says whether the blob of copy `n` is needed; it may be set for any copy of it.
///
/// # Errors
/// The blobs that are needed and that no sound pack has.
pub fn plan(facts: &Facts, needed: &[bool], goals: &Goals) -> std::result::Result<Plan, Vec<BlobHandle>> {
    let relied_on = choose(facts, needed, goals)?;
    let mut loads = vec![Load::default(); facts.packs.len()];
    for (ordinal, copy) in facts.copies.iter().enumerate() {
        let load = &mut loads[copy.pack as usize];
        let bytes = u64::from(copy.entry.length);
        if relied_on[ordinal] {
            load.used += bytes;
            load.used_blobs += 1;
        } else {
            load.unused += bytes;
        }
        match copy.entry.handle.kind {
            BlobKind::Data => load.has_data = true,
            BlobKind::Tree => load.has_trees = true,
        }
    }
    let mut actions: Vec<Action> =
        facts.packs.iter().zip(&loads).map(|(pack, load)| alone(pack, load, goals)).collect();
    if goals.repack {
        repack(facts, &loads, goals, &mut actions);
    }
    let numbers = count(facts, &loads, &relied_on, &actions);
    Ok(Plan { actions, relied_on, numbers })
}

/// One copy of each needed blob: in a sound pack, rather in one that is listed, and then in the one of
/// which most is needed, so that the others become free.
fn choose(facts: &Facts, needed: &[bool], goals: &Goals) -> std::result::Result<Vec<bool>, Vec<BlobHandle>> {
    let (mut wanted, mut total) = (vec![0_u64; facts.packs.len()], vec![0_u64; facts.packs.len()]);
    let mut kinds = vec![0_u8; facts.packs.len()];
    let mut groups = Vec::new();
    let mut from = 0;
    while from < facts.copies.len() {
        let handle = facts.copies[from].entry.handle;
        let count = facts.copies[from..].iter().take_while(|copy| copy.entry.handle == handle).count();
        let is_needed = needed[from..from + count].contains(&true);
        for copy in &facts.copies[from..from + count] {
            let bytes = u64::from(copy.entry.length);
            total[copy.pack as usize] += bytes;
            wanted[copy.pack as usize] += if is_needed { bytes } else { 0 };
            kinds[copy.pack as usize] |= 1 << handle.kind as u8;
        }
        if is_needed {
            groups.push(from..from + count);
        }
        from += count;
    }
    let share = |pack: usize| u128::from(wanted[pack]) * (1 << 32) / u128::from(total[pack].max(1));
    let worth = |ordinal: usize| {
        let at = facts.copies[ordinal].pack as usize;
        let pack = &facts.packs[at];
        let rank = match pack.state {
            PackState::Live => 2,
            PackState::Unlisted => 1,
            PackState::Marked(_) => 0,
        };
        let preferred = goals.prefer.contains(&pack.id);
        (rank, preferred, kinds[at] != 3, share(at), pack.size, Reverse(pack.id), Reverse(ordinal))
    };
    let mut relied_on = vec![false; facts.copies.len()];
    let mut missing = Vec::new();
    for group in groups {
        let handle = facts.copies[group.start].entry.handle;
        match group.filter(|&ordinal| facts.pack_of(ordinal).sound).max_by_key(|&ordinal| worth(ordinal)) {
            Some(best) => relied_on[best] = true,
            None => missing.push(handle),
        }
    }
    if missing.is_empty() { Ok(relied_on) } else { Err(missing) }
}

fn alone(pack: &super::facts::PackFact, load: &Load, goals: &Goals) -> Action {
    let give_up = if goals.keep_delete.is_zero() { Action::Remove } else { Action::Mark };
    if pack.size.is_none() {
        return Action::Drop;
    }
    match pack.state {
        PackState::Live | PackState::Unlisted if load.used_blobs > 0 => Action::Keep,
        PackState::Live | PackState::Unlisted => give_up,
        PackState::Marked(_) if load.used_blobs > 0 => Action::Recover,
        PackState::Marked(None) => give_up,
        PackState::Marked(Some(GoTime { at, .. })) => {
            let age = Duration::try_from(goals.now.duration_since(at)).unwrap_or_default();
            if age >= goals.keep_delete { Action::Remove } else { Action::Wait }
        }
    }
}

/// Chooses packs to rewrite: mixed ones, then trees, then those with the largest unused share, until what
/// stays unused is little enough; then small ones.
fn repack(facts: &Facts, loads: &[Load], goals: &Goals, actions: &mut [Action]) {
    let kept = |actions: &[Action], at: usize| matches!(actions[at], Action::Keep | Action::Recover);
    let mut some: Vec<usize> = (0..loads.len()).filter(|&at| kept(actions, at)).collect();
    let used: u64 = some.iter().map(|&at| loads[at].used).sum();
    let mut unused: u64 = some.iter().map(|&at| loads[at].unused).sum();
    let unused_max = match goals.max_unused {
        Unused::Bytes(bytes) => bytes,
        Unused::Percent(percent) => (percent / (100.0 - percent) * used as f64) as u64,
        Unused::Unlimited => u64::MAX,
    };
    let size = |at: usize| facts.packs[at].size.unwrap_or(0);
    let mut left = goals.max_repack_bytes.unwrap_or(u64::MAX);
    let share =
        |load: &Load| u128::from(load.unused) * (1 << 32) / u128::from(load.unused + load.used).max(1);
    some.sort_by_key(|&at| {
        let load = &loads[at];
        (Reverse(load.is_mixed()), Reverse(load.has_trees), Reverse(share(load)), facts.packs[at].id)
    });
    for &at in &some {
        let load = &loads[at];
        let is_due = load.is_mixed() || (load.unused > 0 && unused > unused_max && size(at) <= left);
        if is_due {
            actions[at] = Action::Repack;
            unused -= load.unused;
            left = left.saturating_sub(size(at));
        }
    }
    for trees in [false, true] {
        let is_small = |at: usize| loads[at].has_trees == trees && loads[at].is_small(size(at));
        let small: Vec<usize> =
            some.iter().copied().filter(|&at| kept(actions, at) && is_small(at)).collect();
        let bytes: u64 = small.iter().map(|&at| size(at)).sum();
        let enough = if trees { SMALL_TREE_BYTES } else { SMALL_BYTES };
        if small.len() > 1 && (small.len() >= SMALL_COUNT || bytes >= enough) && bytes <= left {
            left -= bytes;
            small.into_iter().for_each(|at| actions[at] = Action::Repack);
        }
    }
}

fn count(facts: &Facts, loads: &[Load], relied_on: &[bool], actions: &[Action]) -> Numbers {
    let mut numbers = Numbers::default();
    for (copy, is_used) in facts.copies.iter().zip(relied_on) {
        let bytes = u64::from(copy.entry.length);
        if *is_used {
            numbers.blobs_used += 1;
            numbers.bytes_used += bytes;
        } else {
            numbers.blobs_unused += 1;
            numbers.bytes_unused += bytes;
        }
    }
    for ((pack, load), action) in facts.packs.iter().zip(loads).zip(actions) {
        let size = pack.size.unwrap_or(0);
        let add = |packs: &mut u64| *packs += 1;
        match action {
            Action::Keep => {
                add(&mut numbers.packs_kept);
                numbers.bytes_unused_after += load.unused;
            }
            Action::Recover => {
                add(&mut numbers.packs_recovered);
                numbers.bytes_unused_after += load.unused;
            }
            Action::Repack => {
                add(&mut numbers.packs_repacked);
                numbers.bytes_repacked += load.used;
            }
            Action::Mark => {
                add(&mut numbers.packs_marked);
                numbers.bytes_marked += size;
            }
            Action::Wait => add(&mut numbers.packs_waiting),
            Action::Remove => {
                add(&mut numbers.packs_removed);
                numbers.bytes_removed += size;
            }
            Action::Drop => {}
        }
    }
    numbers
}
