//! Points: what `.recoup/point.json` says, how points are found in a repository, and which one a person means.
//!
//! The authoritative copy of what is known about a point is the file `.recoup/point.json` in the tree of
//! each of its snapshots. The `recoup` field of a snapshot mirrors just enough of it to list points
//! without reading trees, and may be missing: restic drops it when it copies a snapshot.
//! The id of a point is the SHA-256 of its document, so a changed document is not that point.
//! A point counts only when all its snapshots are there.

use crate::provenance::Provenance;
use jiff::Timestamp;
use recoup_core::attest::{Hold, Judgement, Stated};
use recoup_core::canonical::canonical_json;
use recoup_core::event::{Finding, Outcome, Severity};
use recoup_core::moment::Moment;
use recoup_core::name::{TreePath, escape};
use recoup_core::plan::Heads;
use recoup_core::suspicion::Changes;
use recoup_core::{Error, Kind, Result};
use recoup_repo::repository::Repository;
use recoup_repo::{Id, Snapshot};
use recoup_sources::{Facts, Position};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Where the document lies in the tree of every snapshot.
pub const DOCUMENT_PATH: &str = ".recoup/point.json";
/// The tag of every snapshot that belongs to a point.
pub const TAG: &str = "recoup";
const SCHEMA: &str = "recoup/point/1";
/// Facts of a source are bounded by its driver; this bounds what a hostile repository can make us read.
const DOCUMENT_BYTES_MAX: u64 = 32 << 20;

/// What is known about a point, the same in each of its snapshots.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// `recoup/point/1`.
    pub schema: String,
    /// The application.
    pub application: String,
    /// The run that made it.
    pub run: String,
    /// The moment it stands for: nothing in it is older.
    pub time: Timestamp,
    /// When the last source had been read.
    pub finished: Timestamp,
    /// Its sources, in the order of capture.
    pub sources: Vec<SourceRecord>,
    /// Code revision, lock file, key fingerprints, configuration, tool versions.
    pub provenance: Option<Provenance>,
    /// The last migrations that the data itself records, if it is a database that does.
    pub migrations: Option<Heads>,
    /// What took how long.
    pub stages: Vec<Stage>,
}

/// One source in a point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceRecord {
    /// Its name.
    pub name: String,
    /// `APP/NAME`.
    pub address: String,
    /// Kind of source.
    pub kind: String,
    /// Its class at that time.
    pub class: String,
    /// The live path it was captured from.
    pub target: String,
    /// The tree that holds its content.
    pub tree: Id,
    /// Content in bytes.
    pub bytes: u64,
    /// Number of files.
    pub files: u64,
    /// When its capture began.
    pub captured: Timestamp,
    /// How long it took.
    pub seconds: f64,
    /// Where in its history it stood.
    pub position: Option<Position>,
    /// Whether the driver proved that everything was captured.
    pub complete: bool,
    /// Paths that could not be stored.
    pub errors: u64,
    /// What the driver recorded, to be compared after a restore.
    pub facts: Facts,
    /// What the capture did to what was stored before.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub changes: Option<Changes>,
    /// SHA-256 of the canary files, by path; none for one that was not there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub canaries: BTreeMap<String, Option<String>>,
    /// Why the capture was suspicious, if it was.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub suspect: Vec<String>,
}

/// A stage with its time and end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Stable name.
    pub name: String,
    /// What it worked on.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub address: String,
    /// How long it took.
    pub seconds: f64,
    /// How it ended.
    pub outcome: Outcome,
    /// One line for people.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub detail: String,
}

impl Document {
    /// The schema that this version writes.
    pub fn schema() -> String {
        SCHEMA.to_owned()
    }

    /// Full id: SHA-256 over the canonical JSON, as hex.
    pub fn id(&self) -> String {
        Id::of(self.encode().as_bytes()).to_string()
    }

    /// The bytes of the file.
    pub fn encode(&self) -> String {
        // Strings, numbers and lists: it always serialises.
        canonical_json(&serde_json::to_value(self).unwrap_or_default())
    }

    /// Reads the file.
    ///
    /// # Errors
    /// `Kind::Corrupt` if it is no such document; `Kind::Unsupported` if a newer recoup wrote it.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let bad = |kind, why: &str| {
            Error::new(kind, format!("read what is known about a point: {why}")).code("E0601")
        };
        let value: Value =
            serde_json::from_slice(bytes).map_err(|e| bad(Kind::Corrupt, "it is no JSON").caused_by(e))?;
        if value["schema"] != SCHEMA {
            return Err(bad(Kind::Unsupported, "another version of recoup wrote it"));
        }
        serde_json::from_value(value).map_err(|e| bad(Kind::Corrupt, "a field is missing").caused_by(e))
    }

    /// The record of a source.
    pub fn source(&self, name: &str) -> Option<&SourceRecord> {
        self.sources.iter().find(|s| s.name == name)
    }

    /// Content in bytes.
    pub fn bytes(&self) -> u64 {
        self.sources.iter().map(|s| s.bytes).sum()
    }
}

/// The short copy in the snapshot object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirror {
    /// Full id of the point.
    pub point: String,
    /// The application.
    pub application: String,
    /// The source in this snapshot.
    pub source: String,
    /// All sources of the point.
    pub sources: Vec<String>,
    /// The moment it stands for.
    pub time: Timestamp,
}

/// A point that can be restored from a location.
#[derive(Clone, Debug)]
pub struct Point {
    /// Full id.
    pub id: String,
    /// What is known about it.
    pub document: Document,
    /// Full snapshot ids by source.
    pub snapshots: BTreeMap<String, Id>,
    /// Full ids of the trees of those snapshots, by source.
    pub trees: BTreeMap<String, Id>,
    /// Whether a signer answers for it; none where nobody signs.
    pub attested: Option<bool>,
    /// Its place among the others: when it was stated, never before what the same signer stated earlier, and the
    /// number. Without a statement its own time.
    pub order: (Timestamp, u64),
    /// Why it must not be deleted, if somebody said so.
    pub held: Vec<Hold>,
    /// Whether somebody looked into it and released it.
    pub is_released: bool,
}

impl Point {
    /// A point of which nothing is known but what it says itself.
    pub fn new(document: Document) -> Self {
        Point {
            id: document.id(),
            order: (document.time, 0),
            document,
            snapshots: BTreeMap::new(),
            trees: BTreeMap::new(),
            attested: None,
            held: Vec::new(),
            is_released: false,
        }
    }

    /// As in `shop@2026-11-22T08:31:07Z`.
    pub fn name(&self) -> String {
        name(&self.document.application, self.document.time)
    }

    /// Why it is suspicious, if it is and nobody has looked into it.
    pub fn suspicions(&self) -> Vec<String> {
        let sources = self.document.sources.iter().filter(|_| !self.is_released);
        sources.flat_map(|s| s.suspect.iter().map(move |why| format!("{}: {why}", s.address))).collect()
    }

    /// The trees by source, as attestations name them.
    pub fn trees_by_name(&self) -> BTreeMap<String, String> {
        self.trees.iter().map(|(source, tree)| (source.clone(), tree.to_string())).collect()
    }
}

/// As in `shop@2026-11-22T08:31:07Z`.
pub fn name(application: &str, time: Timestamp) -> String {
    let whole = Timestamp::from_second(time.as_second()).unwrap_or(time);
    format!("{application}@{whole}")
}

/// The points of a repository.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Restorable points, oldest first.
    pub points: Vec<Point>,
    /// Points that nobody answers for, oldest first: shown, never counted, never deleted.
    pub unattested: Vec<Point>,
    /// What runs left that did not come to their end.
    pub partials: Vec<(Id, Snapshot)>,
    /// What did not count, and why.
    pub findings: Vec<Finding>,
}

/// Where documents that were read before are kept, so that trees need not be read again.
pub trait DocumentCache: Send {
    /// The document of a point, if it is known.
    fn get(&self, point: &str) -> Option<Document>;
    /// Keeps it.
    fn put(&mut self, point: &str, document: &Document);
}

/// No cache.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCache;

impl DocumentCache for NoCache {
    fn get(&self, _point: &str) -> Option<Document> {
        None
    }
    fn put(&mut self, _point: &str, _document: &Document) {}
}

/// Lists the points of `application`. Damaged snapshots and documents are reported and never hide others.
/// Of several snapshots that say they are one source of one point, the one counts whose tree is attested
/// (fault row 156), else the newest: a rewritten copy replaces what it was made from.
///
/// # Errors
/// Only if the snapshots as a whole cannot be listed.
pub async fn list(
    repo: &Repository,
    application: &str,
    judgement: Option<&Judgement>,
    cache: &mut dyn DocumentCache,
) -> Result<Listing> {
    let found = repo.snapshots().await?;
    let mut listing = Listing::default();
    for problem in found.problems {
        listing.findings.push(Finding::new(
            problem.code,
            Severity::Warning,
            problem.object,
            problem.problem,
            "see `recoup verify`; other points are not concerned",
        ));
    }
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for (id, snapshot) in found.snapshots {
        if snapshot.is_partial() {
            listing.partials.push((id, snapshot));
            continue;
        }
        match belongs(repo, application, id, &snapshot, cache).await {
            Ok(Some((point, source))) => {
                groups.entry(point).or_default().entry(source).or_default().push((id, snapshot.tree));
            }
            Ok(None) => {}
            Err(error) => listing.findings.push(loose(application, &id.to_string(), &error.to_string())),
        }
    }
    for (point, group) in groups {
        let stated = judgement.and_then(|j| j.points.get(&point));
        match whole(repo, &point, &group, stated, cache).await {
            Ok(point) => listing.points.push(point),
            Err(error) => listing.findings.push(loose(application, &point, &error.to_string())),
        }
    }
    listing.points.sort_by(|a, b| (a.document.time, &a.id).cmp(&(b.document.time, &b.id)));
    Ok(listing)
}

/// The snapshots that say they belong to one point, by source, oldest first.
type Group = BTreeMap<String, Vec<(Id, Id)>>;

/// The point and the source that a snapshot belongs to; `None` if it is another's.
async fn belongs(
    repo: &Repository,
    application: &str,
    id: Id,
    snapshot: &Snapshot,
    cache: &mut dyn DocumentCache,
) -> Result<Option<(String, String)>> {
    if let Some(mirror) =
        snapshot.recoup.as_ref().and_then(|v| serde_json::from_value::<Mirror>(v.clone()).ok())
    {
        return Ok((mirror.application == application).then_some((mirror.point, mirror.source)));
    }
    if !snapshot.tags.iter().any(|t| t == TAG) {
        return Ok(None);
    }
    let [path] = snapshot.paths.as_slice() else { return Ok(None) };
    let Some(source) = path.strip_prefix(&format!("/{application}/")) else { return Ok(None) };
    let document = read_document(repo, snapshot.tree).await.map_err(|e| e.with("snapshot", id.short()))?;
    let point = document.id();
    cache.put(&point, &document);
    Ok(Some((point, source.to_owned())))
}

async fn whole(
    repo: &Repository,
    id: &str,
    group: &Group,
    stated: Option<&Stated>,
    cache: &mut dyn DocumentCache,
) -> Result<Point> {
    let missing = |name: &str| {
        Error::new(Kind::NotFound, format!("the snapshot of {} is not there", escape(name.as_bytes())))
            .code("E0601")
    };
    let mut snapshots = BTreeMap::new();
    let mut trees = BTreeMap::new();
    for (source, found) in group {
        let attested = stated.and_then(|s| s.trees.get(source));
        let genuine = found.iter().rev().find(|(_, tree)| attested == Some(&tree.to_string()));
        if let Some((snapshot, tree)) = genuine.or(found.last()) {
            snapshots.insert(source.clone(), *snapshot);
            trees.insert(source.clone(), *tree);
        }
    }
    let document = match (cache.get(id), trees.values().next()) {
        (Some(document), _) => document,
        (None, Some(tree)) => read_document(repo, *tree).await?,
        (None, None) => return Err(missing("any source")),
    };
    if document.id() != id {
        return Err(Error::new(Kind::Corrupt, "its document is not the one it was made with").code("E0601"));
    }
    if let Some(lost) = document.sources.iter().find(|s| !snapshots.contains_key(&s.name)) {
        return Err(missing(&lost.name));
    }
    // Snapshots that say they belong to it and are no source of it are somebody else's.
    snapshots.retain(|name, _| document.source(name).is_some());
    trees.retain(|name, _| document.source(name).is_some());
    cache.put(id, &document);
    Ok(Point { snapshots, trees, ..Point::new(document) })
}

/// Reads the document out of the tree of a snapshot.
///
/// # Errors
/// As reading any file of a snapshot; `Kind::Corrupt` if it is no such document.
pub async fn read_document(repo: &Repository, tree: Id) -> Result<Document> {
    let path = TreePath::parse(DOCUMENT_PATH.as_bytes())?;
    let bytes = recoup_repo::read::read_file(repo, &tree, &path, DOCUMENT_BYTES_MAX).await?;
    Document::decode(&bytes)
}

fn loose(application: &str, what: &str, why: &str) -> Finding {
    let what = escape(what.chars().take(12).collect::<String>().as_bytes());
    Finding::new(
        "R0117",
        Severity::Info,
        application,
        format!("{what} does not count as a point: {why}"),
        "nothing is needed; an interrupted run leaves such snapshots behind",
    )
}

/// The point that `moment` means.
///
/// # Errors
/// `Kind::NotFound` `E0601` with the range of points there is; `Kind::Config` if an id prefix fits several.
pub fn find<'p>(points: &'p [Point], moment: &Moment) -> Result<&'p Point> {
    let none = |what: String| {
        let range = match (points.first(), points.last()) {
            (Some(first), Some(last)) => {
                format!("points go from {} to {}", first.document.time, last.document.time)
            }
            _ => "there is no point yet".to_owned(),
        };
        Error::new(Kind::NotFound, format!("find a point: {what}"))
            .code("E0601")
            .effect("nothing was changed")
            .hint(format!("{range}; `recoup points` lists them"))
    };
    match moment {
        Moment::Latest => points.last().ok_or_else(|| none("there is none".into())),
        Moment::At(at) => {
            let found = points.iter().rev().find(|p| p.document.time <= *at);
            found.ok_or_else(|| none(format!("none is as old as {at}")))
        }
        Moment::Before(name) => {
            let of =
                if name == "latest" { find(points, &Moment::Latest)? } else { named(points, name, &none)? };
            // Points stand in the order in which they were made, whatever the clock said.
            let found = points.iter().take_while(|p| p.id != of.id).last();
            found.ok_or_else(|| none(format!("none is older than {}", of.name())))
        }
        Moment::Point(name) => named(points, name, &none),
    }
}

/// As [`find`]; a point that nobody answers for is found only by its own name.
///
/// # Errors
/// As [`find`].
pub fn find_with<'p>(points: &'p [Point], unattested: &'p [Point], moment: &Moment) -> Result<&'p Point> {
    find(points, moment).or_else(|error| match moment {
        Moment::Point(_) => find(unattested, moment).map_err(|_| error),
        _ => Err(error),
    })
}

fn named<'p>(points: &'p [Point], name: &str, none: &dyn Fn(String) -> Error) -> Result<&'p Point> {
    if let Some(point) = points.iter().rev().find(|p| p.id == name || p.name() == name) {
        return Ok(point);
    }
    let shown = escape(name.as_bytes());
    if name.len() < 4 {
        return Err(none(format!("\"{shown}\" is too short for an id")));
    }
    let fits = |p: &&Point| {
        p.id.starts_with(name) || p.snapshots.values().any(|id| id.to_string().starts_with(name))
    };
    let found: Vec<&Point> = points.iter().filter(fits).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(none(format!("none is called \"{shown}\""))),
        _ => Err(Error::new(Kind::Config, format!("find the point \"{shown}\": several begin with that"))
            .code("E0601")
            .hint("give more digits of the id")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(second: i64, tag: &str) -> Point {
        let time = Timestamp::from_second(second).unwrap();
        let document = Document {
            schema: Document::schema(),
            application: "shop".into(),
            run: tag.into(),
            time,
            finished: time,
            sources: Vec::new(),
            provenance: None,
            migrations: None,
            stages: Vec::new(),
        };
        Point::new(document)
    }

    #[test]
    fn a_moment_means_the_newest_point_not_after_it() {
        let points = [point(100, "a"), point(200, "b"), point(300, "c")];
        let at = |s| Moment::At(Timestamp::from_second(s).unwrap());
        let run = |m: &Moment| find(&points, m).map(|p| p.document.run.clone());
        assert_eq!(run(&Moment::Latest).unwrap(), "c");
        assert_eq!(run(&at(200)).unwrap(), "b");
        assert_eq!(run(&at(299)).unwrap(), "b");
        assert_eq!(run(&Moment::Before(points[1].id[..8].into())).unwrap(), "a");
        assert_eq!(run(&Moment::Before("latest".into())).unwrap(), "b");
        assert_eq!(run(&Moment::Point(points[0].name())).unwrap(), "a");
        let early = run(&at(99)).unwrap_err();
        assert_eq!(early.stable_code(), Some("E0601"));
        assert!(early.next_step().unwrap().contains("1970-01-01T00:01:40Z"), "{early:?}");
        assert!(find(&[], &Moment::Latest).is_err());
    }

    #[test]
    fn the_document_is_its_id_and_survives_reading() {
        let point = point(100, "a");
        let read = Document::decode(point.document.encode().as_bytes()).unwrap();
        assert_eq!((read.id(), &read), (point.id.clone(), &point.document));
        let text = point.document.encode();
        for cut in 0..text.len() {
            assert!(Document::decode(&text.as_bytes()[..cut]).is_err());
        }
        let newer = text.replace("point/1", "point/2");
        assert_eq!(Document::decode(newer.as_bytes()).unwrap_err().kind(), Kind::Unsupported);
    }
}
