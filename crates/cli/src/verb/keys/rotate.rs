//! `recoup keys rotate`.

use super::used;
use crate::context::Context;
use crate::render::Answer;
use clap::Args;
use recoup_core::Result;
use recoup_core::audit::KeyUse;
use recoup_core::event::Outcome;
use recoup_ops::keychain::rotate;

/// Put a new repository password in the place of the old one, at every location.
///
/// The new password is proven everywhere before it takes the place of the old one in the password file, and
/// the old keys are removed after that. It may be stopped at any moment and run again, and the password file
/// opens every location all the time. Other machines that use the old password need a copy of the new file.
///
/// It does not make an old copy useless: a key object wraps the one key of the repository, so that whoever kept
/// the old password AND a copy of the key object it opens can still open the repository and every copy of it. Only
/// a new repository helps then.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  recoup keys rotate")]
pub(super) struct Arguments {}

/// Said after every rotation, because it is what people expect and do not get.
const HONESTLY: &str = "\
The old password opens nothing here any more. Whoever kept it AND a copy of a key
object that it opens can still open the repository: only a new repository helps then.
Make a new recovery kit now: the secret part of the old one opens nothing.
";

pub(super) async fn run(_arguments: Arguments, context: &Context) -> Result<Answer> {
    let session = context.session()?;
    used(&session, KeyUse::Rotated).await?;
    let report = rotate(&session).await?;
    let begun = if report.resumed { "finished the rotation that was begun" } else { "replaced the password" };
    let mut text = format!("{begun}: {}\n", report.file);
    for at in &report.locations {
        let added = at.added.map_or_else(|| "a new key".into(), |id| format!("key {}", id.short()));
        let removed: Vec<String> = at.removed.iter().map(|id| id.short()).collect();
        text.push_str(&format!("  {}: {added} in place of {}\n", at.name, removed.join(", ")));
    }
    text.push_str(HONESTLY);
    Ok(Answer::new("keys rotate", Outcome::Pass, text).with(report))
}
