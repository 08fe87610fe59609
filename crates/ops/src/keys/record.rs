//! What this machine remembers of the kits that were made, `kit.json` in the state directory, and what that is
//! worth today. It holds no secret, and nothing but reminders depends on it.

use super::names::KitId;
use crate::config::Loaded;
use jiff::Timestamp;
use recoup_core::event::Outcome;
use recoup_core::units::Span;
use recoup_core::{Error, Result};
use recoup_store::local::durable;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Kits remembered; older ones are forgotten.
const KITS_MAX: usize = 16;
/// How old the proof of a kit may become if nothing else is declared.
pub const PROVE_EVERY: Span = Span(Duration::from_secs(90 * 86_400));

/// One kit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its name.
    pub kit: String,
    /// When it was made.
    pub made: Timestamp,
    /// Who made it, as in `dana@web-1`.
    pub by: String,
    /// Which secret parts were written, in words.
    pub secret: Option<String>,
    /// Where the copies were.
    pub locations: BTreeMap<String, Whereabouts>,
    /// Fingerprints of the application's keys, where their values were known.
    pub keys: BTreeMap<String, Option<String>>,
    /// When the repository password was replaced, after which the secret part opens nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outdated: Option<Timestamp>,
    /// What came of proving it, by location.
    #[serde(default)]
    pub proofs: BTreeMap<String, Proof>,
}

/// A location and its repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whereabouts {
    /// The folder.
    pub path: PathBuf,
    /// Full id of the repository, if there was one.
    pub repository: Option<String>,
}

/// The last attempt to prove a kit at a location.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// When.
    pub at: Timestamp,
    /// What came of it.
    pub outcome: Outcome,
    /// When it last passed.
    pub passed: Option<Timestamp>,
}

#[derive(Default, Serialize, Deserialize)]
struct Kits {
    kits: Vec<Record>,
}

fn file(state: &Path) -> PathBuf {
    state.join("kit.json")
}

fn read(state: &Path) -> Kits {
    let path = file(state);
    let is_small = std::fs::metadata(&path).is_ok_and(|m| m.is_file() && m.len() <= FILE_BYTES_MAX);
    let text = is_small.then(|| std::fs::read(&path).ok()).flatten();
    text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

fn write(state: &Path, kits: &Kits) -> Result<()> {
    let text = serde_json::to_vec_pretty(kits).map_err(|e| Error::bug("write down a kit").caused_by(e))?;
    durable::create_dir_all(state, 0o700)?;
    durable::write(&file(state), &text, 0o600)
}

/// The newest kit that is remembered. A file that cannot be read remembers none.
pub fn newest(state: &Path) -> Option<Record> {
    read(state).kits.pop()
}

/// Remembers a kit that was made.
///
/// # Errors
/// As the file system says.
pub fn keep(state: &Path, record: Record) -> Result<()> {
    let mut kits = read(state);
    kits.kits.retain(|kit| kit.kit != record.kit);
    kits.kits.push(record);
    kits.kits.sort_by_key(|kit| kit.made);
    let surplus = kits.kits.len().saturating_sub(KITS_MAX);
    kits.kits.drain(..surplus);
    write(state, &kits)
}

/// Remembers what came of proving the kit `kit`. One that was made elsewhere is remembered as `elsewhere`.
///
/// # Errors
/// As the file system says.
pub fn proven(
    state: &Path,
    kit: KitId,
    outcomes: &BTreeMap<String, Outcome>,
    now: Timestamp,
    elsewhere: impl FnOnce() -> Record,
) -> Result<()> {
    let known = read(state).kits.into_iter().find(|k| k.kit == kit.to_string());
    let mut record = known.unwrap_or_else(elsewhere);
    for (location, outcome) in outcomes {
        let before = record.proofs.get(location).and_then(|proof| proof.passed);
        let passed = if *outcome == Outcome::Pass { Some(now) } else { before };
        record.proofs.insert(location.clone(), Proof { at: now, outcome: *outcome, passed });
    }
    keep(state, record)
}

/// Remembers that the password was replaced: no kit that was made before opens anything now.
///
/// # Errors
/// As the file system says.
pub fn outdate(state: &Path, now: Timestamp) -> Result<()> {
    let mut kits = read(state);
    if kits.kits.is_empty() {
        return Ok(());
    }
    for kit in &mut kits.kits {
        kit.outdated = kit.outdated.or(Some(now));
    }
    write(state, &kits)
}

/// How it is now, to be compared with a kit.
#[derive(Clone, Debug, Default)]
pub struct Current {
    /// Where the copies are; the repository where it is known.
    pub locations: BTreeMap<String, Whereabouts>,
    /// The declared keys of the application with their fingerprints, where these are known.
    pub keys: BTreeMap<String, Option<String>>,
}

impl Current {
    /// What a configuration says; `repository` knows the repository of a location.
    ///
    /// # Errors
    /// As [`Loaded::path`].
    pub fn of(loaded: &Loaded, repository: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let mut current = Current::default();
        for (name, location) in &loaded.config.locations {
            let path = super::text::real(&loaded.path(&location.path)?);
            let at = Whereabouts { path, repository: repository(name) };
            current.locations.insert(name.clone(), at);
        }
        current.keys = loaded.config.python.keys.iter().map(|key| (key.clone(), None)).collect();
        Ok(current)
    }
}

/// What is not as it should be about the newest kit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// None was made.
    NoKit,
    /// Nobody has proven it at this location.
    NeverProven(String),
    /// The last attempt at this location failed.
    Failed(String),
    /// The last proof at this location is older than it may be.
    Old {
        /// Where.
        location: String,
        /// Its age.
        age: Span,
        /// How old it may become.
        allowed: Span,
    },
    /// These are not what they were when it was made.
    Changed(Vec<String>),
    /// A key of the application stands in no kit.
    Uncovered(String),
}

/// Judges the newest kit against how it is now.
pub fn judge(kit: Option<&Record>, current: &Current, prove_every: Span, now: Timestamp) -> Vec<Complaint> {
    let uncovered = |kit: Option<&Record>| -> Vec<Complaint> {
        let missing = current.keys.keys().filter(|name| !kit.is_some_and(|k| k.keys.contains_key(*name)));
        missing.map(|name| Complaint::Uncovered(name.clone())).collect()
    };
    let Some(kit) = kit else {
        return [Complaint::NoKit].into_iter().chain(uncovered(None)).collect();
    };
    let mut found = Vec::new();
    let changed = changed(kit, current);
    if !changed.is_empty() {
        found.push(Complaint::Changed(changed));
    }
    for location in current.locations.keys().filter(|name| kit.locations.contains_key(*name)) {
        let proof = kit.proofs.get(location);
        let age = |then: Timestamp| {
            Span(Duration::from_secs(u64::try_from(now.as_second() - then.as_second()).unwrap_or(0)))
        };
        match proof.map(|p| (p.outcome, p.passed.map(age))) {
            Some((Outcome::Fail, _)) => found.push(Complaint::Failed(location.clone())),
            None | Some((_, None)) => found.push(Complaint::NeverProven(location.clone())),
            Some((_, Some(age))) if age > prove_every => {
                found.push(Complaint::Old { location: location.clone(), age, allowed: prove_every });
            }
            Some(_) => {}
        }
    }
    found.extend(uncovered(Some(kit)));
    found
}

fn changed(kit: &Record, current: &Current) -> Vec<String> {
    let mut changed = Vec::new();
    if kit.outdated.is_some() {
        changed.push("the repository password".to_owned());
    }
    for (name, now) in &current.locations {
        match kit.locations.get(name) {
            None => changed.push(format!("location {name} (new)")),
            Some(then) if then.path != now.path => changed.push(format!("the path of location {name}")),
            Some(Whereabouts { repository: None, .. }) if now.repository.is_some() => {
                changed.push(format!("the repository of location {name} (made since)"));
            }
            Some(then) if now.repository.is_some() && then.repository != now.repository => {
                changed.push(format!("the repository of location {name}"));
            }
            Some(_) => {}
        }
    }
    let gone = kit.locations.keys().filter(|name| !current.locations.contains_key(*name));
    changed.extend(gone.map(|name| format!("location {name} (not declared any more)")));
    // Fingerprints are made with the password: after it was replaced they cannot be compared.
    if kit.outdated.is_none() {
        for (name, now) in &current.keys {
            let then = kit.keys.get(name).and_then(Option::as_ref);
            if let (Some(then), Some(now)) = (then, now)
                && then != now
            {
                changed.push(format!("the value of {name}"));
            }
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn place(path: &str, repository: Option<&str>) -> Whereabouts {
        Whereabouts { path: path.into(), repository: repository.map(str::to_owned) }
    }

    fn record(kit: &str) -> Record {
        Record {
            kit: kit.into(),
            made: at("2026-11-01T00:00:00Z"),
            by: "dana@web-1".into(),
            secret: None,
            locations: [("local".to_owned(), place("/a", Some("r1")))].into(),
            keys: [("A_KEY".to_owned(), Some("f1".to_owned()))].into(),
            outdated: None,
            proofs: BTreeMap::new(),
        }
    }

    fn current() -> Current {
        Current {
            locations: [("local".to_owned(), place("/a", Some("r1")))].into(),
            keys: [("A_KEY".to_owned(), Some("f1".to_owned()))].into(),
        }
    }

    const DAYS_30: Span = Span(Duration::from_secs(30 * 86_400));

    fn judged(kit: &Record, current: &Current) -> Vec<Complaint> {
        judge(Some(kit), current, DAYS_30, at("2026-12-15T00:00:00Z"))
    }

    fn with_proof(outcome: Outcome, time: &str) -> Record {
        let passed = (outcome == Outcome::Pass).then(|| at(time));
        let proof = Proof { at: at(time), outcome, passed };
        Record { proofs: [("local".to_owned(), proof)].into(), ..record("k") }
    }

    #[test]
    fn a_kit_ages() {
        let none = judge(None, &current(), DAYS_30, at("2026-12-15T00:00:00Z"));
        assert_eq!(none, [Complaint::NoKit, Complaint::Uncovered("A_KEY".into())]);
        assert_eq!(judged(&record("k"), &current()), [Complaint::NeverProven("local".into())]);
        let unknown = with_proof(Outcome::Unknown, "2026-12-14T00:00:00Z");
        assert_eq!(judged(&unknown, &current()), [Complaint::NeverProven("local".into())]);
        let failed = with_proof(Outcome::Fail, "2026-12-14T00:00:00Z");
        assert_eq!(judged(&failed, &current()), [Complaint::Failed("local".into())]);
        assert_eq!(judged(&with_proof(Outcome::Pass, "2026-12-14T00:00:00Z"), &current()), []);
        let old = judged(&with_proof(Outcome::Pass, "2026-11-02T00:00:00Z"), &current());
        assert!(matches!(old.as_slice(), [Complaint::Old { allowed: DAYS_30, .. }]), "{old:?}");
    }

    #[test]
    fn what_changed_since_is_named() {
        let kit = with_proof(Outcome::Pass, "2026-12-14T00:00:00Z");
        let mut now = current();
        now.locations.insert("local".into(), place("/b", Some("r2")));
        now.locations.insert("far".into(), place("/far", None));
        now.keys.insert("A_KEY".into(), Some("f2".into()));
        now.keys.insert("B_KEY".into(), None);
        let Complaint::Changed(changed) = &judged(&kit, &now)[0] else { panic!("it changed") };
        assert_eq!(changed[..], ["location far (new)", "the path of location local", "the value of A_KEY"]);
        assert_eq!(judged(&kit, &now).last(), Some(&Complaint::Uncovered("B_KEY".into())));
        now = current();
        now.locations.insert("local".into(), place("/a", Some("r2")));
        assert_eq!(judged(&kit, &now), [Complaint::Changed(vec!["the repository of location local".into()])]);
        let unknown = Current { locations: [("local".to_owned(), place("/a", None))].into(), ..current() };
        assert_eq!(judged(&kit, &unknown), [], "what is not known is not said to have changed");
        let rotated = Record { outdated: Some(kit.made), ..kit };
        now = current();
        now.keys.insert("A_KEY".into(), Some("f2".into()));
        assert_eq!(judged(&rotated, &now), [Complaint::Changed(vec!["the repository password".into()])]);
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "the test damages the file")]
    fn the_newest_is_remembered_with_its_proofs() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        assert_eq!(newest(&state), None);
        let id: KitId = "00000000000000aa".parse().unwrap();
        keep(&state, record(&id.to_string())).unwrap();
        let later = Record { made: at("2026-11-02T00:00:00Z"), ..record("b") };
        keep(&state, later).unwrap();
        let pass = BTreeMap::from([("local".to_owned(), Outcome::Pass)]);
        proven(&state, id, &pass, at("2026-11-03T00:00:00Z"), || panic!("it is known")).unwrap();
        assert_eq!(newest(&state).unwrap().kit, "b");
        assert!(newest(&state).unwrap().proofs.is_empty(), "the proof is of the other kit");
        outdate(&state, at("2026-11-04T00:00:00Z")).unwrap();
        assert!(newest(&state).unwrap().outdated.is_some());
        std::fs::write(state.join("kit.json"), "{").unwrap();
        assert_eq!(newest(&state), None);
    }
}
