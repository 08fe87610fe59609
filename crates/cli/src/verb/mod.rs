//! The verbs, one file each: arguments, one call, what to show. The doc comment of a verb is its
//! help and its page in the reference.

mod explain;
mod repo;

use crate::context::Context;
use crate::render::Answer;
use clap::Subcommand;
use recoup_core::Result;

/// Every verb.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Explain(explain::Arguments),
    Repo(repo::Arguments),
}

impl Verb {
    /// The verb's name in JSON.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Verb::Explain(_) => "explain",
            Verb::Repo(a) => a.kind(),
        }
    }

    /// Whether restic's exit codes apply.
    pub(crate) fn is_engine(&self) -> bool {
        matches!(self, Verb::Repo(_))
    }
}

/// Hands the parsed command line to its verb.
pub(crate) async fn dispatch(verb: Verb, context: &Context) -> Result<Answer> {
    match verb {
        Verb::Explain(a) => explain::run(&a, context),
        Verb::Repo(a) => repo::run(a, context).await,
    }
}
