//! Facts for the planner: the point, the sizes, the live targets, the room, the services. Reads only.

use crate::config::section;
use crate::point::{Point, SourceRecord};
use crate::session::Session;
use jiff::Timestamp;
use recoup_core::name::escape;
use recoup_core::plan::{Compat, Facts, Health, Purpose, ServiceFact, SourceFact};
use recoup_core::{Error, Kind, Result};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Entries looked at to find the last write to a folder; beyond that the answer is "at least".
const ENTRIES_MAX: usize = 50_000;
/// Time limit of a service command, unless its health says more, in seconds.
const SERVICE_SECONDS_MAX: u64 = 120;

/// Where the restored data goes.
#[derive(Clone, Debug)]
pub(crate) enum Goes {
    /// Beside the live data.
    Aside,
    /// Into this folder.
    Folder(PathBuf),
    /// Into this scratch folder, for a drill.
    Scratch(PathBuf),
}

/// Gathers everything that `recoup_core::plan` asks for.
///
/// # Errors
/// `Kind::Refused` `E0606` for a folder that is not empty, `E0607` where a switch cannot be one step.
pub(crate) fn gather(
    session: &Session,
    restore: &str,
    point: &Point,
    location: &str,
    names: &[String],
    goes: &Goes,
    compat: Compat,
) -> Result<Facts> {
    if let Goes::Folder(dir) = goes {
        must_be_empty(dir)?;
    }
    let mut sources = Vec::new();
    for name in names {
        sources.push(source(session, restore, point, name, goes)?);
    }
    let (purpose, target) = match goes {
        Goes::Aside => (Purpose::Aside, "beside the live data".to_owned()),
        Goes::Folder(dir) => (Purpose::Folder, text(dir)?),
        Goes::Scratch(dir) => (Purpose::Drill, text(dir)?),
    };
    Ok(Facts {
        restore: restore.to_owned(),
        purpose,
        application: session.app().to_owned(),
        point: point.id.clone(),
        point_time: point.document.time,
        location: location.to_owned(),
        now: session.env().now(),
        target,
        sources,
        services: session.config().services.iter().map(|(name, s)| service(name, s)).collect(),
        compat,
        bytes_per_second: super::measured_rate(session),
    })
}

fn source(session: &Session, restore: &str, point: &Point, name: &str, goes: &Goes) -> Result<SourceFact> {
    let (Some(record), Some(snapshot)) = (point.document.source(name), point.snapshots.get(name)) else {
        return Err(Error::new(Kind::NotFound, "find the source in the point")
            .with("source", escape(name.as_bytes()))
            .with("point", point.name())
            .code("E0601")
            .effect("nothing was changed"));
    };
    let live = match goes {
        Goes::Aside => session.target(name)?,
        _ => session.target(name).unwrap_or_else(|_| PathBuf::from(&record.target)),
    };
    let folder = match goes {
        Goes::Aside => beside(&live)?.join(format!(".recoup-{restore}")),
        Goes::Folder(dir) | Goes::Scratch(dir) => dir.clone(),
    };
    let existing = nearest_existing(&folder);
    if matches!(goes, Goes::Aside) {
        one_file_system(&live, existing)?;
    }
    Ok(SourceFact {
        name: name.to_owned(),
        snapshot: snapshot.to_string(),
        tree: record.tree.to_string(),
        bytes: record.bytes,
        into: text(&folder.join(name))?,
        restored: text(&folder.join(name))?,
        keep: text(&folder.join(format!("{name}.before")))?,
        folder: text(&folder)?,
        live: text(&live)?,
        last_write: last_write(&live, record),
        device: fs::metadata(existing).map_or(0, |m| m.dev()),
        free: free_bytes(existing),
    })
}

fn service(name: &str, s: &section::Service) -> ServiceFact {
    let health = s.health.as_ref().filter(|h| !h.http.as_ref().is_some_and(|u| u.contains("${")));
    ServiceFact {
        name: name.to_owned(),
        needs: s.needs.clone(),
        stop: s.stop.clone(),
        start: s.start.clone(),
        within_seconds: SERVICE_SECONDS_MAX,
        hold: false,
        health: health.map(|h| Health {
            http: h.http.clone(),
            expect: Some(h.expect),
            command: h.command.clone().unwrap_or_default(),
            within_seconds: h.within.as_secs(),
        }),
    }
}

/// A folder that a restore may fill: missing or empty (fault row 130).
pub(crate) fn must_be_empty(dir: &Path) -> Result<()> {
    let mut entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => {
            return Err(Error::io("look into the target folder", e).with("folder", shown(dir)).code("E0606"));
        }
    };
    if entries.next().is_none() {
        return Ok(());
    }
    Err(Error::new(Kind::Refused, "restore into a folder that is not empty")
        .with("folder", shown(dir))
        .code("E0606")
        .effect("nothing was written")
        .hint("give a new or empty folder; to replace live data, restore without --to and promote"))
}

fn beside(live: &Path) -> Result<&Path> {
    live.parent().filter(|p| !p.as_os_str().is_empty()).ok_or_else(|| cannot_switch(live))
}

/// A mount point cannot be renamed, and another file system cannot be renamed to.
fn one_file_system(live: &Path, beside: &Path) -> Result<()> {
    let Ok(there) = fs::metadata(live) else { return Ok(()) };
    let here = fs::metadata(beside).map_err(|e| Error::io("look at the folder of the live data", e))?;
    if there.dev() == here.dev() { Ok(()) } else { Err(cannot_switch(live)) }
}

fn cannot_switch(live: &Path) -> Error {
    Error::new(Kind::Refused, "plan a switch in one step")
        .with("live data", shown(live))
        .code("E0607")
        .effect("nothing was written")
        .hint("restore with `--to DIR`, or move the data one folder below its mount point")
}

fn nearest_existing(path: &Path) -> &Path {
    path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"))
}

fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

/// The last write to live data: of a database its file and its log, of a folder everything in it.
fn last_write(live: &Path, record: &SourceRecord) -> Option<Timestamp> {
    let mut latest = modified(live);
    if record.kind == "sqlite" {
        let mut wal = live.as_os_str().to_owned();
        wal.push("-wal");
        return latest.max(modified(Path::new(&wal)));
    }
    let mut folders = vec![live.to_owned()];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            seen += 1;
            if seen > ENTRIES_MAX {
                return latest;
            }
            latest = latest.max(modified(&entry.path()));
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                folders.push(entry.path());
            }
        }
    }
    latest
}

fn modified(path: &Path) -> Option<Timestamp> {
    let meta = fs::symlink_metadata(path).ok()?;
    Timestamp::new(meta.mtime(), i32::try_from(meta.mtime_nsec()).ok()?).ok()
}

/// Paths stand in plans as text, and come from a text file.
fn text(path: &Path) -> Result<String> {
    let text = path.to_str().ok_or_else(|| Error::new(Kind::Config, "use a path that is not UTF-8"));
    text.map(str::to_owned).map_err(|e| e.with("path", shown(path)).code("E0606"))
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes())
}
