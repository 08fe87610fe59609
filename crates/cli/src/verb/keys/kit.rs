//! `recoup keys kit`.

use super::used;
use crate::context::Context;
use crate::render::Answer;
use clap::Args;
use recoup_core::Result;
use recoup_core::audit::KeyUse;
use recoup_core::event::Outcome;
use recoup_ops::keychain::{KitOptions, make};
use recoup_ops::keys::Split;
use std::path::PathBuf;

/// Make a recovery kit to be printed: where the copies are, how to restore them, and what opens them.
///
/// kit.txt and kit.html say it all but the password, and hold a block that `recoup keys prove` reads back. The
/// password goes into a secret part of its own: whole, in parts of which some are enough, or sealed by the
/// commands of `wrap` in the table `keys`. Its lines are made to be typed from paper: a wrong character is told with its
/// line. No file is overwritten.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  recoup keys kit | lp\n  recoup keys kit --write kit --with-secret --qr\n  recoup keys kit --write kit --split 2/3"
)]
pub(super) struct Arguments {
    /// Write the files into DIR, which is made if it is not there.
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
    /// Write the secret part, whole, as secret.txt.
    #[arg(long, conflicts_with = "split")]
    with_secret: bool,
    /// Write the secret part in N files, any K of which give the password.
    #[arg(long, value_name = "K/N")]
    split: Option<Split>,
    /// Draw a QR code of the secret part, or of each of its parts: in its text, and as a page of its own.
    #[arg(long)]
    qr: bool,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<Answer> {
    let session = context.session()?;
    used(&session, KeyUse::KitMade).await?;
    let Arguments { write, with_secret, split, qr } = arguments;
    let is_written = write.is_some();
    let report = make(&session, &KitOptions { with_secret, split, qr, write }).await?;
    let mut text = report.text.clone();
    if is_written {
        text = format!("made kit {} of {}\n", report.kit, report.application);
        report.files.iter().for_each(|file| text.push_str(&format!("  {file}\n")));
        text.push_str("Print them, store them where this machine is not, then delete what is secret.\n");
        text.push_str("Prove it from there: recoup keys prove --kit kit.txt --secret FILE\n");
    }
    let findings = report.findings.clone();
    let mut answer = Answer::new("keys kit", Outcome::Pass, text).with(report).findings(findings);
    // The text is the kit, to be printed as it is.
    answer.text_has_findings = !is_written;
    Ok(answer)
}
