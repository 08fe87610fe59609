//! Declared schedules as systemd units or cron lines, so that they run before there is an agent.
//! Pure text: the same configuration gives the same bytes, and nothing is installed here.

mod cron;

mod systemd;

pub use cron::cron;
pub use systemd::{Unit, systemd};

use crate::config::Loaded;
use recoup_core::event::Finding;
use recoup_core::schedule::Schedule;
use std::path::PathBuf;

/// How the exported commands run.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// The recoup program, absolute.
    pub program: PathBuf,
    /// The user it runs as.
    pub user: String,
    /// `RECOUP_STATE_DIR`, if it is set now and is to be kept.
    pub state_dir: Option<String>,
}

/// One command with its rhythm.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Scheduled {
    /// Part of file names, as in `backup` or `drill-nightly`.
    name: String,
    /// What it does, for people.
    about: String,
    /// Arguments after the program and the global ones.
    arguments: Vec<String>,
    schedule: Schedule,
    is_drill: bool,
}

/// Everything that has a schedule. Sources with the same schedule are captured by one command; if it
/// is all sources, by one without addresses.
fn scheduled(loaded: &Loaded) -> Vec<Scheduled> {
    let config = &loaded.config;
    let mut groups: Vec<(Schedule, Vec<String>)> = vec![];
    for name in config.capture_order() {
        let Some(schedule) = config.sources[name].schedule.clone() else { continue };
        match groups.iter_mut().find(|(known, _)| known.rhythm() == schedule.rhythm()) {
            Some((_, names)) => names.push(name.to_owned()),
            None => groups.push((schedule, vec![name.to_owned()])),
        }
    }
    let mut out = vec![];
    for (schedule, names) in groups {
        let whole = names.len() == config.sources.len();
        let name = if whole { "backup".to_owned() } else { format!("backup-{}", names.join("-")) };
        let mut arguments = vec!["backup".to_owned()];
        if !whole {
            arguments.extend(names.iter().cloned());
        }
        let about = format!("Capture {} of {}", names.join(", "), config.app);
        out.push(Scheduled { name, about, arguments, schedule, is_drill: false });
    }
    for (name, drill) in &config.drills {
        // The strict reader parsed it before.
        let Some(schedule) = drill.schedule.as_ref().and_then(|text| text.parse().ok()) else { continue };
        out.push(Scheduled {
            name: format!("drill-{name}"),
            about: format!("Drill {name} of {}", config.app),
            arguments: vec!["drill".to_owned(), name.clone()],
            schedule,
            is_drill: true,
        });
    }
    out
}

/// The program with its global arguments.
fn command(loaded: &Loaded, options: &ExportOptions, arguments: &[String]) -> Vec<String> {
    let mut argv = vec![options.program.to_string_lossy().into_owned(), "--no-input".to_owned()];
    argv.extend(["-C".to_owned(), loaded.root.to_string_lossy().into_owned()]);
    if let Some(overlay) = &loaded.overlay {
        argv.extend(["--env".to_owned(), overlay.clone()]);
    }
    let usual = ["recoup.toml", "pyproject.toml"].iter().any(|name| loaded.file == loaded.root.join(name));
    if !usual {
        argv.extend(["--config".to_owned(), loaded.file.to_string_lossy().into_owned()]);
    }
    argv.extend_from_slice(arguments);
    argv
}

fn nothing_scheduled(loaded: &Loaded) -> Finding {
    Finding::new(
        "E0307",
        recoup_core::event::Severity::Warning,
        loaded.config.app.clone(),
        "no source and no drill has a schedule, so there is nothing to export",
        "add `capture = { every = \"15m\" }` to the sources",
    )
}
