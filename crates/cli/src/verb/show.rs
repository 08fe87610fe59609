//! `recoup show`.

use crate::context::Context;
use crate::render::Answer;
use crate::render::table::table;
use clap::Args;
use jiff::tz::TimeZone;
use recoup_core::Result;
use recoup_core::event::Outcome;
use recoup_core::units::ByteSize;
use recoup_ops::point::Document;
use recoup_ops::points::{PointLine, Shown, show};
use serde_json::Value;

/// Show a point, a run or a restore.
///
/// A point: its sources, positions, provenance (code revision, migrations, lock file, key fingerprints)
/// and where it was proven. A run or a restore: what it did, stage by stage.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  recoup show latest\n  recoup show 4f1c02aa\n  recoup show R20261122-1403"
)]
pub(crate) struct Arguments {
    /// A point, as in `latest`, an id or a moment; or the name of a run or a restore.
    #[arg(value_name = "POINT|RUN")]
    what: String,
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Answer> {
    let session = context.session()?;
    let shown = show(&session, &arguments.what, context.globals.location.as_deref()).await?;
    let (text, outcome) = match &shown {
        Shown::Point { line, document } => (point(line, document, &session.zone()), Outcome::Pass),
        Shown::Run { run } => {
            let value = serde_json::to_value(run).unwrap_or_default();
            (outline(&value, 0), Outcome::Pass)
        }
        Shown::Restore { report } => (super::restore::text(report, context.style), Outcome::Pass),
    };
    Ok(Answer::new("show", outcome, text).with(&shown))
}

fn point(line: &PointLine, document: &Document, zone: &TimeZone) -> String {
    let mut out = format!(
        "point   {}\nid      {}\ntime    {}\nladder  {}\n",
        line.name,
        line.id,
        super::local_time(line.time, zone),
        super::rung(line.ladder)
    );
    out.push_str(&format!("held by {}\n\n", line.locations.join(", ")));
    let rows: Vec<Vec<String>> = document
        .sources
        .iter()
        .map(|s| {
            vec![
                s.address.clone(),
                s.kind.clone(),
                s.class.clone(),
                ByteSize(s.bytes).to_string(),
                s.files.to_string(),
                if s.complete { "complete".to_owned() } else { "INCOMPLETE".to_owned() },
            ]
        })
        .collect();
    out.push_str(&table(&["source", "kind", "class", "size", "files", "proof"], &rows, &[3, 4]));
    for source in &document.sources {
        if !source.facts.is_empty() {
            out.push_str(&format!("\n{}\n", source.address));
            out.push_str(&outline(&Value::Object(source.facts.clone()), 1));
        }
    }
    if let Some(provenance) = &document.provenance {
        out.push_str("\nprovenance\n");
        out.push_str(&outline(&serde_json::to_value(provenance).unwrap_or_default(), 1));
    }
    if let Some(heads) = &document.migrations {
        out.push_str("\nmigrations\n");
        out.push_str(&outline(&serde_json::to_value(heads).unwrap_or_default(), 1));
    }
    out
}

/// A JSON value as an indented outline, for facts whose shape belongs to their source.
pub(super) fn outline(value: &Value, depth: usize) -> String {
    let pad = "  ".repeat(depth);
    let plain = |value: &Value| match value {
        Value::String(text) => recoup_core::name::escape(text.as_bytes()),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let entry = |key: &str, value: &Value| match value {
        Value::Object(map) if map.is_empty() => String::new(),
        Value::Array(list) if list.is_empty() => String::new(),
        Value::Object(_) | Value::Array(_) => format!("{pad}{key}\n{}", outline(value, depth + 1)),
        other => format!("{pad}{key}: {}\n", plain(other)),
    };
    match value {
        Value::Object(map) => {
            map.iter().map(|(k, v)| entry(&recoup_core::name::escape(k.as_bytes()), v)).collect()
        }
        Value::Array(list) => list.iter().map(|v| entry("-", v)).collect(),
        other => format!("{pad}{}\n", plain(other)),
    }
}
