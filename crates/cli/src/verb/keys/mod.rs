//! `recoup keys`.

mod add;
mod kit;
mod list;
mod prove;
mod rotate;
mod sheet;

use crate::context::Context;
use crate::render::Answer;
use clap::{Args, Subcommand};
use recoup_core::Result;
use recoup_core::audit::{Details, Event, KeyUse};
use recoup_ops::audit;
use recoup_ops::session::Session;

/// The key chain: what opens, what signs, and the recovery kit.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  recoup keys list\n  recoup keys kit --write /media/usb/kit --split 2/3\n  recoup keys prove --kit kit.txt --secret secret-1-of-3.txt --secret secret-3-of-3.txt"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    List(list::Arguments),
    Add(add::Arguments),
    Rotate(rotate::Arguments),
    Kit(kit::Arguments),
    Prove(prove::Arguments),
    Sheet(sheet::SheetArguments),
    Confirm(sheet::ConfirmArguments),
}

impl Arguments {
    /// The verb's name in JSON.
    pub(crate) fn kind(&self) -> &'static str {
        match self.verb {
            Verb::List(_) => "keys list",
            Verb::Add(_) => "keys add",
            Verb::Rotate(_) => "keys rotate",
            Verb::Kit(_) => "keys kit",
            Verb::Prove(_) => "keys prove",
            Verb::Sheet(_) => "keys sheet",
            Verb::Confirm(_) => "keys confirm",
        }
    }
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Answer> {
    match arguments.verb {
        Verb::List(a) => list::run(a, context).await,
        Verb::Add(a) => add::run(a, context).await,
        Verb::Rotate(a) => rotate::run(a, context).await,
        Verb::Kit(a) => kit::run(a, context).await,
        Verb::Prove(a) => prove::run(a, context).await,
        Verb::Sheet(a) => sheet::sheet(a, context).await,
        Verb::Confirm(a) => sheet::confirm(a, context).await,
    }
}

/// Nobody uses a key without a trace.
async fn used(session: &Session, key: KeyUse) -> Result<()> {
    audit::record(session, Event::KeyUse, None, Details { key: Some(key), ..Details::default() }).await
}
