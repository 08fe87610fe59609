//! `recoup config`.

use crate::context::Context;
use crate::render::Answer;
use clap::{Args, Subcommand};
use recoup_core::Result;
use recoup_core::event::Outcome;
use recoup_ops::config::{effective, load, schema};
use serde_json::json;

/// The configuration: what is in force, and its schema.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  recoup config show --origin\n  recoup config schema > recoup.schema.json"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Show(ShowArguments),
    Schema(SchemaArguments),
}

/// Show every value in force, overlays applied. Secrets are references and stay so.
#[derive(Args, Debug)]
struct ShowArguments {
    /// With overlays applied; this is always so and the option is accepted for clarity.
    #[arg(long)]
    effective: bool,
    /// Say where each value was written, as in recoup.toml:12.
    #[arg(long)]
    origin: bool,
}

/// Print the JSON Schema of recoup.toml.
#[derive(Args, Debug)]
struct SchemaArguments {}

impl Arguments {
    /// The verb's name in JSON.
    pub(crate) fn kind(&self) -> &'static str {
        match self.verb {
            Verb::Show(_) => "config show",
            Verb::Schema(_) => "config schema",
        }
    }
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<Answer> {
    match &arguments.verb {
        Verb::Schema(_) => Ok(Answer::new("config schema", Outcome::Pass, schema::text())
            .with(json!({ "json_schema": schema::schema() }))),
        Verb::Show(a) => {
            // The state directory is not needed to look at a file.
            let loaded = load(&context.load_options()?)?;
            let settings = effective::settings(&loaded);
            let mut text = effective::text(&settings, a.origin);
            text.push_str(&format!("# digest {}\n", loaded.digest));
            Ok(Answer::new("config show", Outcome::Pass, text)
                .findings(loaded.warnings.iter().map(recoup_ops::config::Problem::finding).collect())
                .with(json!({ "settings": settings, "digest": loaded.digest })))
        }
    }
}
