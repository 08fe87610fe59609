//! `recoup retention apply`, `undo`, `lost`, `log`, `sprawl`.

use crate::context::Context;
use crate::render::Answer;
use crate::render::table::table;
use clap::Args;
use jiff::tz::TimeZone;
use recoup_core::Result;
use recoup_core::canonical::short;
use recoup_core::event::Outcome;
use recoup_core::name::escape;
use recoup_core::units::{ByteSize, Span, counted};
use recoup_ops::retention::apply::{self, ApplyOptions, ApplyReport};
use recoup_ops::retention::{log, sprawl};
use serde_json::json;

/// Points that are shown; JSON has all of them.
const SHOWN_MAX: usize = 30;

/// Delete what no policy wants: plan it first, and after a time in which it can be undone, do it.
///
/// What no policy wants any more is planned for deletion and stays as it is until the day that is said. A later run
/// deletes what is due and still not wanted. Never deleted: the newest and the last proven point of each source, what
/// is held, what nobody signed, what came before a suspicious capture. Nothing is deleted while the clock is in doubt
/// or the signed history of a location is in trouble.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  recoup retention apply --dry-run\n  recoup retention apply --confirm 4f1c09aa\n  recoup retention apply --grace 14d\n  recoup retention undo 4f1c --reason \"the audit wants March\""
)]
pub(super) struct ApplyArguments {
    /// Say what would be done and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// The start of the hash of the plan that --dry-run showed; wanted for policies that are new or keep less.
    #[arg(long, value_name = "HASH")]
    confirm: Option<String>,
    /// How long the deletion can be undone [default: 7d].
    #[arg(long, value_name = "DURATION")]
    grace: Option<Span>,
    /// Delete the snapshots and leave the data to `recoup repo prune`.
    #[arg(long)]
    keep_data: bool,
    /// Delete although the clock is in doubt.
    #[arg(long)]
    trust_clock: bool,
}

/// Undo a planned deletion: its points are held from now on.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  recoup retention undo 4f1c --reason \"the audit wants March\"")]
pub(super) struct UndoArguments {
    /// The start of the hash of the plan, as `retention log` shows it.
    #[arg(value_name = "PLAN")]
    plan: String,
    /// Why, for whoever asks later.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Say that somebody has looked into points that are gone although nobody deleted them.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  recoup retention lost 5be1 --reason \"the disk was replaced, ticket 412\""
)]
pub(super) struct LostArguments {
    /// The start of the id of the point, as `recoup verify` names it.
    #[arg(value_name = "POINT")]
    point: String,
    /// What was found out.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub(super) async fn apply(arguments: ApplyArguments, context: &Context) -> Result<Answer> {
    let session = context.session()?;
    let ApplyArguments { dry_run, confirm, grace, keep_data, trust_clock } = arguments;
    let options = ApplyOptions { dry_run, confirm, grace, keep_data, trust_clock };
    let report = apply::apply(&session, &options).await?;
    let text = text(&report, &session.zone());
    Ok(Answer::new("retention apply", report.outcome, text).with(&report).findings(report.findings))
}

fn text(report: &ApplyReport, zone: &TimeZone) -> String {
    let stays = counted(report.plan.keep.len() as u64, "point");
    let mut out = format!("{stays} stay, {} that no policy wants\n", report.plan.delete.len());
    if !report.new.is_empty() {
        let (number, hash) = (counted(report.new.len() as u64, "point"), short(&report.hash));
        match report.due {
            Some(due) => out.push_str(&format!(
                "planned: {number} go on {}; until then `recoup retention undo {hash} --reason ...` keeps them\n",
                super::super::local_time(due, zone)
            )),
            None => out.push_str(&format!("to be planned: {number}, plan {hash}\n")),
        }
        out.push_str(&points(report, zone));
    }
    if let (Some(why), true) = (&report.must_confirm, report.dry_run) {
        out.push_str(&format!(
            "must be confirmed ({why}): recoup retention apply --confirm {}\n",
            short(&report.hash)
        ));
    }
    for (hash, planned) in report.waiting.iter().filter(|(hash, _)| **hash != report.hash) {
        let due = super::super::local_time(planned.due, zone);
        out.push_str(&format!("waiting: {} of plan {}, due {due}\n", planned.points.len(), short(hash)));
    }
    let verb = if report.dry_run { "would delete" } else { "deleted" };
    if !report.deleted.points.is_empty() {
        let number = counted(report.deleted.points.len() as u64, "point");
        out.push_str(&format!("{verb} {number}, planned earlier and due now\n"));
        let row = |l: &apply::LocationDeleted| {
            vec![
                l.name.clone(),
                l.points.to_string(),
                l.snapshots.to_string(),
                ByteSize(l.bytes_freed).to_string(),
            ]
        };
        let rows: Vec<_> = report.deleted.locations.iter().map(row).collect();
        out.push_str(&table(&["location", "points", "snapshots", "freed"], &rows, &[1, 2, 3]));
    }
    if report.dry_run {
        out.push_str("nothing was changed\n");
    }
    out
}

fn points(report: &ApplyReport, zone: &TimeZone) -> String {
    let new = report.plan.delete.iter().filter(|d| report.new.contains(&d.id));
    let rows: Vec<Vec<String>> = new
        .take(SHOWN_MAX)
        .map(|d| {
            let id = d.id.chars().take(8).collect();
            vec![id, super::super::local_time(d.time, zone), escape(d.why.as_bytes())]
        })
        .collect();
    let mut out = table(&["point", "time", "why"], &rows, &[]);
    if report.new.len() > SHOWN_MAX {
        out.push_str(&format!("and {} more\n", report.new.len() - SHOWN_MAX));
    }
    out
}

pub(super) async fn undo(arguments: UndoArguments, context: &Context) -> Result<Answer> {
    let session = context.session()?;
    let undone = apply::undo(&session, &arguments.plan, &arguments.reason).await?;
    let text = format!(
        "{} stay and are held; `recoup hold list` shows them\n",
        counted(undone.points.len() as u64, "point")
    );
    Ok(Answer::new("retention undo", Outcome::Pass, text).with(json!({ "points": undone.points })))
}

pub(super) async fn lost(arguments: LostArguments, context: &Context) -> Result<Answer> {
    let session = context.session()?;
    let points = apply::lost(&session, &arguments.point, &arguments.reason).await?;
    let text =
        format!("noted: {} lost, and somebody has looked into it\n", counted(points.len() as u64, "point"));
    Ok(Answer::new("retention lost", Outcome::Pass, text).with(json!({ "points": points })))
}

pub(super) async fn log(context: &Context) -> Result<Answer> {
    let session = context.session()?;
    let (entries, findings) = log::log(&session, context.globals.location.as_deref()).await?;
    let zone = session.zone();
    let rows: Vec<Vec<String>> = entries
        .iter()
        .map(|e| {
            vec![
                super::super::local_time(e.time, &zone),
                e.what.to_owned(),
                escape(e.plans.iter().map(|p| short(p)).collect::<Vec<_>>().join(" ").as_bytes()),
                e.points.len().to_string(),
                escape(e.by.as_bytes()),
                escape(e.said.as_bytes()),
            ]
        })
        .collect();
    let text = match rows.is_empty() {
        true => "no deletion was ever planned\n".to_owned(),
        false => table(&["time", "what", "plan", "points", "by", ""], &rows, &[3]),
    };
    Ok(Answer::new("retention log", Outcome::Pass, text)
        .with(json!({ "entries": entries }))
        .findings(findings))
}

pub(super) async fn sprawl(context: &Context) -> Result<Answer> {
    let session = context.session()?;
    let report = sprawl::sprawl(&session, context.globals.location.as_deref()).await?;
    let mut rows: Vec<Vec<String>> = Vec::new();
    for at in &report.locations {
        let lists = [
            ("points that no policy wants: `recoup retention apply` plans them", &at.unwanted),
            ("points with a source that is not declared", &at.orphans),
            ("points whose class has no `retain`", &at.without_policy),
            ("points that nobody signed", &at.unattested),
            ("points that are stated as deleted and are still there", &at.undeleted),
            ("snapshots of stopped runs", &at.partial),
            ("snapshots of something else", &at.foreign),
        ];
        for (what, ids) in lists.into_iter().filter(|(_, ids)| !ids.is_empty()) {
            rows.push(vec![at.location.clone(), ids.len().to_string(), what.to_owned()]);
        }
        if at.bytes_unused > 0 {
            let unused = ByteSize(at.bytes_unused).to_string();
            rows.push(vec![at.location.clone(), unused, "in packs that no snapshot needs".to_owned()]);
        }
    }
    let text = match (rows.is_empty(), report.outcome) {
        (true, Outcome::Pass) => "nothing is stored that no policy wants\n".to_owned(),
        (true, _) => "could not find out what is stored\n".to_owned(),
        (false, _) => table(&["location", "", "what"], &rows, &[1]),
    };
    Ok(Answer::new("retention sprawl", report.outcome, text).with(&report).findings(report.findings))
}
