//! What a policy will have kept after some time, if a point is made in every interval and the policy is applied
//! once a day.
//!
//! Nothing is played through. Points come in order, so the end of each is known at once: a rule lets go of a point
//! when a newer one takes its period, when enough newer periods have points, or when it is too old. Two
//! years of points every 15 minutes, 70,000 of them, are a fraction of a second.

use super::retain::{PERIODS, Period, Retain, Rule, periods};
use super::series::Rules;
use crate::units::Span;
use crate::{Error, Kind, Result};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// Points that are simulated at most: 19 years of one every ten minutes. About 100 bytes each.
const POINTS_MAX: i64 = 1_000_000;
/// The policy is applied so often.
const DAY_SECONDS: i64 = 86_400;
/// More days than this are told week by week.
const DAYS_SHOWN_MAX: usize = 400;

/// What a policy keeps over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Simulation {
    /// When the first point is made.
    pub from: Timestamp,
    /// The end.
    pub to: Timestamp,
    /// How many points were made until then.
    pub made: u64,
    /// How many there were at once at most, just before a day's deletion.
    pub most: u64,
    /// How many there are day by day, or week by week if that is long, after the deletion of the day.
    pub timeline: Vec<Tick>,
    /// What each rule that is given keeps at the end.
    pub rules: Vec<RuleShare>,
    /// What is there at the end, newest first.
    pub kept: Vec<SimulatedPoint>,
}

/// How many points there are at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// The moment.
    pub time: Timestamp,
    /// So many.
    pub points: u64,
}

/// What one rule keeps. A point may be kept by several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleShare {
    /// The rule.
    pub rule: Rule,
    /// Its number or span, as written.
    pub setting: String,
    /// So many points.
    pub points: u64,
    /// The oldest of them.
    pub oldest: Option<Timestamp>,
}

/// A point that is there at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SimulatedPoint {
    /// The moment it stands for.
    pub time: Timestamp,
    /// The rules that want it. None if there is no policy, or if it stays only because it is the newest.
    pub rules: Vec<Rule>,
}

/// Simulates `retain` for `length` from `now` on, with a point in every interval `every`; `None` keeps everything.
///
/// # Errors
/// `Kind::Config` as [`Retain::check`], and E0664 if there would be no point, too many, or dates beyond the calendar.
pub fn simulate(
    retain: Option<&Retain>,
    every: Span,
    length: Span,
    now: Timestamp,
    zone: &TimeZone,
) -> Result<Simulation> {
    retain.map_or(Ok(()), Retain::check)?;
    let frame = Frame::new(every, length, now)?;
    let lives = Lives::new(&frame, retain, zone);
    let (timeline, most) = lives.timeline(&frame)?;
    let mut kept = Vec::new();
    for nr in (0..lives.times.len()).rev().filter(|nr| lives.ends[*nr] > frame.to) {
        kept.push(SimulatedPoint {
            time: moment(lives.times[nr])?,
            rules: lives.at_the_end[nr].iter().collect(),
        });
    }
    let given =
        retain.into_iter().flat_map(|r| Rule::ALL.into_iter().map(move |rule| (rule, r.setting(rule))));
    let share = |(rule, setting): (Rule, Option<String>)| {
        let mut of_rule = kept.iter().filter(|p| p.rules.contains(&rule));
        let (points, oldest) = (of_rule.clone().count() as u64, of_rule.next_back().map(|p| p.time));
        Some(RuleShare { rule, setting: setting?, points, oldest })
    };
    let rules = given.filter_map(share).collect();
    let made = lives.times.len() as u64;
    Ok(Simulation { from: moment(frame.from)?, to: moment(frame.to)?, made, most, timeline, rules, kept })
}

/// The span of time, in seconds of the epoch.
struct Frame {
    from: i64,
    to: i64,
    every: i64,
}

impl Frame {
    fn new(every: Span, length: Span, now: Timestamp) -> Result<Self> {
        let bad = |why: &str| {
            Error::new(Kind::Config, format!("simulate retention: {why}"))
                .code("E0664")
                .with("every", every)
                .with("for", length)
                .effect("nothing was attempted")
        };
        let seconds = |span: Span| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        let (every, length, from) = (seconds(every), seconds(length), now.as_second());
        if every == 0 || length == 0 {
            return Err(bad("no point would be made")
                .hint("give both a length of time, as in `--for 2y --every 15m`"));
        }
        if length / every >= POINTS_MAX {
            return Err(bad("more than a million points would be made")
                .hint("make them less often with --every, or look less far ahead with --for"));
        }
        let to = from.checked_add(length).filter(|to| moment(*to).is_ok());
        let to =
            to.ok_or_else(|| bad("the calendar ends before that").hint("look less far ahead with --for"))?;
        Ok(Frame { from, to, every })
    }

    /// The moments at which the policy is applied: every day, and at the end.
    fn days(&self) -> Vec<i64> {
        let mut days: Vec<i64> =
            (1..).map(|n| self.from + n * DAY_SECONDS).take_while(|at| *at < self.to).collect();
        days.push(self.to);
        days
    }
}

fn moment(second: i64) -> Result<Timestamp> {
    Timestamp::from_second(second).map_err(|e| {
        Error::new(Kind::Config, "simulate retention beyond the calendar").code("E0664").caused_by(e)
    })
}

/// When each point is made, when the policy lets go of it, and what wants it at the end.
struct Lives {
    times: Vec<i64>,
    ends: Vec<i64>,
    at_the_end: Vec<Rules>,
}

impl Lives {
    fn new(frame: &Frame, retain: Option<&Retain>, zone: &TimeZone) -> Self {
        let times: Vec<i64> =
            (0..).map(|n| frame.from + n * frame.every).take_while(|t| *t <= frame.to).collect();
        let Some(retain) = retain else {
            let (ends, at_the_end) = (vec![i64::MAX; times.len()], vec![Rules::default(); times.len()]);
            return Lives { times, ends, at_the_end };
        };
        // The newest point stays until there is a newer one.
        let next = |nr: usize| times.get(nr + 1).copied().unwrap_or(i64::MAX);
        let ends = (0..times.len()).map(next).collect();
        let mut lives = Lives { ends, at_the_end: vec![Rules::default(); times.len()], times };
        lives.spans(retain, frame.to);
        lives.counts(retain, frame.to, zone);
        lives
    }

    /// `rule` wants the point `nr` until `end`.
    fn wants(&mut self, rule: Rule, nr: usize, end: i64, to: i64) {
        self.ends[nr] = self.ends[nr].max(end);
        if end > to {
            self.at_the_end[nr].add(rule);
        }
    }

    fn spans(&mut self, retain: &Retain, to: i64) {
        let min = retain.min.unwrap_or(0) as usize;
        for nr in 0..self.times.len() {
            if let Some(all) = retain.all {
                self.wants(
                    Rule::All,
                    nr,
                    after(self.times[nr], Some(all)).min(after(self.times[nr], retain.max)),
                    to,
                );
            }
            if min > 0 {
                let end = self.times.get(nr.saturating_add(min)).copied().unwrap_or(i64::MAX);
                self.wants(Rule::Min, nr, end, to);
            }
        }
    }

    fn counts(&mut self, retain: &Retain, to: i64, zone: &TimeZone) {
        let of = |second: &i64| Timestamp::from_second(*second).map(|t| periods(&t.to_zoned(zone.clone())));
        // Every second of a frame is one of the calendar.
        let calendar: Vec<[Period; PERIODS]> = self.times.iter().map(|s| of(s).unwrap_or_default()).collect();
        for (place, (rule, count)) in retain.counts().into_iter().enumerate().filter(|(_, (_, n))| *n > 0) {
            let starts: Vec<usize> = (0..calendar.len())
                .filter(|nr| *nr == 0 || calendar[*nr][place] != calendar[*nr - 1][place])
                .collect();
            for (period, start) in starts.iter().enumerate() {
                let end_of_period = starts.get(period + 1).copied().unwrap_or(calendar.len());
                let crowded_out = starts.get(period.saturating_add(count as usize));
                for nr in *start..end_of_period {
                    // A newer point of the period takes its place; the last one stays until there are enough newer periods.
                    let end = if nr + 1 < end_of_period {
                        self.times[nr + 1]
                    } else {
                        crowded_out.map_or(i64::MAX, |nr| self.times[*nr])
                    };
                    self.wants(rule, nr, end.min(after(self.times[nr], retain.max)), to);
                }
            }
        }
    }

    /// How many points there are after each day, and how many there were at most just before a day's deletion.
    fn timeline(&self, frame: &Frame) -> Result<(Vec<Tick>, u64)> {
        let days = frame.days();
        // What is made in the days before each deletion, and what each deletion takes.
        let (mut made, mut gone) = (vec![0_u64; days.len()], vec![0_u64; days.len()]);
        for (time, end) in self.times.iter().zip(&self.ends) {
            if let Some(slot) = made.get_mut(days.partition_point(|day| day < time)) {
                *slot += 1;
            }
            if let Some(slot) = gone.get_mut(days.partition_point(|day| day < end)) {
                *slot += 1;
            }
        }
        let step = if days.len() > DAYS_SHOWN_MAX { 7 } else { 1 };
        let (mut points, mut most, mut ticks) = (0_u64, 0_u64, Vec::new());
        for (nr, day) in days.iter().enumerate() {
            points += made[nr];
            most = most.max(points);
            points -= gone[nr];
            if (nr + 1) % step == 0 || nr + 1 == days.len() {
                ticks.push(Tick { time: moment(*day)?, points });
            }
        }
        Ok((ticks, most))
    }
}

/// The second so long after `second`; for ever without a span.
fn after(second: i64, span: Option<Span>) -> i64 {
    let seconds = span.map_or(i64::MAX, |s| i64::try_from(s.as_secs()).unwrap_or(i64::MAX));
    second.saturating_add(seconds)
}
