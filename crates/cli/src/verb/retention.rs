//! `recoup retention`.

mod apply;

use crate::context::Context;
use crate::render::style::Style;
use crate::render::table::table;
use crate::render::{Answer, svg, timeline};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use recoup_core::name::escape;
use recoup_core::retention::points::RetentionPlan;
use recoup_core::retention::words;
use recoup_core::units::{Span, counted};
use recoup_core::{Error, Kind, Result};
use recoup_ops::retention::{self, ClassSimulation, Options, SimulateReport, Today};
use recoup_store::local::durable;
use serde_json::json;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Points of today that are shown; JSON has all of them.
const SHOWN_MAX: usize = 30;

/// What the retention policies of the classes keep, and delete.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  recoup retention simulate\n  recoup retention apply --dry-run\n  recoup retention log"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Simulate(SimulateArguments),
    Apply(apply::ApplyArguments),
    Undo(apply::UndoArguments),
    Lost(apply::LostArguments),
    /// Show what was planned, undone, deleted and lost, as it was signed.
    Log,
    /// Show what is stored that no policy wants: leftovers, strangers, points without a policy.
    Sprawl,
}

/// Show what the policies will have kept after some time, and what they would keep today. Nothing is deleted.
///
/// For each class a point is made in every interval, and its `retain` is applied once a day. The table says what each
/// rule keeps at the end and how far back it reaches; the row below says how densely the points lie, by their age.
/// Then the points that exist now are judged by the same policies.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  recoup retention simulate\n  recoup retention simulate --for 5y --every 1h\n  recoup retention simulate --svg retention.svg\n  recoup retention simulate --output json"
)]
struct SimulateArguments {
    /// How far ahead, as in 90d or 2y; a year has 365 days.
    #[arg(long = "for", value_name = "DURATION", default_value = "2y")]
    length: Span,
    /// How often a point is made, as in 15m; the RPO of each class if absent, or once a day.
    #[arg(long, value_name = "DURATION")]
    every: Option<Span>,
    /// Draw a picture into FILE, which must not exist.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

impl Arguments {
    /// The verb's name in JSON.
    pub(crate) fn kind(&self) -> &'static str {
        match self.verb {
            Verb::Simulate(_) => "retention simulate",
            Verb::Apply(_) => "retention apply",
            Verb::Undo(_) => "retention undo",
            Verb::Lost(_) => "retention lost",
            Verb::Log => "retention log",
            Verb::Sprawl => "retention sprawl",
        }
    }
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Answer> {
    match arguments.verb {
        Verb::Simulate(a) => simulate(a, context).await,
        Verb::Apply(a) => apply::apply(a, context).await,
        Verb::Undo(a) => apply::undo(a, context).await,
        Verb::Lost(a) => apply::lost(a, context).await,
        Verb::Log => apply::log(context).await,
        Verb::Sprawl => apply::sprawl(context).await,
    }
}

async fn simulate(arguments: SimulateArguments, context: &Context) -> Result<Answer> {
    let session = context.session()?;
    let options = Options { length: arguments.length, every: arguments.every };
    let report = retention::simulate(&session, options, context.globals.location.as_deref()).await?;
    let zone = retention::zone(session.config());
    let mut text = text(&report, &zone, context.style);
    let mut answer = Answer::new("retention simulate", report.outcome, "").with(&report);
    if let Some(file) = &arguments.svg {
        draw(file, &svg::picture(&report, &zone))?;
        let shown = escape(file.as_os_str().as_bytes());
        text.push_str(&format!("\ndrew {shown}\n"));
        answer = answer.with(json!({ "svg": shown }));
    }
    answer.text = text;
    Ok(answer.findings(report.findings))
}

/// Writes the picture where nothing is, or the same.
fn draw(file: &Path, picture: &str) -> Result<()> {
    match durable::create(file, picture.as_bytes(), 0o644) {
        Err(e) if e.kind() == Kind::Exists => {
            if std::fs::read(file).is_ok_and(|there| there == picture.as_bytes()) {
                return Ok(());
            }
            Err(Error::new(Kind::Exists, "draw the picture: the file is there already")
                .with("file", escape(file.as_os_str().as_bytes()))
                .code("E0663")
                .effect("the file is what it was")
                .hint("give another name, or remove it"))
        }
        other => other,
    }
}

fn text(report: &SimulateReport, zone: &TimeZone, style: Style) -> String {
    let mut out = String::new();
    if report.classes.is_empty() {
        out.push_str("no class has a source: there is nothing to simulate\n");
    }
    for class in &report.classes {
        class_text(&mut out, class, zone, style);
        out.push('\n');
    }
    match &report.today {
        Some(today) => today_text(&mut out, today, zone, style),
        None => out.push_str("the points there are now: no location could be looked at\n"),
    }
    out
}

fn class_text(out: &mut String, class: &ClassSimulation, zone: &TimeZone, style: Style) {
    let simulation = &class.simulation;
    let every = Span(std::time::Duration::from_secs(class.every_seconds));
    out.push_str(&format!(
        "{}: {}\n",
        style.bold(&format!("class {}", class.class)),
        class.sources.join(" ")
    ));
    let day = |at: Timestamp| at.to_zoned(zone.clone()).strftime("%Y-%m-%d").to_string();
    let (from, to) = (day(simulation.from), day(simulation.to));
    out.push_str(&format!("a point every {every}, from {from} to {to}\n\n"));
    let left = simulation.kept.len().to_string();
    let oldest = |at: Option<Timestamp>| {
        let age = |at: Timestamp| Span(simulation.to.duration_since(at).unsigned_abs()).to_string();
        at.map(|at| [super::local_time(at, zone), age(at)]).unwrap_or_default()
    };
    let row = |rule: &str, setting: &str, points: String, at: Option<Timestamp>| {
        let [time, age] = oldest(at);
        vec![rule.to_owned(), setting.to_owned(), points, time, age]
    };
    let mut rows: Vec<Vec<String>> = simulation
        .rules
        .iter()
        .map(|r| row(r.rule.word(), &r.setting, r.points.to_string(), r.oldest))
        .collect();
    let what = if class.retain.is_some() { "together" } else { "no policy" };
    rows.push(row(what, "", left, simulation.kept.last().map(|p| p.time)));
    out.push_str(&table(&["rule", "setting", "keeps", "oldest then", "age"], &rows, &[1, 2, 4]));
    out.push('\n');
    out.push_str(&timeline::rows(simulation, class.every_seconds));
    let ticks = &simulation.timeline;
    let after = |quarter: usize| {
        let tick = ticks.get((ticks.len() * quarter / 4).max(1) - 1)?;
        let span = Span(tick.time.duration_since(simulation.from).unsigned_abs());
        Some(format!("{} after {span}", tick.points))
    };
    let over_time: Vec<String> = (1..=4).filter_map(after).collect();
    out.push_str(&format!("  points: {}\n", over_time.join(", ")));
    out.push_str(&format!(
        "  {} made, at most {} at once\n",
        counted(simulation.made, "point"),
        simulation.most
    ));
}

fn today_text(out: &mut String, today: &Today, zone: &TimeZone, style: Style) {
    out.push_str(&style.bold("the points there are now, by the same policies; nothing was deleted"));
    out.push('\n');
    let places = today.locations.join(", ");
    let Some(plan) = today.plan.as_ref().filter(|_| today.points > 0) else {
        let why = if today.points == 0 { "no points yet" } else { "the policies are refused, see below" };
        out.push_str(&format!("at {places}: {why}\n"));
        return;
    };
    out.push_str(&format!(
        "at {places}: {}, {} would stay and {} would go\n",
        counted(today.points as u64, "point"),
        plan.keep.len(),
        plan.delete.len()
    ));
    let rows = plan_rows(plan, zone);
    let more = rows.len().saturating_sub(SHOWN_MAX);
    let shown: Vec<Vec<String>> = rows.into_iter().take(SHOWN_MAX).collect();
    out.push_str(&table(&["point", "time", "today", "because"], &shown, &[]));
    if more > 0 {
        out.push_str(&format!("and {more} more; --output json has all of them\n"));
    }
}

/// What would go first, because that is what one looks for.
fn plan_rows(plan: &RetentionPlan, zone: &TimeZone) -> Vec<Vec<String>> {
    let row = |id: &str, time: Timestamp, word: &str, why: String| {
        let id = escape(id.chars().take(8).collect::<String>().as_bytes());
        vec![id, super::local_time(time, zone), word.to_owned(), why]
    };
    let goes = plan.delete.iter().map(|d| row(&d.id, d.time, "goes", d.why.clone()));
    let stays = plan.keep.iter().map(|k| row(&k.id, k.time, "stays", words(&k.reasons)));
    goes.chain(stays).collect()
}
