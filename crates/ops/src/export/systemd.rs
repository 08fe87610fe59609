//! systemd: a service and a timer for each command.

use super::{ExportOptions, Scheduled, command, nothing_scheduled, scheduled};
use crate::config::Loaded;
use crate::secret::SecretRef;
use recoup_core::event::{Finding, Severity};
use recoup_core::schedule::{Calendar, Rhythm};
use serde::Serialize;

/// A unit file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unit {
    /// Its name, as in `recoup-shop-backup.timer`.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// All units, and what somebody has to add by hand.
pub fn systemd(loaded: &Loaded, options: &ExportOptions) -> (Vec<Unit>, Vec<Finding>) {
    let all = scheduled(loaded);
    let mut findings = vec![];
    if all.is_empty() {
        findings.push(nothing_scheduled(loaded));
    }
    if let Some(SecretRef::Env(name)) = loaded.config.keys.as_ref().map(|keys| &keys.password) {
        findings.push(Finding::new(
            "E0810",
            Severity::Warning,
            loaded.config.app.clone(),
            format!("the password is in the environment variable {name}, which a timer does not have"),
            "keep it in a file of mode 0600 and declare { file = ... }",
        ));
    }
    let units = all.iter().flat_map(|one| [service(loaded, options, one), timer(loaded, one)]);
    (units.collect(), findings)
}

fn base(loaded: &Loaded, one: &Scheduled) -> String {
    format!("recoup-{}-{}", loaded.config.app, one.name)
}

/// What every service gets. Nothing here hides data from a capture: homes and temporary folders may
/// hold sources.
const HARDENING: &str = "NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
UMask=0077
Nice=10
IOSchedulingClass=best-effort
IOSchedulingPriority=7
";

/// A drill makes namespaces and mounts of its own, which these would forbid.
const HARDENING_BACKUP: &str = "ProtectSystem=full
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
ProtectClock=yes
RestrictNamespaces=yes
";

fn service(loaded: &Loaded, options: &ExportOptions, one: &Scheduled) -> Unit {
    let argv: Vec<String> = command(loaded, options, &one.arguments).iter().map(|a| quoted(a)).collect();
    let mut text =
        String::from("# Made by `recoup export systemd`. Make it again after a change of recoup.toml.\n");
    text.push_str(&format!("[Unit]\nDescription={}\n", specifiers(&one.about)));
    text.push_str("After=local-fs.target time-sync.target\n");
    text.push_str(&format!("\n[Service]\nType=oneshot\nUser={}\n", specifiers(&options.user)));
    text.push_str(&format!("ExecStart={}\n", argv.join(" ")));
    if let Some(dir) = &options.state_dir {
        text.push_str(&format!("Environment={}\n", quoted_no_variables(&format!("RECOUP_STATE_DIR={dir}"))));
    }
    text.push_str("TimeoutStartSec=infinity\n");
    text.push_str(HARDENING);
    if !one.is_drill {
        text.push_str(HARDENING_BACKUP);
    }
    Unit { name: format!("{}.service", base(loaded, one)), text }
}

fn timer(loaded: &Loaded, one: &Scheduled) -> Unit {
    let mut text =
        String::from("# Made by `recoup export systemd`. Make it again after a change of recoup.toml.\n");
    text.push_str(&format!(
        "[Unit]\nDescription={}, {}\n\n[Timer]\n",
        specifiers(&one.about),
        specifiers(&one.schedule.to_string())
    ));
    match one.schedule.rhythm() {
        Rhythm::Every(span) => {
            // Counted from the start of the last run, and soon after a boot.
            text.push_str(&format!("OnActiveSec=0\nOnBootSec=2min\nOnUnitActiveSec={}s\n", span.as_secs()));
        }
        Rhythm::Calendar(calendar) => {
            let zone = loaded.config.timezone.as_ref().and_then(|zone| zone.iana_name().map(str::to_owned));
            for line in calendar_lines(calendar) {
                let zone = zone.as_ref().map(|zone| format!(" {zone}")).unwrap_or_default();
                text.push_str(&format!("OnCalendar={line}{zone}\n"));
            }
            // A machine that was off catches up.
            text.push_str("Persistent=true\n");
        }
    }
    text.push_str(&format!(
        "AccuracySec=1s\nUnit={}.service\n\n[Install]\nWantedBy=timers.target\n",
        base(loaded, one)
    ));
    Unit { name: format!("{}.timer", base(loaded, one)), text }
}

const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/// cron runs on either day field if both are restricted, systemd on both: hence up to two lines.
fn calendar_lines(calendar: &Calendar) -> Vec<String> {
    let list = |set: &[u8], all: usize| {
        if set.len() == all {
            "*".to_owned()
        } else {
            set.iter().map(|n| format!("{n:02}")).collect::<Vec<_>>().join(",")
        }
    };
    let months = list(&calendar.months, 12);
    let time = format!("{}:{}:00", list(&calendar.hours, 24), list(&calendar.minutes, 60));
    let weekdays: Vec<&str> =
        calendar.weekdays.iter().filter_map(|&d| WEEKDAYS.get(usize::from(d)).copied()).collect();
    let any_weekday = calendar.weekdays.len() == 7;
    let any_day = calendar.days.len() == 31;
    let by_day = format!("*-{months}-{} {time}", list(&calendar.days, 31));
    let by_weekday = format!("{} *-{months}-* {time}", weekdays.join(","));
    match (any_day, any_weekday) {
        (_, true) => vec![by_day],
        (true, false) => vec![by_weekday],
        (false, false) => vec![by_day, by_weekday],
    }
}

/// `%` begins a specifier in every value; line ends would begin a new key.
fn specifiers(text: &str) -> String {
    text.replace('%', "%%").replace(['\n', '\r'], " ")
}

/// One argument of `ExecStart=`, where `$` begins a variable.
fn quoted(text: &str) -> String {
    quoted_no_variables(&text.replace('$', "$$"))
}

fn quoted_no_variables(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@$".contains(c);
    let escaped = specifiers(&text.replace('\\', "\\\\").replace('"', "\\\""));
    if !text.is_empty() && text.chars().all(plain) { escaped } else { format!("\"{escaped}\"") }
}
