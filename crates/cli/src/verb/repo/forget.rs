//! `recoup repo forget`.

use super::open::Options;
use super::snapshots::{Filter, finding};
use crate::context::Context;
use crate::render::Answer;
use crate::render::table::table;
use clap::Args;
use recoup_core::event::Outcome;
use recoup_core::name::escape;
use recoup_core::retention::{Age, GroupBy, Keep, Plan, Policy};
use recoup_core::units::Span;
use recoup_core::{Error, Kind, Result};
use recoup_repo::forget::{ForgetOptions, Forgotten, by_policy, forget, refuse_protected};
use recoup_repo::repository::{Repository, SnapshotFilter};
use serde_json::json;
use std::time::Duration;

/// Forget snapshots, by name or by policy.
///
/// Acts at once, as restic does; --dry-run shows. Data that no snapshot needs any more stays until it
/// is pruned; --prune does that at once. A policy that would keep nothing of a group is refused.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  recoup repo -r /srv/backup forget --keep-daily 14 --keep-monthly 12 --dry-run\n  recoup repo -r /srv/backup forget 4f1c02aa"
)]
pub(crate) struct Arguments {
    /// Snapshots to forget, by id.
    #[arg(value_name = "SNAPSHOT")]
    ids: Vec<String>,
    #[command(flatten)]
    policy: PolicyArguments,
    #[command(flatten)]
    filter: Filter,
    /// What makes snapshots a series of their own: a list of host, paths, tags.
    #[arg(short = 'g', long, value_name = "LIST", default_value = "host,paths")]
    group_by: GroupBy,
    /// Never forget snapshots with these tags, comma separated, whatever the policy says; may be given more
    /// than once.
    #[arg(long, value_name = "TAG[,TAG...]")]
    protect_tag: Vec<String>,
    /// Allow a policy, or filters without a policy, to forget every snapshot of a group. What --protect-tag
    /// protects stays.
    #[arg(long)]
    unsafe_allow_remove_all: bool,
    /// Prune afterwards and give the space back at once, as restic does.
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    how: super::prune::How,
    /// Wait this long for others who hold the repository.
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    retry_lock: Span,
    /// Show what would be forgotten.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
struct PolicyArguments {
    /// Keep the newest N.
    #[arg(short = 'l', long, value_name = "N", default_value = "0")]
    keep_last: Keep,
    /// Keep the newest of each of the last N hours.
    #[arg(short = 'H', long, value_name = "N", default_value = "0")]
    keep_hourly: Keep,
    /// Keep the newest of each of the last N days.
    #[arg(short = 'd', long, value_name = "N", default_value = "0")]
    keep_daily: Keep,
    /// Keep the newest of each of the last N weeks.
    #[arg(short = 'w', long, value_name = "N", default_value = "0")]
    keep_weekly: Keep,
    /// Keep the newest of each of the last N months.
    #[arg(short = 'm', long, value_name = "N", default_value = "0")]
    keep_monthly: Keep,
    /// Keep the newest of each of the last N years.
    #[arg(short = 'y', long, value_name = "N", default_value = "0")]
    keep_yearly: Keep,
    /// Keep all that are at most this much older than the newest, as in 1y5m7d2h.
    #[arg(long, value_name = "AGE", default_value = "")]
    keep_within: Age,
    /// Keep hourly ones that are at most this much older than the newest.
    #[arg(long, value_name = "AGE", default_value = "")]
    keep_within_hourly: Age,
    /// Keep daily ones that are at most this much older than the newest.
    #[arg(long, value_name = "AGE", default_value = "")]
    keep_within_daily: Age,
    /// Keep weekly ones that are at most this much older than the newest.
    #[arg(long, value_name = "AGE", default_value = "")]
    keep_within_weekly: Age,
    /// Keep monthly ones that are at most this much older than the newest.
    #[arg(long, value_name = "AGE", default_value = "")]
    keep_within_monthly: Age,
    /// Keep yearly ones that are at most this much older than the newest.
    #[arg(long, value_name = "AGE", default_value = "")]
    keep_within_yearly: Age,
    /// Keep all with these tags, comma separated; may be given more than once.
    #[arg(long, value_name = "TAG[,TAG...]")]
    keep_tag: Vec<String>,
}

impl PolicyArguments {
    fn policy(&self) -> Policy {
        Policy {
            last: self.keep_last,
            hourly: self.keep_hourly,
            daily: self.keep_daily,
            weekly: self.keep_weekly,
            monthly: self.keep_monthly,
            yearly: self.keep_yearly,
            within: self.keep_within,
            within_hourly: self.keep_within_hourly,
            within_daily: self.keep_within_daily,
            within_weekly: self.keep_within_weekly,
            within_monthly: self.keep_within_monthly,
            within_yearly: self.keep_within_yearly,
            tags: tag_lists(&self.keep_tag),
            protect: Vec::new(),
            may_keep_nothing: false,
        }
    }
}

fn tag_lists(lists: &[String]) -> Vec<Vec<String>> {
    lists.iter().map(|list| list.split(',').map(str::to_owned).collect()).collect()
}

pub(crate) async fn run(arguments: Arguments, open: &Options, context: &Context) -> Result<Answer> {
    let repository = open.repository(context).await?;
    let answer = forgotten(&arguments, &repository).await?;
    if !arguments.prune || answer.outcome != Outcome::Pass {
        return Ok(answer);
    }
    let mut how = arguments.how.options()?;
    // Whoever writes `forget --prune` is used to see the space at once.
    how.keep_delete = Duration::ZERO;
    how.dry_run = arguments.dry_run;
    how.lock_wait = arguments.retry_lock.0;
    let pruned = super::prune::act(&repository, &how).await?;
    let text = format!("{}{}", answer.text, pruned.text);
    Ok(Answer { text, ..answer }.with(json!({ "prune": pruned.body })))
}

async fn forgotten(arguments: &Arguments, repository: &Repository) -> Result<Answer> {
    let options = ForgetOptions { dry_run: arguments.dry_run, lock_wait: arguments.retry_lock.0 };
    let policy = Policy {
        protect: tag_lists(&arguments.protect_tag),
        may_keep_nothing: arguments.unsafe_allow_remove_all,
        ..arguments.policy.policy()
    };
    let filter = arguments.filter.to_filter();
    if arguments.unsafe_allow_remove_all && policy.is_empty() && filter == SnapshotFilter::default() {
        return Err(Error::new(Kind::Config, "forget every snapshot there is")
            .code("E0801")
            .effect("no snapshot was forgotten")
            .hint("say which are meant with --host, --tag or --path, or what to keep with --keep-..."));
    }
    if !arguments.ids.is_empty() {
        if !policy.is_empty() {
            return Err(Error::new(Kind::Config, "forget by name and by policy in one call")
                .code("E0801")
                .effect("no snapshot was forgotten"));
        }
        let mut ids = Vec::new();
        for wanted in &arguments.ids {
            let (id, snapshot) = repository.find_snapshot(wanted, &filter).await?;
            refuse_protected(&id, &snapshot, &policy, repository.env().now())?;
            ids.push(id);
        }
        let done = forget(repository, &ids, options).await?;
        return Ok(answer(&done, None, arguments.dry_run));
    }
    let by = by_policy(repository, &filter, &policy, arguments.group_by, options).await?;
    let findings = by.problems.iter().map(finding).collect();
    Ok(answer(&by.done, Some(&by.plan), arguments.dry_run)
        .with(json!({ "partial": by.partial }))
        .findings(findings))
}

fn answer(done: &Forgotten, plan: Option<&Plan>, dry_run: bool) -> Answer {
    let mut text = plan.map(shown).unwrap_or_default();
    let word = if dry_run { "would forget" } else { "forgot" };
    for id in &done.removed {
        text.push_str(&format!("{word} {}\n", id.short()));
    }
    for (id, error) in &done.failed {
        text.push_str(&format!("not forgotten: {} {error}\n", id.short()));
    }
    text.push_str(&format!("{word} {} snapshots\n", done.removed.len()));
    let outcome = if done.failed.is_empty() { Outcome::Pass } else { Outcome::Fail };
    let failed: Vec<_> =
        done.failed.iter().map(|(id, e)| json!({"id": id, "error": e.to_string()})).collect();
    Answer::new("repo forget", outcome, text).with(json!({
        "forgotten": done.removed, "missing": done.missing, "failed": failed, "dry_run": dry_run,
        "plan": plan,
    }))
}

fn shown(plan: &Plan) -> String {
    let mut text = String::new();
    for group in &plan.groups {
        let paths: Vec<String> = group.paths.iter().map(|p| escape(p.as_bytes())).collect();
        text.push_str(&format!("{} {}\n", escape(group.host.as_bytes()), paths.join(" ")));
        let rows: Vec<Vec<String>> = group
            .keep
            .iter()
            .map(|k| vec!["  keep".to_owned(), k.id.chars().take(8).collect(), k.reasons.join(", ")])
            .collect();
        text.push_str(&table(&[], &rows, &[]));
    }
    text
}
