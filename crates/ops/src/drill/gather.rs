//! From the configuration and the point to what a drill is about. Nothing is decided later.

use super::subject::{Subject, SubjectService, SubjectSource};
use crate::config::Config;
use crate::config::section::{Check as Declared, CheckKind, Drill};
use crate::interpreter;
use crate::point::Point;
use crate::session::Session;
use recoup_core::Result;
use recoup_core::units::Span;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time for the application part if nothing is declared.
const TIME_DEFAULT: Duration = Duration::from_secs(3600);

/// What is restored.
pub(super) struct Restored<'a> {
    /// The point.
    pub(super) point: &'a Point,
    /// The one before it, if there is one.
    pub(super) before: Option<&'a Point>,
    /// Names of the sources.
    pub(super) names: &'a [String],
}

pub(super) fn subject(
    session: &Session,
    declared: &Drill,
    found: &Restored<'_>,
    scratch: &Path,
    executable: &Path,
) -> Result<Subject> {
    let (config, loaded) = (session.config(), session.loaded());
    let project = loaded.project()?;
    let python = &config.python;
    let has_manage = project.join("manage.py").is_file();
    let (services, not_startable) = services(config, declared);
    Ok(Subject {
        application: session.app().to_owned(),
        point: found.point.name(),
        interpreter: interpreter::find(&project, python.interpreter.as_deref(), &loaded.variables)
            .map(|i| i.path),
        manage: python.manage.clone().or_else(|| has_manage.then(|| "manage.py".to_owned())),
        settings: python.settings.clone(),
        project,
        sources: found.names.iter().filter_map(|name| source(session, found, scratch, name)).collect(),
        elsewhere: config
            .sources
            .keys()
            .filter(|name| !found.names.contains(name))
            .filter_map(|name| Some((name.clone(), session.target(name).ok()?)))
            .collect(),
        services,
        not_startable,
        migrate: declared.app.migrate,
        checks: fitting(config, declared, found.names),
        rows_drop_percent: declared.tolerance.rows_drop.map(|p| p.0),
        user: config.scratch.user.clone(),
        scratch: scratch.to_owned(),
        limit: config.scratch.limits.time.unwrap_or(Span(TIME_DEFAULT)),
        executable: executable.to_owned(),
    })
}

fn source(session: &Session, found: &Restored<'_>, scratch: &Path, name: &str) -> Option<SubjectSource> {
    let record = found.point.document.source(name)?;
    Some(SubjectSource {
        name: name.to_owned(),
        kind: record.kind.clone(),
        restored: scratch.join("restored").join(name),
        live: session.target(name).unwrap_or_else(|_| PathBuf::from(&record.target)),
        facts: record.facts.clone(),
        before: found.before.and_then(|p| p.document.source(name)).map(|s| s.facts.clone()),
    })
}

fn services(config: &Config, declared: &Drill) -> (Vec<SubjectService>, Vec<String>) {
    let asked = declared.app.start.as_ref();
    let mut startable = Vec::new();
    let mut not_startable = Vec::new();
    for name in config.start_order() {
        let service = &config.services[name];
        if asked.is_some_and(|names| !names.iter().any(|n| n == name)) {
            continue;
        }
        match &service.drill {
            Some(drill) => startable.push(SubjectService {
                name: name.to_owned(),
                needs: service.needs.clone(),
                start: drill.start.clone(),
                environment: drill.env.clone(),
                health: drill.health.clone().or_else(|| service.health.clone()),
            }),
            None if asked.is_some() => not_startable.push(name.to_owned()),
            None => {}
        }
    }
    (startable, not_startable)
}

/// The checks that were asked for; else those whose sources are restored.
fn fitting(config: &Config, declared: &Drill, names: &[String]) -> BTreeMap<String, Declared> {
    let restored = |source: Option<&str>| source.is_some_and(|s| names.iter().any(|n| n == s));
    let fits = |check: &Declared| match check.kind {
        CheckKind::Sql => restored(check.source.as_deref()),
        CheckKind::References => {
            let rows = check.rows.as_deref().and_then(|r| r.split_once(':')).map(|(source, _)| source);
            restored(rows) && restored(check.files.as_deref())
        }
    };
    let wanted = |name: &String, check: &Declared| match &declared.checks {
        Some(asked) => asked.contains(name),
        None => fits(check),
    };
    config
        .checks
        .iter()
        .filter(|(name, check)| wanted(name, check))
        .map(|(n, c)| (n.clone(), c.clone()))
        .collect()
}
