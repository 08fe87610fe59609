//! Points of one source in their order, and what a policy wants of them.

use super::points::PointFacts;
use super::retain::{PERIODS, Period, Retain, Rule, periods};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;

/// A point that counts, with its place in time.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Where it stands in the caller's list.
    pub(super) nr: usize,
    /// Its age counts from here: its own time, or a later one of a point that was made before it.
    pub(super) since: Timestamp,
    /// Where that other point stands in the caller's list.
    pub(super) witness: Option<usize>,
    /// Whether all of it was captured.
    pub(super) complete: bool,
    periods: [Period; PERIODS],
}

impl Entry {
    /// A point of the moment `time`, in the calendar of `zone`.
    pub(super) fn new(nr: usize, time: Timestamp, complete: bool, zone: &TimeZone) -> Self {
        let periods = periods(&time.to_zoned(zone.clone()));
        Entry { nr, since: time, witness: None, complete, periods }
    }

    fn is_younger(&self, now: Timestamp, span: Option<crate::units::Span>) -> Option<bool> {
        let age = now.duration_since(self.since).unsigned_abs();
        span.map(|span| age < span.0)
    }

    /// Whether `max` leaves it to the other rules.
    pub(super) fn is_within(&self, retain: &Retain, now: Timestamp) -> bool {
        self.is_younger(now, retain.max).unwrap_or(true)
    }
}

/// Orders the points that count, newest first. A clock may have been wrong, so a signed sequence goes before
/// the time: what was made after a point is never older than it.
pub(super) fn order<'p>(
    counted: impl Iterator<Item = (usize, &'p PointFacts)>,
    zone: &TimeZone,
) -> Vec<Entry> {
    let mut dated: Vec<(Entry, &PointFacts)> =
        counted.map(|(nr, p)| (Entry::new(nr, p.time, p.complete, zone), p)).collect();
    dated.sort_by(|(_, a), (_, b)| (a.sequence, a.time, &a.id).cmp(&(b.sequence, b.time, &b.id)));
    let mut latest: Option<(Timestamp, usize)> = None;
    for (entry, point) in dated.iter_mut().filter(|(_, p)| p.sequence.is_some()) {
        match latest {
            Some((time, nr)) if time > point.time => {
                entry.since = time;
                entry.witness = Some(nr);
            }
            _ => latest = Some((point.time, entry.nr)),
        }
    }
    // Along the sequence `since` never goes back, so this order keeps that one and fits in what has none.
    let key = |(e, p): &(Entry, &'p PointFacts)| (e.since, p.sequence, p.time);
    dated.sort_by(|a, b| key(b).cmp(&key(a)).then_with(|| b.1.id.cmp(&a.1.id)));
    dated.into_iter().map(|(entry, _)| entry).collect()
}

/// A set of rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules(u8);

impl Rules {
    pub(super) fn add(&mut self, rule: Rule) {
        self.0 |= 1 << rule as u8;
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn has(self, rule: Rule) -> bool {
        self.0 & (1 << rule as u8) != 0
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Rule> {
        Rule::ALL.into_iter().filter(move |rule| self.has(*rule))
    }
}

/// Which rules of `retain` want each point of a series.
///
/// A point that is not complete may stand for its period, and never in the place of a complete one: where
/// the newest of a period is not complete, the newest that is complete stays beside it.
pub(super) fn judge(newest_first: &[&Entry], retain: &Retain, now: Timestamp) -> Vec<Rules> {
    let mut wanted = vec![Rules::default(); newest_first.len()];
    let within: Vec<bool> = newest_first.iter().map(|entry| entry.is_within(retain, now)).collect();
    for (nr, entry) in newest_first.iter().enumerate() {
        if within[nr] && entry.is_younger(now, retain.all) == Some(true) {
            wanted[nr].add(Rule::All);
        }
    }
    for (place, (rule, count)) in retain.counts().into_iter().enumerate() {
        // The periods that have a point so far, with whether they have a complete one.
        let mut seen: BTreeMap<Period, bool> = BTreeMap::new();
        for (nr, entry) in newest_first.iter().enumerate().filter(|(nr, _)| within[*nr]) {
            let full = seen.len() >= count as usize;
            match seen.get_mut(&entry.periods[place]) {
                None if full => continue,
                None => drop(seen.insert(entry.periods[place], entry.complete)),
                Some(complete) if entry.complete && !*complete => *complete = true,
                Some(_) => continue,
            }
            wanted[nr].add(rule);
        }
    }
    let min = retain.min.unwrap_or(0) as usize;
    let complete = (0..newest_first.len()).filter(|nr| newest_first[*nr].complete).take(min);
    for nr in (0..newest_first.len().min(min)).chain(complete) {
        wanted[nr].add(Rule::Min);
    }
    wanted
}
