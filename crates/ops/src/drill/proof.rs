//! From what was seen in the sandbox to what it means: which data was used, what the application tried.
//! Pure: observations in, checks and findings out.

use super::subject::{NotRun, Subject, address};
use crate::sandbox::spec::{Attempt, Observed, Opened, StepResult, What};
use recoup_core::event::{Finding, Outcome, Severity};
use recoup_core::name::escape;
use recoup_sources::Check;

/// Prefix of the steps that run a service.
pub(super) const START: &str = "start ";
/// The step that asks whether migrations are missing.
pub(super) const MIGRATE_ASK: &str = "migrate --check";
/// The step that applies them, after the answer was yes.
pub(super) const MIGRATE_RUN: &str = "migrate";

/// What the observations mean.
#[derive(Default)]
pub(super) struct Judged {
    pub(super) checks: Vec<(String, Check)>,
    pub(super) not_run: Vec<NotRun>,
}

/// Judges everything that was observed.
pub(super) fn judge(subject: &Subject, observed: &Observed) -> Judged {
    let mut judged = Judged::default();
    for step in &observed.steps {
        let done = match step.name.as_str() {
            MIGRATE_ASK => migrations_asked(subject, step, observed),
            MIGRATE_RUN => Some(migrations_run(subject, step)),
            name => name.strip_prefix(START).map(|service| started(subject, service, step)),
        };
        judged.checks.extend(done.map(|check| (subject.application.clone(), check)));
    }
    for service in &subject.services {
        if !observed.steps.iter().any(|s| s.name == format!("{START}{}", service.name)) {
            let reason = "a service before it was not healthy".to_owned();
            judged.not_run.push(NotRun { check: format!("{START}{}", service.name), reason });
        }
    }
    data_used(subject, observed, &mut judged);
    foreign(subject, observed, &mut judged);
    attempts(subject, observed, &mut judged);
    judged
}

fn migrations_asked(subject: &Subject, step: &StepResult, observed: &Observed) -> Option<Check> {
    if step.ok {
        return Some(Check::pass("migrations", "all migrations of the code are applied"));
    }
    if step.timed_out || step.log.iter().any(|line| line.starts_with("Traceback")) || step.exit != Some(1) {
        let last = last_line(step);
        return Some(Check::unknown("migrations", format!("`migrate --check` could not run: {last}")));
    }
    let runs = observed.steps.iter().find(|s| s.name == MIGRATE_RUN).is_some_and(|s| s.ok);
    let message = if runs {
        "the point is behind the code: migrations are missing, and they run on the restored data"
    } else {
        "the point is behind the code: migrations are missing"
    };
    let fix = "after a restore of this point, run the migrations before the application starts, or check out the code of the point (`recoup show POINT`)";
    let finding = Finding::new("R0205", Severity::Warning, &subject.application, message, fix);
    let outcome = if runs { Outcome::Pass } else { Outcome::Fail };
    Some(Check::found("migrations", outcome, finding))
}

fn migrations_run(subject: &Subject, step: &StepResult) -> Check {
    if step.ok {
        return Check::pass("migrate", format!("missing migrations ran in {:.1} s", step.seconds));
    }
    let message = format!("the missing migrations fail on the restored data: {}", last_line(step));
    let fix = "check out the code of the point (`recoup show POINT`), or mend the migration and drill again";
    Check::found(
        "migrate",
        Outcome::Fail,
        Finding::new("R0208", Severity::High, &subject.application, message, fix),
    )
}

fn started(subject: &Subject, service: &str, step: &StepResult) -> Check {
    let name = format!("{START}{service}");
    let at = format!("{}/{service}", subject.application);
    let seconds = step.seconds;
    if step.ok {
        return match &step.health {
            Some(said) => Check::pass(&name, format!("healthy after {seconds:.1} s ({said})")),
            None => {
                Check::unknown(&name, "it was still running at the end, but no `health` is declared to ask")
            }
        };
    }
    let (what, said) = match (&step.health, step.exit, step.timed_out) {
        (_, Some(code), _) => (format!("ended with exit code {code}"), last_line(step)),
        (Some(health), ..) => {
            (format!("was not healthy within {seconds:.0} s"), format!("{health}; {}", last_line(step)))
        }
        _ => ("did not start".to_owned(), last_line(step)),
    };
    let message = format!("service `{service}` {what} on the restored data: {said}");
    let fix = format!(
        "read its last lines in the evidence; `drill` of [service.{service}] says how it is started and with which environment"
    );
    Check::found(&name, Outcome::Fail, Finding::new("R0320", Severity::High, at, message, fix))
}

fn last_line(step: &StepResult) -> String {
    step.log
        .iter()
        .rev()
        .find(|line| !line.trim().is_empty())
        .cloned()
        .unwrap_or_else(|| "it said nothing".to_owned())
}

/// Which restored data was opened by the services. A database that a service needs and nobody opened
/// leaves the question open; nothing opened at all does so, too.
fn data_used(subject: &Subject, observed: &Observed, judged: &mut Judged) {
    let of_services = |o: &&Opened| o.what == What::Restored && o.step.starts_with(START);
    let mut any = false;
    for source in &subject.sources {
        let name = "data used";
        let at = address(subject, &source.name);
        let opened: Vec<&Opened> = observed
            .opened
            .iter()
            .filter(of_services)
            .filter(|o| o.source.as_deref() == Some(&source.name))
            .collect();
        if let Some(first) = opened.iter().find(|o| !o.program.is_empty()).or(opened.first()) {
            any = true;
            judged.checks.push((at, Check::pass(name, used(first, opened.iter().map(|o| o.count).sum()))));
        } else if source.is_database() && needed(subject, &source.name) {
            judged.checks.push((
                at,
                Check::unknown(
                    name,
                    "nobody opened the restored database, so it could not be told which data was used",
                ),
            ));
        } else {
            let reason = "no file of it was opened before the services were healthy".to_owned();
            judged.not_run.push(NotRun { check: format!("data used: {at}"), reason });
        }
    }
    if !any && !subject.services.is_empty() && judged.checks.iter().all(|(_, c)| c.name != "data used") {
        let check = Check::unknown(
            "data used",
            "no restored file was opened, so it could not be told which data was used",
        );
        judged.checks.push((subject.application.clone(), check));
    }
}

fn used(opened: &Opened, count: u64) -> String {
    let Opened { path, device, inode, program, .. } = opened;
    let who = if program.is_empty() { "a process in the sandbox" } else { program };
    let times = if count == 1 { "once".to_owned() } else { format!("{count} times") };
    format!("{who} opened the restored {path} {times} (device {device}, inode {inode})")
}

fn needed(subject: &Subject, source: &str) -> bool {
    let declared = subject.services.iter().any(|s| !s.needs.is_empty());
    !subject.services.is_empty()
        && (!declared || subject.services.iter().any(|s| s.needs.iter().any(|n| n == source)))
}

fn foreign(subject: &Subject, observed: &Observed, judged: &mut Judged) {
    let mut seen = std::collections::BTreeSet::new();
    for opened in &observed.opened {
        let path = &opened.path;
        if opened.what == What::Restored || !seen.insert((path.clone(), opened.what)) {
            continue;
        }
        let who = if opened.program.is_empty() { "the application" } else { &opened.program };
        let did = if opened.refused { "tried to open" } else { "opened" };
        let (id, severity, outcome, message, fix) = match opened.what {
            What::Foreign => (
                "R0301",
                Severity::High,
                Outcome::Fail,
                format!("{who} {did} {path}, a database of this host that is not part of the restored data"),
                "look for a path written into the settings; declare the database as a source, or let the path come from the environment",
            ),
            What::Forbidden => (
                "R0302",
                Severity::High,
                Outcome::Fail,
                format!(
                    "{who} {did} {path}, live data of source `{}`, which was not restored",
                    opened.source.as_deref().unwrap_or("?")
                ),
                "let the drill restore this source, too",
            ),
            _ => (
                "R0303",
                Severity::Info,
                Outcome::Pass,
                format!("{who} made a database of its own at {path}"),
                "if it holds data that matters, declare it as a source",
            ),
        };
        let check = Check::found(
            "no other data",
            outcome,
            Finding::new(id, severity, &subject.application, message, fix),
        );
        judged.checks.push((subject.application.clone(), check));
    }
    if observed.isolation.opens_seen_by == "nothing" {
        let check = Check::unknown("data used", "this host does not show which files are opened");
        judged.checks.push((subject.application.clone(), check));
    }
}

fn attempts(subject: &Subject, observed: &Observed, judged: &mut Judged) {
    let app = &subject.application;
    let mut push = |name: &str, finding: Finding| {
        let outcome = if finding.severity == Severity::High { Outcome::Fail } else { Outcome::Pass };
        judged.checks.push((app.clone(), Check::found(name, outcome, finding)));
    };
    for mail in &observed.mail {
        let what = if mail.messages > 0 {
            format!("send {} to {}", counted(mail.messages, "mail"), counted(mail.recipients, "recipient"))
        } else {
            "send mail".to_owned()
        };
        let message = format!(
            "the application tried to {what} by way of {}:{}; nothing left the sandbox",
            mail.server, mail.port
        );
        let fix = "after a real restore these mails would go out: let starting the application send none, or hold its mail until the restore is accepted";
        push("no mail", Finding::new("R0312", Severity::High, app, message, fix));
    }
    for attempt in &observed.egress {
        let message = format!(
            "the application tried to reach {} ({}); it was refused",
            place(attempt),
            counted(attempt.count, "time")
        );
        let fix = "make sure that this is harmless when restored data starts it; `drill.env` of the service can switch it off in drills";
        push("no egress", Finding::new("R0311", Severity::Warning, app, message, fix));
    }
    for attempt in &observed.local {
        let message = format!(
            "the application asked for a service at {}, which the drill does not have",
            place(attempt)
        );
        let fix = "if its data matters, declare it as a source; if it can be missing, all is well";
        push("local services", Finding::new("R0313", Severity::Info, app, message, fix));
    }
    if !observed.isolation.packets_watched {
        let reason = "this host does not show packets; they were refused unseen".to_owned();
        judged.not_run.push(NotRun { check: "no egress".into(), reason });
    }
}

fn place(attempt: &Attempt) -> String {
    let Attempt { address, port, protocol, name, .. } = attempt;
    let udp = if protocol == "udp" { " over UDP" } else { "" };
    match name {
        Some(name) => format!("{name}:{port}{udp}"),
        None if address.is_ipv6() => format!("[{address}]:{port}{udp}"),
        None => format!("{address}:{port}{udp}"),
    }
}

fn counted(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Names of sources as they stand in messages.
pub(super) fn shown(path: &std::path::Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    escape(path.as_os_str().as_bytes())
}
