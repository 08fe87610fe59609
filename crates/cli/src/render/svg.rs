//! A picture of what policies keep: one standalone SVG, without scripts and without anything to load.

use super::answer::xml;
use super::timeline::AgeAxis;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use recoup_ops::retention::{ClassSimulation, SimulateReport};
use std::collections::BTreeSet;

const WIDTH: f64 = 900.0;
const MARGIN: f64 = 60.0;
/// Height of the part of one class.
const BLOCK: f64 = 270.0;
const CURVE: f64 = 110.0;
const STRIP: f64 = 30.0;

/// The picture: for each class the number of points over time, and the points that are left at the end by their age.
pub(crate) fn picture(report: &SimulateReport, zone: &TimeZone) -> String {
    let height = BLOCK * report.classes.len() as f64 + 20.0;
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" \
         viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>What retention policies keep</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for (nr, class) in report.classes.iter().enumerate() {
        block(&mut out, class, BLOCK * nr as f64, zone);
    }
    out.push_str("</svg>\n");
    out
}

fn block(out: &mut String, class: &ClassSimulation, top: f64, zone: &TimeZone) {
    let simulation = &class.simulation;
    let title = format!("class {}: {}", class.class, class.sources.join(", "));
    label(out, MARGIN, top + 25.0, "start", &title);
    let rules: Vec<String> =
        simulation.rules.iter().map(|r| format!("{} = {}: {} points", r.rule, r.setting, r.points)).collect();
    let rules = if rules.is_empty() { "no policy: everything stays".to_owned() } else { rules.join("; ") };
    label(out, MARGIN, top + 42.0, "start", &rules);
    curve(out, class, top + 55.0);
    let below = top + 55.0 + CURVE + 14.0;
    label(out, MARGIN, below, "start", &day(simulation.from, zone));
    label(out, WIDTH - MARGIN, below, "end", &day(simulation.to, zone));
    strip(out, class, below + 12.0);
}

/// The number of points over time, on an even axis.
fn curve(out: &mut String, class: &ClassSimulation, top: f64) {
    let simulation = &class.simulation;
    let length = simulation.to.duration_since(simulation.from).as_secs_f64().max(1.0);
    let most = simulation.timeline.iter().map(|t| t.points).max().unwrap_or(0).max(1);
    let mut line = format!("{MARGIN:.1},{:.1}", top + CURVE);
    for tick in &simulation.timeline {
        let part = tick.time.duration_since(simulation.from).as_secs_f64() / length;
        let x = MARGIN + part * (WIDTH - 2.0 * MARGIN);
        line.push_str(&format!(" {x:.1},{:.1}", top + CURVE * (1.0 - tick.points as f64 / most as f64)));
    }
    out.push_str(&format!(
        "<path d=\"M{MARGIN} {top}V{:.1}H{}\" fill=\"none\" stroke=\"#888\"/>\n\
         <polyline points=\"{line}\" fill=\"none\" stroke=\"#1f4e79\" stroke-width=\"1.5\"/>\n",
        top + CURVE,
        WIDTH - MARGIN,
    ));
    label(out, MARGIN - 6.0, top + 10.0, "end", &most.to_string());
    label(out, MARGIN - 6.0, top + CURVE, "end", "0");
}

/// One line for each point that is left, on the logarithmic axis of its age.
fn strip(out: &mut String, class: &ClassSimulation, top: f64) {
    let simulation = &class.simulation;
    let axis = AgeAxis::of(simulation, class.every_seconds);
    let x = |place: f64| MARGIN + place * (WIDTH - 2.0 * MARGIN);
    // Lines nearer than half a unit cannot be told apart: at most two for each unit of the width.
    let age = |time: Timestamp| simulation.to.duration_since(time).as_secs_f64();
    let places: BTreeSet<u32> =
        simulation.kept.iter().map(|p| (x(axis.place(age(p.time))) * 2.0).round() as u32).collect();
    let lines: String =
        places.iter().map(|at| format!("M{:.1} {top:.1}v{STRIP}", f64::from(*at) / 2.0)).collect();
    out.push_str(&format!("<path d=\"{lines}\" stroke=\"#1f4e79\" stroke-width=\"0.5\"/>\n"));
    for (text, place) in axis.labels() {
        label(out, x(place), top + STRIP + 14.0, "middle", text);
    }
    let total = format!("{} points left, by their age", simulation.kept.len());
    label(out, MARGIN, top + STRIP + 30.0, "start", &total);
}

fn label(out: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    out.push_str(&format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>\n", xml(text)));
}

fn day(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d").to_string()
}
