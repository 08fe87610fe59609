//! cron: one line for each command that cron can say.

use super::{ExportOptions, command, nothing_scheduled, scheduled};
use crate::config::Loaded;
use recoup_core::event::{Finding, Severity};
use recoup_core::schedule::{Calendar, Rhythm};
use recoup_core::units::Span;

/// A crontab for the user's own table, and what cron cannot say.
pub fn cron(loaded: &Loaded, options: &ExportOptions) -> (String, Vec<Finding>) {
    let mut text =
        String::from("# Made by `recoup export cron`. Make it again after a change of recoup.toml.\n");
    let mut findings = vec![];
    let all = scheduled(loaded);
    if all.is_empty() {
        findings.push(nothing_scheduled(loaded));
    }
    if let Some(zone) = loaded.config.timezone.as_ref().and_then(|zone| zone.iana_name()) {
        text.push_str(&format!("# Times are those of {zone}; cron runs in the zone of the host.\n"));
    }
    if let Some(dir) = &options.state_dir {
        text.push_str(&format!("RECOUP_STATE_DIR={}\n", dir.replace(['\n', '\r'], " ")));
    }
    for one in &all {
        let fields = match one.schedule.rhythm() {
            Rhythm::Calendar(calendar) => Some(fields(calendar)),
            Rhythm::Every(span) => every(*span),
        };
        let argv: Vec<String> = command(loaded, options, &one.arguments).iter().map(|a| quoted(a)).collect();
        match fields {
            Some(fields) => text.push_str(&format!("{fields} {}\n", argv.join(" "))),
            None => findings.push(Finding::new(
                "E0104",
                Severity::Warning,
                format!("{}/{}", loaded.config.app, one.name),
                format!("cron cannot say \"{}\"", one.schedule),
                "use `recoup export systemd`, or an interval that divides an hour or a day",
            )),
        }
    }
    (text, findings)
}

fn every(span: Span) -> Option<String> {
    let minutes = span.as_secs().is_multiple_of(60).then_some(span.as_secs() / 60)?;
    match minutes {
        0 => None,
        1 => Some("* * * * *".to_owned()),
        m if m < 60 && 60 % m == 0 => Some(format!("*/{m} * * * *")),
        60 => Some("0 * * * *".to_owned()),
        m if m % 60 == 0 && m < 1440 && 1440 % m == 0 => Some(format!("0 */{} * * *", m / 60)),
        1440 => Some("0 0 * * *".to_owned()),
        _ => None,
    }
}

fn fields(calendar: &Calendar) -> String {
    let list = |set: &[u8], all: usize| {
        if set.len() == all {
            "*".to_owned()
        } else {
            set.iter().map(u8::to_string).collect::<Vec<_>>().join(",")
        }
    };
    [
        list(&calendar.minutes, 60),
        list(&calendar.hours, 24),
        list(&calendar.days, 31),
        list(&calendar.months, 12),
        list(&calendar.weekdays, 7),
    ]
    .join(" ")
}

/// One word for `sh`; `%` would end the command in a crontab.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    let escaped = text.replace('\'', "'\\''").replace(['\n', '\r'], " ");
    format!("'{}'", escaped.replace('%', "'\\%'"))
}
