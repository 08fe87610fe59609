//! `recoup repo check`.

use super::open::Options;
use super::snapshots::finding;
use super::state;
use crate::context::Context;
use crate::render::Answer;
use clap::Args;
use recoup_core::event::{Finding, Outcome, Severity};
use recoup_core::name::escape;
use recoup_core::units::{ByteSize, Span};
use recoup_core::{Error, Kind, Result};
use recoup_repo::Problem;
use recoup_repo::check::{Budget, CheckOptions, CheckReport, Slice, Subset, Verified, check};
use serde_json::{Value, json};

/// Check a repository.
///
/// Without options: every pack is there and has its size, every tree of every snapshot can be read
/// and everything it needs is there. With --read-data every byte is read and hashed as well; with
/// --read-data-subset or --budget, that of some packs. What was read when is noted in a ledger on this host.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  recoup repo -r /srv/backup check --read-data\n  recoup repo -r /srv/backup check --read-data-subset 2/7\n  recoup repo -r /srv/backup check --budget 10m"
)]
pub(crate) struct Arguments {
    /// Read, open and hash everything.
    #[arg(long, conflicts_with_all = ["read_data_subset", "budget"])]
    read_data: bool,
    /// Read a part of the data: `n/t` for part n of t, `x%` or a size for packs at random.
    #[arg(long, value_name = "PART", value_parser = subset, conflicts_with = "budget")]
    read_data_subset: Option<Slice>,
    /// Read the data that was verified the longest time ago, for so long (10m) or so much (5GiB).
    #[arg(long, value_name = "DURATION|SIZE", value_parser = budget)]
    budget: Option<Slice>,
    /// Neither read nor write the ledger of what was verified when.
    #[arg(long)]
    no_ledger: bool,
}

pub(crate) async fn run(arguments: Arguments, open: &Options, context: &Context) -> Result<Answer> {
    let repository = open.repository(context).await?;
    let slice = arguments.read_data_subset.or(arguments.budget);
    let mut doubts = Vec::new();
    let ledger = match arguments.no_ledger {
        true => None,
        // A host without room for it can still check.
        false => state::of_repository(&repository, open).await.map_or_else(
            |err| {
                doubts.push(Problem::new("W0488", "ledger", format!("there is no place for it: {err}")));
                None
            },
            Some,
        ),
    };
    let options = CheckOptions {
        read_data: arguments.read_data || slice.is_some(),
        slice: slice.unwrap_or_default(),
        ledger,
        ..CheckOptions::default()
    };
    let mut report = check(&repository, &options).await?;
    report.problems.extend(doubts);
    Ok(answer(&report, &options))
}

fn answer(report: &CheckReport, options: &CheckOptions) -> Answer {
    let serious = report.problems.iter().filter(|p| p.is_serious()).count();
    let all = report.packs_read == report.packs;
    let mut text = format!(
        "checked {} packs, {} blobs, read {}\n{}\n",
        report.packs,
        report.blobs,
        ByteSize(report.bytes_read),
        match (serious, options.read_data) {
            (0, true) if all => "no errors: every byte was read and hashed".to_owned(),
            (0, true) => format!(
                "no errors in the structure, nor in the {} of {} packs that were read and hashed",
                report.packs_read, report.packs
            ),
            (0, false) =>
                "no errors in the structure; the data itself was not read (--read-data does)".to_owned(),
            (n, _) => format!("{n} errors"),
        }
    );
    text.push_str(&report.verified.as_ref().map(verified_text).unwrap_or_default());
    let problems: Vec<_> = report
        .problems
        .iter()
        .map(|p| json!({"object": escape(p.object.as_bytes()), "problem": p.problem, "affects": p.affects, "code": p.code}))
        .collect();
    let outcome = if serious == 0 { Outcome::Pass } else { Outcome::Fail };
    Answer::new("repo check", outcome, text).findings(report.problems.iter().map(weighed).collect()).with(
        json!({
            "packs": report.packs, "blobs": report.blobs, "packs_read": report.packs_read,
            "bytes_read": report.bytes_read, "verified": report.verified.as_ref().map(verified_json),
            "problems": problems,
        }),
    )
}

/// A problem as a finding: what takes nothing away is a warning.
fn weighed(problem: &Problem) -> Finding {
    let severity = if problem.is_serious() { Severity::High } else { Severity::Warning };
    Finding { severity, ..finding(problem) }
}

/// The share is rounded down: 100 % is said only if it is all.
fn percent(part: u64, whole: u64) -> u64 {
    if whole == 0 { 100 } else { (u128::from(part) * 100 / u128::from(whole)) as u64 }
}

fn verified_text(verified: &Verified) -> String {
    if verified.packs == 0 {
        return String::new();
    }
    let lately = percent(verified.lately_bytes, verified.bytes);
    let mut text =
        format!("read and hashed in the last 30 days: {lately} % of {}\n", ByteSize(verified.bytes));
    match verified.oldest {
        Some(oldest) => text.push_str(&format!("every pack was read once; the longest ago on {oldest}\n")),
        None => text.push_str(&format!(
            "never read since it was stored, as far as this host knows: {} packs, {}\n",
            verified.never,
            ByteSize(verified.never_bytes)
        )),
    }
    text
}

fn verified_json(verified: &Verified) -> Value {
    json!({
        "packs": verified.packs, "bytes": verified.bytes, "oldest": verified.oldest,
        "never": { "packs": verified.never, "bytes": verified.never_bytes },
        "last_30_days": { "packs": verified.lately, "bytes": verified.lately_bytes },
    })
}

/// As restic reads it: `n/t`, `x%`, or a size with the suffix K, M, G or T, or one of recoup's units.
fn subset(text: &str) -> Result<Slice> {
    let bad = |why: &str| {
        Error::new(Kind::Config, format!("read \"{text}\" as a part of the data: {why}"))
            .code("E0801")
            .hint("write 2/7, 5% or 10G")
    };
    if let Some((part, of)) = text.split_once('/') {
        let number = |text: &str| text.parse::<u32>().map_err(|_| bad("both are whole numbers"));
        let subset = Subset { part: number(part)?, of: number(of)? };
        if subset.part == 0 || subset.part > subset.of || subset.of > 256 {
            return Err(bad("n is from 1 to t, and t at most 256"));
        }
        return Ok(Slice::Part(subset));
    }
    if let Some(percent) = text.strip_suffix('%') {
        let percent: f64 = percent.parse().map_err(|_| bad("it is no number"))?;
        if !(percent > 0.0 && percent <= 100.0) {
            return Err(bad("more than 0% and at most 100%"));
        }
        return Ok(Slice::Percent(percent));
    }
    match size(text) {
        Some(0) | None => Err(bad("it is none of these")),
        Some(bytes) => Ok(Slice::Bytes(bytes)),
    }
}

fn budget(text: &str) -> Result<Slice> {
    // `10m` are minutes and `10M` bytes, so times come first: their units are small letters.
    if let Ok(Span(time)) = text.parse::<Span>() {
        return Ok(Slice::Budget(Budget::Time(time)));
    }
    size(text).map(|bytes| Slice::Budget(Budget::Bytes(bytes))).ok_or_else(|| {
        Error::new(Kind::Config, format!("read \"{text}\" as a time or a size"))
            .code("E0801")
            .hint("write 10m, 2h, 500MiB or 5GiB")
    })
}

/// A size in recoup's units or in restic's, which are powers of 1024.
fn size(text: &str) -> Option<u64> {
    if let Ok(ByteSize(bytes)) = text.parse() {
        return Some(bytes);
    }
    let cut = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let factor = match text[cut..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        _ => return None,
    };
    text[..cut].parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn parts_and_budgets_are_read_as_restic_and_people_write_them() {
        let part = |part, of| Slice::Part(Subset { part, of });
        for (text, want) in [
            ("1/1", part(1, 1)),
            ("256/256", part(256, 256)),
            ("2.5%", Slice::Percent(2.5)),
            ("100%", Slice::Percent(100.0)),
            ("10G", Slice::Bytes(10 << 30)),
            ("50m", Slice::Bytes(50 << 20)),
            ("5 GiB", Slice::Bytes(5 << 30)),
            ("1000", Slice::Bytes(1000)),
        ] {
            assert_eq!(subset(text).unwrap(), want, "{text}");
        }
        for text in
            ["0/5", "6/5", "1/257", "1/", "/2", "0%", "101%", "NaN%", "-1%", "0", "x", "", "5X", "1/2/3"]
        {
            assert!(subset(text).is_err(), "{text}");
        }
        assert_eq!(budget("10m").unwrap(), Slice::Budget(Budget::Time(Duration::from_secs(600))));
        assert_eq!(budget("10M").unwrap(), Slice::Budget(Budget::Bytes(10 << 20)));
        assert_eq!(budget("5GiB").unwrap(), Slice::Budget(Budget::Bytes(5 << 30)));
        assert!(budget("soon").is_err());
        assert_eq!((percent(999, 1000), percent(0, 0)), (99, 100));
    }
}
