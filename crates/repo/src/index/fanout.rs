//! Where to look for an id in a sorted list. Ids are hashes, so that their first bits say about where; a table
//! of the places at which each value of these bits begins leaves a handful to search (as the fan-out of a Git
//! pack index). Somebody who makes up ids can fill one place; what is searched is then as in any sorted list.

use crate::id::Id;
use std::ops::Range;

/// Entries of the list for each place of the table, about.
const PER_PLACE: usize = 8;
/// 64 MiB of table, for half a billion entries and more.
const BITS_MAX: u32 = 24;

/// Of a list that is sorted by id.
#[derive(Clone, Debug, Default)]
pub(super) struct Fanout {
    /// How far the first four bytes are shifted to give the place.
    shift: u32,
    /// Where each place begins, and the end.
    begins: Vec<u32>,
}

impl Fanout {
    /// The table of a list whose ids `sorted` gives in ascending order. Lists of more than four billion
    /// entries do without.
    pub(super) fn new(sorted: impl ExactSizeIterator<Item = Id>) -> Self {
        let Ok(count) = u32::try_from(sorted.len()) else { return Fanout::default() };
        let bits = (count as usize / PER_PLACE).checked_ilog2().unwrap_or(0).min(BITS_MAX);
        let mut fanout = Fanout { shift: u32::BITS - bits, begins: Vec::with_capacity((1 << bits) + 1) };
        fanout.begins.push(0);
        for (at, id) in (0..).zip(sorted) {
            let place = fanout.place(&id);
            if fanout.begins.len() <= place {
                fanout.begins.resize(place + 1, at);
            }
        }
        fanout.begins.resize((1 << bits) + 1, count);
        fanout
    }

    /// The part of the list, which has `length` entries, in which `id` stands if it is there.
    pub(super) fn part(&self, id: &Id, length: usize) -> Range<usize> {
        let place = self.place(id);
        match self.begins.get(place..place + 2) {
            Some(&[from, end]) => from as usize..end as usize,
            _ => 0..length,
        }
    }

    fn place(&self, id: &Id) -> usize {
        let [a, b, c, d, ..] = *id.as_bytes();
        u32::from_be_bytes([a, b, c, d]).checked_shr(self.shift).unwrap_or(0) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_id_stands_in_its_part_and_others_do_not(count in 0..3000_usize, skew in 0..3_u8) {
            let made_up = |nr: usize| {
                let mut bytes = *Id::of(&nr.to_le_bytes()).as_bytes();
                if skew > 0 && !nr.is_multiple_of(usize::from(skew) + 1) {
                    bytes[..3].fill(if skew == 1 { 0 } else { 0xff });
                }
                Id::from_bytes(bytes)
            };
            let mut ids: Vec<Id> = (0..count).map(made_up).collect();
            ids.sort_unstable();
            let fanout = Fanout::new(ids.iter().copied());
            for (at, id) in ids.iter().enumerate() {
                prop_assert!(fanout.part(id, count).contains(&at));
            }
            for nr in count..count + 100 {
                let id = made_up(nr);
                let part = fanout.part(&id, count);
                let from = part.start + ids[part.clone()].partition_point(|other| *other < id);
                prop_assert_eq!(from, ids.partition_point(|other| *other < id));
            }
        }
    }

    #[test]
    fn parts_are_small() {
        let mut ids: Vec<Id> = (0..100_000_u32).map(|nr| Id::of(&nr.to_le_bytes())).collect();
        ids.sort_unstable();
        let fanout = Fanout::new(ids.iter().copied());
        assert!(ids.iter().all(|id| fanout.part(id, ids.len()).len() < 64));
        assert_eq!(Fanout::default().part(&ids[5], 7), 0..7);
    }
}
