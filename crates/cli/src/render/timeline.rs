//! How densely points lie, over their age: one row of characters. The axis is logarithmic, because what happened
//! yesterday and what happened two years ago must both be seen.

use recoup_core::retention::simulate::Simulation;

/// Columns of the row; with its margin it fits a screen of 80.
const COLUMNS: usize = 64;

const HOUR: f64 = 3600.0;
const DAY: f64 = 86_400.0;

/// How far two neighbours may lie apart, with the sign for it. Signs differ in shape, not in colour.
const SIGNS: [(char, &str, f64); 5] = [
    ('█', "hour", HOUR),
    ('▓', "day", DAY),
    ('▒', "week", 7.0 * DAY),
    ('░', "month", 31.0 * DAY),
    ('·', "year", 366.0 * DAY),
];

/// Ages that are worth a label.
const LABELS: [(&str, f64); 10] = [
    ("1h", HOUR),
    ("1d", DAY),
    ("7d", 7.0 * DAY),
    ("30d", 30.0 * DAY),
    ("90d", 90.0 * DAY),
    ("1y", 365.0 * DAY),
    ("2y", 730.0 * DAY),
    ("5y", 1825.0 * DAY),
    ("10y", 3650.0 * DAY),
    ("20y", 7300.0 * DAY),
];

/// Ages from the interval between points (right) to the whole length of time (left).
#[derive(Clone, Copy, Debug)]
pub(crate) struct AgeAxis {
    youngest: f64,
    oldest: f64,
}

impl AgeAxis {
    /// The axis of a simulation with a point every so many seconds.
    pub(crate) fn of(simulation: &Simulation, every_seconds: u64) -> Self {
        let length = simulation.to.duration_since(simulation.from).as_secs_f64().max(1.0);
        AgeAxis { youngest: (every_seconds as f64).clamp(1.0, length), oldest: length }
    }

    /// Where an age lies: 0 is the left end, 1 the right one.
    pub(crate) fn place(self, age: f64) -> f64 {
        let span = (self.oldest / self.youngest).ln();
        if span <= 0.0 { 1.0 } else { ((self.oldest / age.max(self.youngest)).ln() / span).clamp(0.0, 1.0) }
    }

    fn age(self, place: f64) -> f64 {
        self.oldest * (self.youngest / self.oldest).powf(place)
    }

    /// The labels on it, oldest first, with their places.
    pub(crate) fn labels(self) -> impl Iterator<Item = (&'static str, f64)> {
        let on_it =
            LABELS.into_iter().rev().filter(move |(_, age)| *age <= self.oldest && *age > self.youngest);
        on_it.map(move |(label, age)| (label, self.place(age))).chain([("now", 1.0)])
    }
}

/// Labels, the row, and what its signs mean: three lines.
pub(crate) fn rows(simulation: &Simulation, every_seconds: u64) -> String {
    let axis = AgeAxis::of(simulation, every_seconds);
    let last = COLUMNS - 1;
    let ages: Vec<f64> =
        simulation.kept.iter().map(|p| simulation.to.duration_since(p.time).as_secs_f64()).collect();
    let sign = |column: usize| sign(&ages, axis.age(column as f64 / last as f64), every_seconds as f64);
    let row: String = (0..COLUMNS).map(sign).collect();
    let legend: Vec<String> = SIGNS.iter().map(|(sign, word, _)| format!("{sign} {word}")).collect();
    let legend = legend.join("  ");
    format!("  {}\n  {}\n  a point in every  {legend}\n", scale(axis, last), row.trim_end())
}

/// The sign for the gap in which `age` lies; `ages` of the points, youngest first.
fn sign(ages: &[f64], age: f64, every: f64) -> char {
    let older = ages.partition_point(|point| *point < age);
    let Some(end) = ages.get(older) else { return ' ' };
    let gap = end - older.checked_sub(1).and_then(|at| ages.get(at)).copied().unwrap_or(0.0);
    // The last points of two days lie a day apart, give or take an interval and an hour of summer time.
    let fits = |unit: f64| gap <= unit + every.min(unit) + if unit >= DAY { HOUR } else { 0.0 };
    SIGNS.iter().find(|(_, _, unit)| fits(*unit)).map_or(' ', |(sign, _, _)| *sign)
}

/// The labels, each begun at its place; one that would touch the one before it is left out.
fn scale(axis: AgeAxis, last: usize) -> String {
    let mut line = String::new();
    for (label, place) in axis.labels() {
        let end = (place * last as f64).round() as usize + 1;
        let start = if place >= 1.0 { end.saturating_sub(label.len()) } else { end - 1 };
        if line.is_empty() || start > line.len() {
            line.push_str(&" ".repeat(start.saturating_sub(line.len())));
            line.push_str(label);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use recoup_core::retention::Retain;
    use recoup_core::retention::simulate::simulate;

    fn drawn(retain: Option<&Retain>, every: &str, length: &str) -> String {
        let every: recoup_core::units::Span = every.parse().unwrap();
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let zone = jiff::tz::TimeZone::UTC;
        rows(&simulate(retain, every, length.parse().unwrap(), now, &zone).unwrap(), every.as_secs())
    }

    #[test]
    fn a_row_grows_thinner_with_age_and_fits_the_screen() {
        let retain = Retain { all: "7d".parse().ok(), daily: 35, monthly: 13, ..Retain::default() };
        let text = drawn(Some(&retain), "15m", "2y");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.chars().count() < 80), "{text}");
        let mut signs: Vec<char> = lines[1].trim().chars().collect();
        signs.dedup();
        assert_eq!(signs, ['░', '▓', '█'], "{text}");
        assert!(lines[0].trim().starts_with("2y") && lines[0].ends_with("now"), "{text}");
        assert_eq!(drawn(None, "1d", "1d").lines().count(), 3, "an axis of one moment");
    }
}
