//! `recoup keys list`.

use crate::context::Context;
use crate::render::Answer;
use crate::render::table::table;
use crate::verb::local_time;
use clap::Args;
use jiff::tz::TimeZone;
use recoup_core::Result;
use recoup_core::name::escape;
use recoup_core::units::Span;
use recoup_ops::keychain::{KeyList, list};
use std::time::Duration;

/// Show what opens the repositories, what signs the points, and how the recovery kit stands.
///
/// The keys of every repository with the one that our password opens, the signing key of this machine and the
/// line for `signers`, everybody whose signatures count, the programs that seal the secret part of a kit, and
/// when the newest kit was made and proven. Nothing secret is shown.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  recoup keys list\n  recoup keys list --output json")]
pub(super) struct Arguments {}

pub(super) async fn run(_arguments: Arguments, context: &Context) -> Result<Answer> {
    let session = context.session()?;
    let found = list(&session, context.globals.location.as_deref()).await?;
    let text = text(&found, &session.zone());
    Ok(Answer::new("keys list", found.outcome, text).with(&found).findings(found.findings))
}

fn text(found: &KeyList, zone: &TimeZone) -> String {
    let mut out = format!("repository keys of {}\n", found.application);
    let mut rows = Vec::new();
    for at in &found.locations {
        if at.keys.is_empty() {
            rows.push(vec![format!("  {}", at.location), "none that is known".into()]);
        }
        for key in &at.keys {
            rows.push(vec![
                format!("  {}", at.location),
                key.id.chars().take(8).collect(),
                key.created.map_or_else(|| "unknown".into(), |at| local_time(at, zone)),
                key.by.clone(),
                if key.opens { "our password opens it".into() } else { String::new() },
            ]);
        }
    }
    out.push_str(&table(&["  location", "key", "created", "by", ""], &rows, &[]));
    out.push_str("\nsigning key of this machine\n");
    match &found.signing {
        Some(key) => {
            let trusted = if key.trusted { "is among `signers`" } else { "is NOT among `signers`" };
            out.push_str(&format!("  {}  {trusted}\n  {}\n", key.fingerprint, key.public));
        }
        None => out.push_str("  none; `recoup keys add signing` makes one\n"),
    }
    out.push_str("\nsigners\n");
    for key in &found.signers {
        let here = if key.here { "  this machine" } else { "" };
        out.push_str(&format!("  {}{here}\n  {}\n", key.fingerprint, key.public));
    }
    if found.signers.is_empty() {
        out.push_str("  nobody is declared\n");
    }
    if !found.wrap.is_empty() {
        out.push_str(&format!("\nthe secret part of a kit is sealed by {}\n", found.wrap.join(", ")));
    }
    out.push_str("\nrecovery kit\n");
    let Some(kit) = &found.kit else {
        out.push_str("  none was made; `recoup keys kit --write FOLDER` makes one\n");
        return out;
    };
    let by = escape(kit.by.as_bytes());
    out.push_str(&format!("  {}  made {} by {by}\n", kit.kit, local_time(kit.made, zone)));
    match found.kit_proven_seconds {
        Some(age) => {
            let age = Span(Duration::from_secs(age));
            out.push_str(&format!("  kit last proven {age} ago, at all its locations\n"));
        }
        None => out.push_str("  not yet proven at every location\n"),
    }
    if kit.outdated.is_some() {
        out.push_str("  the password was replaced since: its secret part opens nothing\n");
    }
    out
}
