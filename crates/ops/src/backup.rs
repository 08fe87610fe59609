//! One backup run: every source is captured, stored and settled; then the point is written, read back,
//! and only then acknowledged.
//!
//! 1. keep other runs out; open the repository, or make it
//! 2. capture each source, in the order of capture, into trees
//! 3. settle: a source that is not proven complete keeps the point from being listed
//! 4. provenance; the document of the point goes into the tree of every source
//! 5. flush: packs and index durable; then the snapshots
//! 6. read the snapshots and the document back; sign for the point
//! 7. bring the other locations up to date

mod report;
mod sign;
mod suspect;

pub use report::{BackupReport, LocationReport, PathError, SourceReport};

use self::report::{changing, failed_report, incomplete, report_of, unreached, unreadable};
use self::suspect::{canaries, changes_of};
use crate::attest::{self, History, Reading};
use crate::audit::Trail;
use crate::catalog::{Run, RunKind};
use crate::point::{self, Document, Listing, Mirror, Point, SourceRecord, Stage, TAG};
use crate::provenance::Provenance;
use crate::replicate::{self, Lag};
use crate::session::{Place, Session};
use jiff::Timestamp;
use recoup_core::audit;
use recoup_core::entry::Entry;
use recoup_core::event::{Event, Finding, Outcome};
use recoup_core::name::{NodeName, TreePath, escape};
use recoup_core::plan::Heads;
use recoup_core::units::counted;
use recoup_core::{Error, Kind, Result};
use recoup_repo::repository::Repository;
use recoup_repo::snapshot::{is_overtaken, overtaken};
use recoup_repo::write::{Earlier, Parent, WriteOptions, Writer};
use recoup_repo::{Id, Snapshot};
use recoup_sources::{CaptureContext, Facts, Position, TreeCounts};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Paths named in a report; a folder full of unreadable files must not fill the memory.
const ERRORS_SHOWN_MAX: usize = 1000;

/// What to back up.
#[derive(Clone, Debug, Default)]
pub struct BackupOptions {
    /// Sources; all if empty.
    pub addresses: Vec<String>,
    /// Only this location.
    pub location: Option<String>,
}

/// A source that was captured and stored.
struct Captured {
    record: SourceRecord,
    root: Entry,
    proof: String,
    bytes_added: u64,
    bytes_stored: u64,
}

/// Runs a backup.
///
/// # Errors
/// If nothing could be attempted, or the location failed. A source that failed is part of the report.
pub async fn backup(session: &Session, options: &BackupOptions) -> Result<BackupReport> {
    let trail = Trail::new(session, audit::Event::Backup);
    let done = unrecorded(session, options).await;
    trail.end(done).await
}

async fn unrecorded(session: &Session, options: &BackupOptions) -> Result<BackupReport> {
    let names = session.select(&options.addresses)?;
    if names.is_empty() {
        return Err(Error::new(Kind::Config, "back up: recoup.toml declares no source").code("E0602"));
    }
    let places = session.places(options.location.as_deref())?;
    let _lock = session.exclusive("backup")?;
    clean_scratch(session);
    let scratch = session.scratch("backup")?;
    let (repo, initialized) = session.repository_or_init(&places[0]).await?;
    let mut run = BackupRun::new(session, &places[0], &repo, scratch.path(), initialized).await?;
    for name in &names {
        run.capture(name).await?;
    }
    let written = if run.failed { None } else { Some(run.write_point().await?) };
    run.locations(&places, written.as_ref()).await;
    let report = run.report(written).await?;
    session.catalog()?.keep(&Run {
        id: report.run.clone(),
        kind: RunKind::Backup,
        at: session.env().now(),
        outcome: report.outcome,
        location: places[0].name.clone(),
        point: report.point.clone().unwrap_or_default(),
        sources: names,
        document: serde_json::to_value(&report).unwrap_or_default(),
    })?;
    Ok(report)
}

struct BackupRun<'a> {
    session: &'a Session,
    place: &'a Place,
    repo: &'a Repository,
    scratch: &'a Path,
    writer: Writer,
    id: String,
    initialized: bool,
    began: Duration,
    previous: Listing,
    history: Option<History>,
    captured: Vec<Captured>,
    reports: Vec<SourceReport>,
    stages: Vec<Stage>,
    errors: Vec<PathError>,
    findings: Vec<Finding>,
    locations: Vec<LocationReport>,
    migrations: Option<Heads>,
    failed: bool,
    /// Whether something is wrong with the signed history, or this point could not be signed.
    distrusted: bool,
}

/// A point that is durable and was read back.
struct Written {
    point: Point,
}

impl<'a> BackupRun<'a> {
    async fn new(
        session: &'a Session,
        place: &'a Place,
        repo: &'a Repository,
        scratch: &'a Path,
        initialized: bool,
    ) -> Result<Self> {
        let mut catalog = session.catalog()?;
        let (previous, history) = attest::list(session, place, repo, &mut catalog, Reading::New).await?;
        let writer = Writer::begin(repo, WriteOptions::default()).await?;
        let now = session.env().now();
        let later = previous.points.last().filter(|point| is_overtaken(now, point.document.time));
        let later = later.map(|point| overtaken(&point.name(), point.document.time));
        let mut run = BackupRun {
            session,
            place,
            repo,
            scratch,
            writer,
            id: session.run_id('B'),
            initialized,
            began: session.env().clock.monotonic(),
            previous,
            history,
            captured: Vec::new(),
            reports: Vec::new(),
            stages: Vec::new(),
            errors: Vec::new(),
            findings: Vec::new(),
            locations: Vec::new(),
            migrations: None,
            failed: false,
            distrusted: false,
        };
        run.make_up().await;
        let noticed = run.previous.findings.iter().filter(|f| attest::is_about_trust(f)).cloned();
        run.heard(later.into_iter().chain(noticed).collect());
        Ok(run)
    }

    /// Captures one source. Trouble with the source is noted; trouble with the location is an error.
    async fn capture(&mut self, name: &str) -> Result<()> {
        let address = self.session.config().address(name);
        let timer = self.start("capture", &address);
        match self.capture_inner(name, &address).await {
            Ok(captured) => {
                let seconds = timer.seconds(self.session);
                let partial = captured.record.errors > 0;
                let outcome = match (captured.record.complete, partial) {
                    (false, _) => Outcome::Fail,
                    (true, true) => Outcome::Partial,
                    (true, false) => Outcome::Pass,
                };
                if !captured.record.complete {
                    self.failed = true;
                    self.finding(incomplete(&address, &captured.proof));
                }
                let detail = format!(
                    "{}, {}",
                    counted(captured.record.files, "file"),
                    recoup_core::units::ByteSize(captured.record.bytes)
                );
                self.end(timer, seconds, outcome, detail);
                self.reports.push(report_of(&captured, seconds));
                let record = SourceRecord { seconds, ..captured.record };
                self.captured.push(Captured { record, ..captured });
                Ok(())
            }
            Err(SourceOrStore::Store(error)) => Err(error),
            Err(SourceOrStore::Source(error)) => {
                let seconds = timer.seconds(self.session);
                self.failed = true;
                self.finding(incomplete(&address, &error.to_string()));
                self.end(timer, seconds, Outcome::Fail, error.to_string());
                self.reports.push(failed_report(self.session, name, &address, seconds, &error));
                Ok(())
            }
        }
    }

    async fn capture_inner(&mut self, name: &str, address: &str) -> Result<Captured, SourceOrStore> {
        let env = self.session.env();
        let began = env.now();
        let source = self.session.source(name).map_err(SourceOrStore::Source)?;
        let last = self.previous.points.iter().rev().find_map(|p| p.document.source(name));
        let scratch = self.scratch.join(name);
        recoup_store::local::durable::create_dir_all(&scratch, 0o700).map_err(SourceOrStore::Store)?;
        let previous: Option<&Facts> = last.map(|s| &s.facts);
        let context = CaptureContext { env, address, scratch: &scratch, previous };
        let capture = source.capture(&context).await.map_err(SourceOrStore::Source)?;
        let earlier = self.earlier(name, address);
        let stored =
            self.writer.tree(capture.folder, earlier, address).await.map_err(SourceOrStore::Store)?;
        let errors = stored.errors.len() as u64;
        for problem in stored.errors.iter().take(ERRORS_SHOWN_MAX.saturating_sub(self.errors.len())) {
            let path = format!("{address}/{}", problem.path);
            self.errors.push(PathError { path, error: problem.error.to_string() });
        }
        let files = stored.files();
        if self.migrations.is_none() && source.kind() == "sqlite" {
            // The private copy is still there; it vanishes with the settling.
            self.migrations =
                copies_in(&scratch).iter().find_map(|c| crate::provenance::heads_in_database(c).ok());
        }
        let proof = capture.after.settle(TreeCounts { files, bytes: stored.bytes_total, errors });
        for finding in capture.findings.into_iter().chain(proof.findings.clone()) {
            self.finding(finding);
        }
        if let Some(first) = stored.changed_while_read.first() {
            self.finding(changing(address, stored.changed_while_read.len(), &first.to_string()));
        }
        if errors > 0 {
            self.finding(unreadable(address, errors, &self.errors));
        }
        let position = capture.position;
        let said = proof.why.clone().unwrap_or_else(|| read_whole(position.as_ref(), files));
        let config = &self.session.config().sources[name];
        let record = SourceRecord {
            name: name.to_owned(),
            address: address.to_owned(),
            kind: source.kind().to_owned(),
            class: config.class.clone(),
            target: escape(
                self.session.target(name).map_err(SourceOrStore::Source)?.as_os_str().as_encoded_bytes(),
            ),
            tree: stored.tree,
            bytes: stored.bytes_total,
            files,
            captured: began,
            seconds: 0.0,
            position,
            complete: proof.complete,
            errors,
            facts: proof.facts,
            changes: Some(changes_of(&stored)),
            canaries: canaries(self.session, name),
            suspect: Vec::new(),
        };
        let record = self.suspected(record);
        let (bytes_added, bytes_stored) = (stored.bytes_added, stored.bytes_stored);
        Ok(Captured { record, root: capture.root, proof: said, bytes_added, bytes_stored })
    }

    /// What is known of a source: its newest point, and what a run left that did not come to its end.
    fn earlier(&self, name: &str, address: &str) -> Earlier {
        let mut points = self.previous.points.iter().rev();
        let parent = points.find_map(|point| {
            let (id, source) = (point.snapshots.get(name)?, point.document.source(name)?);
            Some(Parent { id: *id, time: point.document.time, tree: source.tree })
        });
        // The tree is not known yet.
        let new = Snapshot::new(self.session.env(), Id::of(b""), vec![format!("/{address}")]);
        Earlier::of(&new, parent, &self.previous.partials)
    }

    /// Writes the document into the tree of every source, makes everything durable, then the snapshots,
    /// and reads them back.
    async fn write_point(&mut self) -> Result<Written> {
        let (provenance, migrations) = self.provenance().await;
        let timer = self.start("store", self.session.app());
        let document = self.document(provenance, migrations)?;
        let encoded = document.encode().into_bytes();
        let path = TreePath::parse(point::DOCUMENT_PATH.as_bytes())?;
        let mut trees = Vec::new();
        for captured in &self.captured {
            let node = NodeName::new(captured.record.name.as_bytes())?;
            let root = Entry { name: node.clone(), ..captured.root.clone() };
            let tree = self.writer.under(node, root, captured.record.tree).await?;
            let extra = vec![(path.clone(), encoded.clone())];
            trees.push(self.writer.overlay(tree, extra, document.finished).await?);
        }
        self.writer.flush().await?;
        let mut point = Point::new(document);
        let names = point.document.sources.iter().map(|s| s.name.clone());
        point.trees = names.zip(trees.iter().copied()).collect();
        if self.history.is_some() {
            attest::point_begins(self.session, self.repo.id(), &point)?;
        }
        for (index, tree) in trees.iter().enumerate() {
            let snapshot = self.snapshot(&point, index, *tree);
            let id = self.writer.snapshot(snapshot).await?;
            self.reports[index].snapshot = Some(id.to_string());
            point.snapshots.insert(point.document.sources[index].name.clone(), id);
        }
        let seconds = timer.seconds(self.session);
        self.end(timer, seconds, Outcome::Pass, format!("{} snapshots", trees.len()));
        self.read_back(&point, &trees).await?;
        self.sign(&point).await;
        Ok(Written { point })
    }

    fn document(&self, provenance: Provenance, migrations: Option<Heads>) -> Result<Document> {
        let first = self.captured.iter().map(|c| c.record.captured).min();
        Ok(Document {
            schema: Document::schema(),
            application: self.session.app().to_owned(),
            run: self.id.clone(),
            time: first.ok_or_else(|| Error::bug("write a point without a source"))?,
            finished: self.session.env().now(),
            sources: self.captured.iter().map(|c| c.record.clone()).collect(),
            provenance: Some(provenance),
            migrations,
            stages: self.stages.clone(),
        })
    }

    fn snapshot(&self, point: &Point, index: usize, tree: Id) -> Snapshot {
        let record = &point.document.sources[index];
        let mirror = Mirror {
            point: point.id.clone(),
            application: point.document.application.clone(),
            source: record.name.clone(),
            sources: point.document.sources.iter().map(|s| s.name.clone()).collect(),
            time: point.document.time,
        };
        let parent = self.previous.points.iter().rev().find_map(|p| p.snapshots.get(&record.name));
        let mut snapshot = Snapshot::new(self.session.env(), tree, vec![format!("/{}", record.address)]);
        snapshot.tags = vec![TAG.to_owned()];
        snapshot.parent = parent.copied();
        snapshot.recoup = serde_json::to_value(mirror).ok();
        snapshot
    }

    async fn read_back(&mut self, point: &Point, trees: &[Id]) -> Result<()> {
        let timer = self.start("read back", self.session.app());
        let bad = |why: String| {
            Error::new(Kind::Corrupt, format!("read the point back: {why}"))
                .with("point", &point.id[..8])
                .code("E0652")
                .effect("the point does not count; earlier points are as they were")
        };
        self.repo.reload_index().await?;
        for (record, tree) in point.document.sources.iter().zip(trees) {
            let id = &point.snapshots[&record.name];
            let snapshot = self.repo.snapshot(id).await.map_err(|e| bad(e.to_string()))?;
            let document = point::read_document(self.repo, *tree).await.map_err(|e| bad(e.to_string()))?;
            if snapshot.tree != *tree || document.id() != point.id {
                return Err(bad(format!("the snapshot of {} is not what was written", record.name)));
            }
            self.repo.tree(&record.tree).await.map_err(|e| bad(e.to_string()))?;
        }
        let seconds = timer.seconds(self.session);
        self.end(timer, seconds, Outcome::Pass, String::new());
        Ok(())
    }

    /// The application as it is now, and the migrations that the captured data records.
    async fn provenance(&mut self) -> (Provenance, Option<Heads>) {
        let timer = self.start("provenance", self.session.app());
        let key = self.session.fingerprint_key().await;
        let provenance = crate::provenance::gather(self.session.loaded(), key.as_ref(), false).await;
        let seconds = timer.seconds(self.session);
        self.end(timer, seconds, Outcome::Pass, String::new());
        (provenance, self.migrations.take())
    }

    /// The first location has the point, or nothing. The others get copies of what the first has.
    async fn locations(&mut self, places: &[Place], written: Option<&Written>) {
        let now = self.session.env().now();
        let lag = |last: Option<Timestamp>| {
            last.map_or(0, |t| u64::try_from(now.as_second() - t.as_second()).unwrap_or(0))
        };
        let newest = self.previous.points.last().map(|p| p.document.time);
        self.locations.push(LocationReport {
            name: places[0].name.clone(),
            durable: written.is_some(),
            lag_objects: 0,
            lag_seconds: if written.is_some() { 0 } else { lag(newest) },
        });
        for place in &places[1..] {
            let timer = self.start("copy", &format!("location {}", place.name));
            self.before_copy(place).await;
            let done = replicate::replicate(self.session, self.repo, place).await;
            let seconds = timer.seconds(self.session);
            let (durable, behind) = match done {
                Ok(Lag { objects }) => {
                    // What cannot be remembered is looked at again.
                    drop(attest::remember(self.session, place, self.repo.id()).await);
                    self.end(timer, seconds, Outcome::Pass, format!("{objects} objects copied"));
                    (written.is_some(), 0)
                }
                Err((error, missing)) => {
                    self.finding(unreached(&place.name, &error));
                    self.end(timer, seconds, Outcome::Fail, error.to_string());
                    (false, missing)
                }
            };
            let lag_seconds = if durable { 0 } else { lag(newest) };
            self.locations.push(LocationReport {
                name: place.name.clone(),
                durable,
                lag_objects: behind,
                lag_seconds,
            });
        }
    }

    async fn report(self, written: Option<Written>) -> Result<BackupReport> {
        self.writer.finish().await?;
        let partial = self.distrusted || !self.errors.is_empty() || self.locations.iter().any(|l| !l.durable);
        let outcome = match (&written, partial) {
            (None, _) => Outcome::Fail,
            (Some(_), true) => Outcome::Partial,
            (Some(_), false) => Outcome::Pass,
        };
        let took = self.session.env().clock.monotonic().saturating_sub(self.began);
        Ok(BackupReport {
            run: self.id,
            name: written.as_ref().map(|w| w.point.name()),
            time: written.as_ref().map(|w| w.point.document.time),
            point: written.map(|w| w.point.id),
            sources: self.reports,
            locations: self.locations,
            stages: self.stages,
            errors: self.errors,
            initialized: self.initialized,
            seconds: round(took),
            outcome,
            findings: self.findings,
        })
    }

    fn finding(&mut self, finding: Finding) {
        self.session.env().emit(Event::Finding(finding.clone()));
        self.findings.push(finding);
    }

    fn start(&self, stage: &str, address: &str) -> Timer {
        let (stage, address) = (stage.to_owned(), address.to_owned());
        self.session.env().emit(Event::StageStart { stage: stage.clone(), address: address.clone() });
        Timer { stage, address, began: self.session.env().clock.monotonic() }
    }

    fn end(&mut self, timer: Timer, seconds: f64, outcome: Outcome, detail: String) {
        let Timer { stage, address, .. } = timer;
        self.stages.push(Stage {
            name: stage.clone(),
            address: address.clone(),
            seconds,
            outcome,
            detail: detail.clone(),
        });
        self.session.env().emit(Event::StageEnd { stage, address, seconds, outcome, message: detail });
    }
}

struct Timer {
    stage: String,
    address: String,
    began: Duration,
}

impl Timer {
    fn seconds(&self, session: &Session) -> f64 {
        round(session.env().clock.monotonic().saturating_sub(self.began))
    }
}

/// Whose fault it was decides whether the run goes on.
enum SourceOrStore {
    Source(Error),
    Store(Error),
}

/// What is said of a source that was read completely.
fn read_whole(position: Option<&Position>, files: u64) -> String {
    let theirs = if files == 1 { "its" } else { "their" };
    position.map_or_else(|| format!("{} read to {theirs} end", counted(files, "file")), ToString::to_string)
}

/// The files of a scratch folder and of the folders in it.
fn copies_in(scratch: &Path) -> Vec<PathBuf> {
    let list = |dir: &Path| {
        std::fs::read_dir(dir).map(|d| d.flatten().map(|e| e.path()).collect()).unwrap_or_default()
    };
    let top: Vec<PathBuf> = list(scratch);
    let below: Vec<PathBuf> = top.iter().filter(|p| p.is_dir()).flat_map(|p| list(p)).collect();
    top.into_iter().chain(below).filter(|p| p.is_file()).collect()
}

fn round(span: Duration) -> f64 {
    (span.as_secs_f64() * 1000.0).round() / 1000.0
}

/// What killed runs left behind. We hold the lock, so nobody is using it.
#[allow(clippy::disallowed_methods, reason = "the scratch folders of earlier runs belong to this module")]
fn clean_scratch(session: &Session) {
    let Ok(entries) = std::fs::read_dir(session.state().join("scratch")) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with("backup-") {
            // What cannot be removed now is removed by a later run.
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
}
