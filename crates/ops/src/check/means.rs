//! Schedules, copies and failure domains against the classes.

use crate::config::{Loaded, Problem, Source};
use recoup_core::class::Class;
use recoup_core::units::Span;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// All problems with the means.
pub(super) fn check(loaded: &Loaded) -> Vec<Problem> {
    let mut out = vec![];
    ground(loaded, &mut out);
    for (name, source) in &loaded.config.sources {
        if let Some(class) = loaded.config.class_of(source) {
            rhythm(loaded, name, source, class, &mut out);
        }
    }
    for (name, class) in &loaded.config.classes {
        if loaded.config.sources.values().any(|source| &source.class == name) {
            copies(loaded, name, class, &mut out);
            targets(loaded, name, class, &mut out);
        }
    }
    places(loaded, &mut out);
    services(loaded, &mut out);
    out
}

fn ground(loaded: &Loaded, out: &mut Vec<Problem>) {
    let config = &loaded.config;
    if config.sources.is_empty() {
        return;
    }
    if config.locations.is_empty() {
        let problem = Problem::error("E0305", "there is no place for copies")
            .label("no [location.<name>] in this file")
            .hint("[location.local]\n      kind = \"local\"\n      path = \"/srv/recoup/APP\"\n      failure_domain = \"this-machine\"");
        out.push(loaded.problem_at(problem, &["app"]));
    }
    if config.keys.is_none() {
        let problem = Problem::error("E0306", "the key to the repository is not declared")
            .label("no [keys] in this file")
            .hint(format!("[keys] password = {{ file = \"~/.config/recoup/{}.password\" }}", config.app));
        out.push(loaded.problem_at(problem, &["app"]));
    }
}

fn rhythm(loaded: &Loaded, name: &str, source: &Source, class: &Class, out: &mut Vec<Problem>) {
    let Some(rpo) = class.rpo else { return };
    let title = format!("`source.{name}` cannot meet class `{}`", class.name);
    let Some(schedule) = &source.schedule else {
        let problem = Problem::error("E0307", format!("`source.{name}` is never captured by itself"))
            .label(format!("no `capture` and no `schedule`; rpo is {rpo}"))
            .hint(format!("capture = {{ every = \"{}\" }}", more_often(rpo)));
        out.push(loaded.problem_at(problem, &["source", name]));
        return;
    };
    match schedule.longest_gap() {
        None => {
            let problem = Problem::error("E0301", title)
                .label(format!("`{schedule}` never comes"))
                .hint("write a schedule that has a day");
            out.push(loaded.problem_at(problem, &["source", name]));
        }
        Some(gap) if gap > rpo => {
            let problem = Problem::error("E0301", title)
                .label(format!("captured {schedule}, up to {gap} apart; rpo is {rpo}"))
                .hint(format!(
                    "capture = {{ every = \"{}\" }}, or a class that allows {gap}",
                    more_often(rpo)
                ))
                .hint("`recoup explain E0301` says how RPO is computed");
            out.push(loaded.problem_at(problem, &["source", name]));
        }
        Some(gap) if gap == rpo => {
            let problem =
                Problem::warning("W0410", format!("`source.{name}` is captured exactly as often as its rpo"))
                    .label(format!("captured {schedule}; rpo is {rpo}, and a capture takes time"))
                    .hint(format!("capture = {{ every = \"{}\" }}", more_often(rpo)));
            out.push(loaded.problem_at(problem, &["source", name]));
        }
        Some(_) => {}
    }
}

/// Two thirds of the RPO, in whole minutes where that is possible.
fn more_often(rpo: Span) -> Span {
    let seconds = rpo.as_secs() * 2 / 3;
    let whole = if seconds >= 60 { seconds / 60 * 60 } else { seconds.max(1) };
    Span(std::time::Duration::from_secs(whole))
}

fn copies(loaded: &Loaded, name: &str, class: &Class, out: &mut Vec<Problem>) {
    let locations = &loaded.config.locations;
    let copies = 1 + locations.len();
    if (copies as u64) < u64::from(class.copies) {
        let problem =
            Problem::error("E0302", format!("class `{name}` asks for more copies than there are places"))
                .label(format!(
                    "copies = {}; production and {} make {copies}",
                    class.copies,
                    count(locations.len(), "location")
                ))
                .hint("add a [location.<name>], or lower `copies` if that is really enough");
        out.push(loaded.problem_at(problem, &["class", name, "copies"]));
    }
    let domains: BTreeSet<&str> =
        locations.values().map(|l| l.failure_domain.as_deref().unwrap_or_default()).collect();
    if !locations.is_empty() && (domains.len() as u64) < u64::from(class.failure_domains) {
        let problem =
            Problem::error("E0311", format!("class `{name}` asks for copies in more failure domains"))
                .label(format!(
                    "failure_domains = {}; the locations lie in {}",
                    class.failure_domains,
                    domains.len()
                ))
                .hint("add a location on another machine, in another building or account")
                .hint("or lower `failure_domains` if that is really enough");
        out.push(loaded.problem_at(problem, &["class", name, "failure_domains"]));
    }
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn targets(loaded: &Loaded, name: &str, class: &Class, out: &mut Vec<Problem>) {
    let missing = match (class.rpo, class.rto) {
        // What is rebuilt is not restored to a moment.
        (None, Some(_)) if class.rebuild_required => return,
        (Some(_), Some(_)) => return,
        (None, None) => "neither `rpo` nor `rto`",
        (None, Some(_)) => "no `rpo`",
        (Some(_), None) => "no `rto`",
    };
    let problem = Problem::warning("W0414", format!("class `{name}` promises nothing that can be measured"))
        .label(missing)
        .hint("say how much work may be lost (`rpo`) and how long a restore may take (`rto`)");
    out.push(loaded.problem_at(problem, &["class", name]));
}

fn places(loaded: &Loaded, out: &mut Vec<Problem>) {
    let config = &loaded.config;
    let sources: Vec<(&String, PathBuf)> = config
        .sources
        .iter()
        .filter_map(|(name, source)| Some((name, loaded.path(source.driver.path()).ok()?)))
        .collect();
    for (name, location) in &config.locations {
        let Ok(path) = loaded.path(&location.path) else { continue };
        if location.failure_domain.is_none() && config.locations.len() > 1 {
            let problem = Problem::warning("W0412", format!("`location.{name}` has no failure domain"))
                .label("it counts as one with every other that has none")
                .hint("failure_domain = \"...\": a machine, a building, an account");
            out.push(loaded.problem_at(problem, &["location", name]));
        }
        for (source, data) in &sources {
            if path.starts_with(data) || data.starts_with(&path) {
                let problem = Problem::error(
                    "E0308",
                    format!("`location.{name}` and `source.{source}` lie in each other"),
                )
                .label(format!("the source is {}", data.display()))
                .hint("put the location elsewhere, best on another disk");
                out.push(loaded.problem_at(problem, &["location", name, "path"]));
            }
        }
        let device = device(&path);
        let shared: Vec<&str> = sources
            .iter()
            .filter(|(_, data)| device.is_some() && self::device(data) == device)
            .map(|(n, _)| n.as_str())
            .collect();
        if !shared.is_empty() {
            let problem =
                Problem::warning("W0411", format!("`location.{name}` is on the same disk as its data"))
                    .label(format!("the same file system as {}", shared.join(", ")))
                    .hint("put it on another disk, or better on another machine");
            out.push(loaded.problem_at(problem, &["location", name, "path"]));
        }
    }
}

/// The file system of `path`, or of the nearest folder above it that is there.
fn device(path: &Path) -> Option<u64> {
    path.ancestors().find_map(|p| std::fs::metadata(p).ok()).map(|meta| meta.dev())
}

fn services(loaded: &Loaded, out: &mut Vec<Problem>) {
    let config = &loaded.config;
    for (name, service) in &config.services {
        let holds = service.needs.iter().any(|need| config.sources.contains_key(need));
        if holds && (service.stop.is_empty() || service.start.is_empty()) {
            let missing = if service.stop.is_empty() { "no `stop`" } else { "no `start`" };
            let problem = Problem::warning(
                "W0415",
                format!("`service.{name}` cannot be stopped for a promotion"),
            )
            .label(missing)
            .hint(
                "stop = [\"systemctl\", \"stop\", \"NAME\"] and start = [\"systemctl\", \"start\", \"NAME\"]",
            );
            out.push(loaded.problem_at(problem, &["service", name]));
        }
    }
}
