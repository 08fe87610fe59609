//! `recoup explain`.

use crate::context::Context;
use crate::render::Answer;
use crate::render::table::table;
use clap::Args;
use recoup_core::event::Outcome;
use recoup_core::{Error, Kind, Result, code};
use serde_json::json;

/// Explain a code, offline.
///
/// Every error and finding has a stable code. Without CODE all of them are listed.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  recoup explain E0411\n  recoup explain")]
pub(crate) struct Arguments {
    /// As in E0411.
    #[arg(value_name = "CODE")]
    code: Option<String>,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<Answer> {
    let Some(wanted) = &arguments.code else {
        let rows: Vec<Vec<String>> =
            code::all().map(|c| vec![c.code.to_owned(), c.title.to_owned()]).collect();
        let codes: Vec<_> = code::all().map(|c| json!({"code": c.code, "title": c.title})).collect();
        return Ok(Answer::new("explain", Outcome::Pass, table(&["code", "meaning"], &rows, &[]))
            .with(json!({ "codes": codes })));
    };
    let found = code::find(wanted).ok_or_else(|| {
        Error::new(Kind::Config, "explain this code: it is unknown")
            .with("code", recoup_core::name::escape(wanted.as_bytes()))
            .hint("`recoup explain` lists all codes")
    })?;
    let style = context.style;
    let text = format!(
        "{} {}\n\nWhat it means\n  {}\n\nEffect on the data\n  {}\n\nWhat to do\n  {}\n",
        style.bold(found.code),
        found.title,
        found.meaning,
        found.effect,
        found.next
    );
    Ok(Answer::new("explain", Outcome::Pass, text).with(json!({
        "explained": found.code, "title": found.title, "meaning": found.meaning,
        "effect": found.effect, "next": found.next,
    })))
}
