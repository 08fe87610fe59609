//! Attestations at work: what is signed after a backup, and what every listing of points is held against.
//!
//! 1. the statements at the location are listed; those that are new here are read, and their signatures checked
//! 2. they are judged against what this machine remembers
//! 3. points are listed; those that nobody answers for do not count
//! 4. what was found is remembered, unless it is in trouble
//!
//! Nothing here keeps data from being stored or restored. Trouble is a finding, and the next statement is
//! appended to the newest that is known, so that new points are never lost over it.

mod memory;

use self::memory::Memory;
use crate::pins::Pins;
use crate::point::{self, DocumentCache, Listing, Point};
use crate::session::{Place, Session};
use crate::signing::{Signing, signing};
use recoup_core::attest::{
    Attestation, Judgement, Known, PointStatement, Sealed, SourceStatement, Stated, Statement, Trouble, judge,
};
use recoup_core::canonical::short;
use recoup_core::event::{Finding, Outcome, Severity};
use recoup_core::name::escape;
use recoup_core::units::{Span, counted};
use recoup_core::{Error, Kind, Result};
use recoup_repo::attest::{self, Name};
use recoup_repo::repository::Repository;
use recoup_store::Store;
use std::collections::{BTreeMap, BTreeSet};

/// Statements that cannot be read are named up to this number.
const NAMED_MAX: usize = 5;

/// What is known of the signed history at a location.
pub(crate) struct History {
    signing: Signing,
    repository: String,
    location: String,
    statements: BTreeMap<Name, Sealed>,
    /// Statements that this machine knows and the location lacks.
    lacking: Vec<Name>,
    /// What the chains prove.
    pub(crate) judgement: Judgement,
    /// Trouble with them, and with the signing key.
    pub(crate) findings: Vec<Finding>,
}

impl History {
    /// Every statement that is known, in the order of signers and numbers.
    pub(crate) fn statements(&self) -> impl Iterator<Item = &Attestation> {
        self.statements.values().map(|sealed| &sealed.attestation)
    }
}

/// Whether a finding is about the signed history of a location, about who signs, or a suspicious point.
pub(crate) fn is_about_trust(finding: &Finding) -> bool {
    matches!(
        finding.id.as_str(),
        "E0670" | "E0672" | "E0673" | "E0674" | "E0675" | "E0677" | "E0823" | "R0119" | "R0120"
    )
}

/// Which statements are read at a location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Those of which this machine has no copy; the others are known by their names.
    New,
    /// Every one.
    Every,
}

/// Looks at the signed history of a location; `None` if the application signs nothing.
///
/// # Errors
/// If the location or the state directory cannot be read.
pub(crate) async fn look(
    session: &Session,
    place: &Place,
    repository: &str,
    reading: Reading,
) -> Result<Option<History>> {
    let Some(signing) = signing(session).await? else { return Ok(None) };
    let store = session.store(place);
    let memory = Memory::of(session);
    let copies = memory.copies(repository, &signing.trusted).await?;
    let mut findings = signing.findings.clone();
    let none = BTreeMap::new();
    let trusted_copies = if reading == Reading::New { &copies } else { &none };
    let found = read_all(&*store, place, trusted_copies, &signing, &mut findings).await?;
    for sealed in found.values().filter(|s| !s.signature.is_empty()) {
        memory.keep(repository, sealed).await?;
    }
    let seen = memory.seen(&place.name, repository);
    let here: Vec<Sealed> = found.values().cloned().collect();
    let known: Vec<Sealed> = copies.values().cloned().collect();
    let judgement = judge(
        &here,
        &Known {
            application: session.app(),
            repository,
            location: &place.name,
            copies: &known,
            seen: &seen.heads,
            held: &seen.held,
        },
    );
    findings.extend(judgement.troubles.iter().map(|t| troubled(&place.name, t)));
    memory.note(&place.name, repository, &judgement, false)?;
    let lacking = copies.keys().filter(|name| !found.contains_key(*name)).cloned().collect();
    let statements = copies.into_iter().chain(found).collect();
    let (repository, location) = (repository.to_owned(), place.name.clone());
    Ok(Some(History { signing, repository, location, statements, lacking, judgement, findings }))
}

/// The statements at the location: those of which there is a copy by their name, the others are read.
async fn read_all(
    store: &dyn Store,
    place: &Place,
    copies: &BTreeMap<Name, Sealed>,
    signing: &Signing,
    findings: &mut Vec<Finding>,
) -> Result<BTreeMap<Name, Sealed>> {
    let listed = attest::list(store).await?;
    let trusted: BTreeSet<String> = signing.trusted.iter().map(|s| s.name()).collect();
    let mut found = BTreeMap::new();
    let mut strangers: BTreeMap<String, usize> = BTreeMap::new();
    let mut unreadable: Vec<String> =
        listed.unsigned.iter().map(|object| format!("{object} has no signature")).collect();
    for (name, bytes) in listed.names {
        if let Some(copy) = copies.get(&name).filter(|copy| copy.text.len() as u64 == bytes) {
            found.insert(name, copy.clone());
        } else if !trusted.contains(&name.signer) {
            *strangers.entry(name.signer).or_default() += 1;
        } else {
            match attest::read(store, &name, &signing.trusted).await {
                Ok(sealed) => drop(found.insert(name, sealed)),
                Err(error) => unreadable.push(error.to_string()),
            }
        }
    }
    findings.extend(strangers.iter().map(|(signer, count)| stranger(&place.name, signer, *count)));
    if let Some(finding) = damaged(&place.name, &unreadable) {
        findings.push(finding);
    }
    Ok(found)
}

/// What is wrong with the signed history of the locations, as far as this can be told without the password: of
/// those whose repository this machine has seen. A location that cannot be read now is left to `verify`.
///
/// # Errors
/// If there is no location, or the state directory cannot be read.
pub async fn examine(session: &Session) -> Result<Vec<Finding>> {
    let pins = Pins::of(session.state());
    let mut findings = Vec::new();
    for place in session.places(None)? {
        let Some(pin) = pins.get(&place.name).filter(|_| place.path.is_dir()) else { continue };
        match look(session, &place, &pin.repository, Reading::New).await {
            Ok(Some(history)) => findings.extend(history.findings),
            Ok(None) => {}
            Err(error) => findings.push(unread(&place.name, &error)),
        }
    }
    Ok(findings)
}

/// Lists the points of a location, held against its signed history. Points that nobody answers for are set
/// apart as soon as anybody has signed here.
///
/// # Errors
/// As [`look`] and `point::list`.
pub(crate) async fn list(
    session: &Session,
    place: &Place,
    repo: &Repository,
    cache: &mut dyn DocumentCache,
    reading: Reading,
) -> Result<(Listing, Option<History>)> {
    let history = look(session, place, repo.id(), reading).await?;
    let judgement = history.as_ref().map(|h| &h.judgement);
    let mut listing = point::list(repo, session.app(), judgement, cache).await?;
    let Some(history) = history else { return Ok((listing, None)) };
    listing.findings.extend(history.findings.iter().cloned());
    if history.judgement.has_begun() {
        for mut point in std::mem::take(&mut listing.points) {
            let attested = history.judgement.attests(&point.id, &point.trees_by_name());
            point.attested = Some(attested);
            point.held = history.judgement.holds.get(&point.id).cloned().unwrap_or_default();
            point.is_released = history.judgement.released.contains(&point.id);
            if attested { &mut listing.points } else { &mut listing.unattested }.push(point);
        }
        for point in &mut listing.points {
            if let Some(stated) = history.judgement.points.get(&point.id) {
                point.order = (stated.order.unwrap_or(point.document.time), stated.sequence);
            }
        }
        listing.points.sort_by_key(|p| p.order);
        let present: BTreeSet<&str> = listing.points.iter().map(|p| p.id.as_str()).collect();
        let missing: Vec<_> = history.judgement.missing(&present).collect();
        listing.findings.extend(gone(&place.name, &missing));
        listing.findings.extend(unattested(&place.name, &listing.unattested));
        listing.findings.extend(old(session, &place.name, &history.judgement));
    } else if !listing.points.is_empty() {
        listing.findings.push(not_begun(&place.name, listing.points.len()));
    }
    Ok((listing, Some(history)))
}

/// States that `point` was made at `place`, after everything that is known there. When nobody has signed
/// before, the points of `listing` are taken over first. What the location lacks of the history is put back.
///
/// # Errors
/// If there is no key, or the location or the state directory cannot be written.
pub(crate) async fn point_made(
    session: &Session,
    place: &Place,
    history: &mut History,
    listing: &Listing,
    point: &Point,
) -> Result<()> {
    if !history.judgement.has_begun() {
        let points = listing.points.iter().map(|p| (p.id.clone(), p.trees_by_name())).collect();
        state(session, place, history, Statement::Begin { points }).await?;
    }
    let sources = point.document.sources.iter().map(|s| SourceStatement {
        name: s.name.clone(),
        snapshot: point.snapshots.get(&s.name).map(ToString::to_string).unwrap_or_default(),
        tree: point.trees.get(&s.name).map(ToString::to_string).unwrap_or_default(),
        bytes: s.bytes,
        files: s.files,
        position: s.position.as_ref().and_then(|p| serde_json::to_value(p).ok()),
    });
    let is_partial = point.document.sources.iter().any(|s| s.errors > 0);
    let result = if is_partial { Outcome::Partial } else { Outcome::Pass };
    let stated = PointStatement {
        point: point.id.clone(),
        time: point.document.time,
        result,
        suspect: point.suspicions(),
        sources: sources.collect(),
    };
    state(session, place, history, Statement::Point(Box::new(stated))).await
}

/// Notes that `point` is about to be written, so that a run that is killed before it signed can be made up for.
///
/// # Errors
/// If the state directory cannot be written.
pub(crate) fn point_begins(session: &Session, repository: &str, point: &Point) -> Result<()> {
    let memory = Memory::of(session);
    let mut unsigned = memory.unsigned(repository);
    unsigned.insert(point.id.clone(), point.trees_by_name());
    memory.note_unsigned(repository, &unsigned)
}

/// Forgets that `point` was not signed.
///
/// # Errors
/// If the state directory cannot be written.
pub(crate) fn point_settled(session: &Session, repository: &str, point: &Point) -> Result<()> {
    let memory = Memory::of(session);
    let mut unsigned = memory.unsigned(repository);
    match unsigned.remove(&point.id) {
        Some(_) => memory.note_unsigned(repository, &unsigned),
        None => Ok(()),
    }
}

/// Signs for the points that earlier runs of this machine made and were killed before they signed, or could not
/// sign.
///
/// # Errors
/// As [`point_made`].
pub(crate) async fn make_up(
    session: &Session,
    place: &Place,
    history: &mut History,
    listing: &mut Listing,
) -> Result<()> {
    if history.signing.key.is_none() {
        return Ok(());
    }
    let unsigned = Memory::of(session).unsigned(&history.repository);
    let is_ours = |p: &Point| unsigned.get(&p.id) == Some(&p.trees_by_name());
    let (ours, others): (Vec<Point>, _) =
        std::mem::take(&mut listing.unattested).into_iter().partition(is_ours);
    listing.unattested = others;
    for mut point in ours {
        point_made(session, place, history, listing, &point).await?;
        point_settled(session, &history.repository, &point)?;
        point.attested = Some(true);
        listing.points.push(point);
    }
    listing.findings.retain(|f| f.id != "E0675");
    listing.findings.extend(unattested(&place.name, &listing.unattested));
    Ok(())
}

/// Signs a statement and puts it at the location, then keeps a copy here.
///
/// # Errors
/// As [`point_made`].
pub(crate) async fn state(
    session: &Session,
    place: &Place,
    history: &mut History,
    statement: Statement,
) -> Result<()> {
    let key = history.signing.key.clone().ok_or_else(no_key)?;
    let signer = key.signer().name();
    let store = session.store(place);
    let memory = Memory::of(session);
    put_back(&*store, &memory, history).await?;
    let own = history.statements.iter().filter(|(name, _)| name.signer == signer);
    let last = own.max_by_key(|(name, _)| name.sequence).map(|(_, sealed)| sealed);
    let sealed = Attestation {
        schema: Attestation::schema(),
        application: session.app().to_owned(),
        repository: history.repository.clone(),
        signer,
        host: session.env().host.hostname.clone(),
        location: history.location.clone(),
        sequence: last.map_or(0, |s| s.attestation.sequence) + 1,
        previous: last.map(Sealed::hash),
        time: session.env().now(),
        tool: format!("recoup {}", env!("CARGO_PKG_VERSION")),
        configuration: Some(session.loaded().digest.clone()),
        statement,
    }
    .seal(&key)?;
    attest::put(&*store, &sealed).await?;
    memory.keep(&history.repository, &sealed).await?;
    history.statements.insert(Name::of(&sealed), sealed);
    Ok(())
}

/// Puts statements back that the location lacks: what was stated there stays stated.
async fn put_back(store: &dyn Store, memory: &Memory, history: &mut History) -> Result<()> {
    for name in std::mem::take(&mut history.lacking) {
        // A copy whose signature is gone cannot be put back; the trouble stays and is told again.
        if let Ok(sealed) = memory.copy(&history.repository, &name, &history.signing.trusted).await {
            attest::put(store, &sealed).await?;
        }
    }
    Ok(())
}

/// Remembers how far the location is, after a point was made there or copied to it.
///
/// # Errors
/// If the location or the state directory cannot be read or written.
pub(crate) async fn remember(session: &Session, place: &Place, repository: &str) -> Result<Vec<Finding>> {
    let Some(history) = look(session, place, repository, Reading::New).await? else { return Ok(Vec::new()) };
    Memory::of(session).note(&place.name, repository, &history.judgement, true)?;
    Ok(history.findings)
}

fn no_key() -> Error {
    Error::new(Kind::NotFound, "sign a statement: this machine has no signing key").code("E0823")
}

fn unread(place: &str, error: &Error) -> Finding {
    let message = format!("its signed history cannot be read: {error}");
    let fix = "see that the location is mounted; `recoup verify` looks at everything there";
    Finding::new("R0116", Severity::Warning, format!("location {place}"), message, fix)
}

fn troubled(place: &str, trouble: &Trouble) -> Finding {
    Finding::new(
        "E0672",
        Severity::High,
        format!("location {place}"),
        trouble.to_string(),
        "find out who changed the location before trusting its newest points; genuine points can be restored",
    )
}

fn stranger(place: &str, signer: &str, count: usize) -> Finding {
    Finding::new(
        "E0673",
        Severity::High,
        format!("location {place}"),
        format!(
            "{count} statements are signed by {signer}, whose key is not among `signers`: they do not count"
        ),
        "add its public key to [keys] `signers` if it is one of your machines",
    )
}

fn damaged(place: &str, unreadable: &[String]) -> Option<Finding> {
    let (first, more) = (unreadable.first()?, unreadable.len() - 1);
    let shown: Vec<&str> = unreadable.iter().take(NAMED_MAX).map(String::as_str).collect();
    let message = match more {
        0 => format!("an attestation cannot be believed: {first}"),
        _ => format!("{} attestations cannot be believed: {}", more + 1, shown.join("; ")),
    };
    let fix = "see who changed the location; points whose attestation is whole are not concerned";
    Some(Finding::new("E0670", Severity::High, format!("location {place}"), message, fix))
}

fn gone(place: &str, missing: &[(&str, &Stated)]) -> Option<Finding> {
    let (id, stated) = missing.iter().max_by_key(|(_, s)| s.sequence)?;
    let message = format!(
        "{} that nobody deleted {}: point {} is stated under number {} of signer {}",
        counted(missing.len() as u64, "point"),
        if missing.len() == 1 { "is gone" } else { "are gone; of the newest" },
        escape(short(id).as_bytes()),
        stated.sequence,
        stated.signer,
    );
    let fix = "restore from another location; `recoup points` shows which has it";
    Some(Finding::new("E0674", Severity::High, format!("location {place}"), message, fix))
}

fn unattested(place: &str, points: &[Point]) -> Option<Finding> {
    let last = points.last()?;
    let message = format!(
        "{} without an attestation, the newest is {} ({}): shown, never counted and never deleted",
        counted(points.len() as u64, "point"),
        last.name(),
        short(&last.id),
    );
    let fix = "if no run of yours left it, somebody else writes into the repository: change its password";
    Some(Finding::new("E0675", Severity::Warning, format!("location {place}"), message, fix))
}

/// A location that shows an old state for ever shows itself by its age (fault row 172).
fn old(session: &Session, place: &str, judgement: &Judgement) -> Option<Finding> {
    let config = session.config();
    let rpo = config.sources.values().filter_map(|s| config.class_of(s)?.rpo).min()?;
    let newest = judgement.heads.values().map(|head| head.time).max()?;
    let age = u64::try_from(session.env().now().as_second() - newest.as_second()).ok()?;
    (age > rpo.as_secs()).then(|| {
        Finding::new(
            "E0677",
            Severity::Warning,
            format!("location {place}"),
            format!("its newest statement is {} old, and there should be one every {rpo}", span(age)),
            "if backups ran since then, the location shows an old state: compare with another location",
        )
    })
}

fn span(seconds: u64) -> Span {
    Span(std::time::Duration::from_secs(seconds))
}

fn not_begun(place: &str, points: usize) -> Finding {
    Finding::new(
        "R0119",
        Severity::Warning,
        format!("location {place}"),
        format!(
            "{} without any signature: whether one was removed or forged cannot be told",
            counted(points as u64, "point")
        ),
        "the next `recoup backup` takes them over and signs from then on; if it did so before, the signatures \
         were removed",
    )
}
