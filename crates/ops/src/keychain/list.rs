//! `recoup keys list`: what opens, what signs, and how the kit stands. Everything shown is public.

use super::somebody;
use crate::keys::record::{self, Complaint, PROVE_EVERY, Record};
use crate::points::unreadable;
use crate::session::{Place, Session};
use crate::signing::signing;
use jiff::Timestamp;
use recoup_core::Result;
use recoup_core::event::{Finding, Outcome};
use recoup_core::name::escape;
use recoup_repo::keys as repository_keys;
use serde::Serialize;

/// The key chain of an application.
#[derive(Clone, Debug, Serialize)]
pub struct KeyList {
    /// The application.
    pub application: String,
    /// Who asks, as in `dana@web-1`.
    pub here: String,
    /// The repository keys, location by location.
    pub locations: Vec<LocationKeys>,
    /// The signing key of this machine.
    pub signing: Option<SigningKeyLine>,
    /// Public keys of everybody whose signatures count.
    pub signers: Vec<SigningKeyLine>,
    /// The programs that seal the secret part of a kit; their arguments are not shown.
    pub wrap: Vec<String>,
    /// The newest kit.
    pub kit: Option<Record>,
    /// Seconds since it last passed a proof, at the location where that is longest ago.
    pub kit_proven_seconds: Option<u64>,
    /// Whether everything could be found out.
    #[serde(skip)]
    pub outcome: Outcome,
    /// What was noticed.
    #[serde(skip)]
    pub findings: Vec<Finding>,
}

/// The keys of one repository.
#[derive(Clone, Debug, Serialize)]
pub struct LocationKeys {
    /// Name of the location.
    pub location: String,
    /// Full id of the repository; none if there is none yet, or it cannot be opened.
    pub repository: Option<String>,
    /// Its keys.
    pub keys: Vec<KeyLine>,
}

/// One key of a repository.
#[derive(Clone, Debug, Serialize)]
pub struct KeyLine {
    /// Full id.
    pub id: String,
    /// When it was made, if it says so.
    pub created: Option<Timestamp>,
    /// Who made it, as in `dana@web-1`.
    pub by: String,
    /// Whether our password opens it.
    pub opens: bool,
}

/// A key that signs.
#[derive(Clone, Debug, Serialize)]
pub struct SigningKeyLine {
    /// As `ssh-keygen -l` prints it.
    pub fingerprint: String,
    /// The line for `signers`.
    pub public: String,
    /// Whether it is among `signers`.
    pub trusted: bool,
    /// Whether this machine has it.
    pub here: bool,
}

/// Lists the keys of all locations, or of the one that is named.
///
/// # Errors
/// If there is no location. One that cannot be opened is part of the answer.
pub async fn list(session: &Session, location: Option<&str>) -> Result<KeyList> {
    let (mut locations, mut findings, mut outcome) = (Vec::new(), Vec::new(), Outcome::Pass);
    for place in session.places(location)? {
        match at(session, &place).await {
            Ok(keys) => locations.push(keys),
            Err(error) => {
                locations.push(LocationKeys { location: place.name.clone(), repository: None, keys: vec![] });
                // No repository yet is an answer.
                if error.stable_code() != Some("E0410") {
                    findings.push(unreadable(&place.name, &error));
                    outcome = Outcome::Unknown;
                }
            }
        }
    }
    let declared = session.config().keys.as_ref();
    let signing = signing(session).await?;
    let own = signing.as_ref().and_then(|s| s.key.as_ref()).map(|key| key.signer());
    let trusted = declared.map(|keys| keys.signers.clone()).unwrap_or_default();
    findings.extend(signing.into_iter().flat_map(|s| s.findings));
    let line = |signer: &recoup_core::crypto::Signer| SigningKeyLine {
        fingerprint: signer.fingerprint(),
        public: signer.to_string(),
        trusted: trusted.contains(signer),
        here: own.as_ref() == Some(signer),
    };
    let kit = record::newest(session.state());
    let program = |argv: &Vec<String>| escape(argv.first().map_or("", String::as_str).as_bytes());
    Ok(KeyList {
        application: session.app().to_owned(),
        here: somebody(session),
        signing: own.as_ref().map(line),
        signers: trusted.iter().map(line).collect(),
        wrap: declared.map(|keys| keys.wrap.iter().map(program).collect()).unwrap_or_default(),
        kit_proven_seconds: kit.as_ref().and_then(|kit| proven_seconds(kit, session.env().now())),
        kit,
        locations,
        outcome,
        findings,
    })
}

async fn at(session: &Session, place: &Place) -> Result<LocationKeys> {
    let repository = session.repository(place).await?;
    let keys = repository_keys::list(&repository).await?.into_iter().map(|key| {
        let file = key.file.as_ref().ok();
        let by =
            file.map_or_else(|| "cannot be read".to_owned(), |f| format!("{}@{}", f.username, f.hostname));
        KeyLine {
            id: key.id.to_string(),
            created: file.and_then(|f| f.created).map(|created| created.at),
            by: escape(by.as_bytes()),
            opens: key.is_current,
        }
    });
    Ok(LocationKeys {
        location: place.name.clone(),
        repository: Some(repository.id().to_owned()),
        keys: keys.collect(),
    })
}

/// None as long as one of its locations was never proven.
fn proven_seconds(kit: &Record, now: Timestamp) -> Option<u64> {
    let ages = kit.locations.keys().map(|name| {
        let passed = kit.proofs.get(name)?.passed?;
        Some(u64::try_from(now.as_second() - passed.as_second()).unwrap_or(0))
    });
    ages.collect::<Option<Vec<u64>>>()?.into_iter().max()
}

/// What is not as it should be about the kit, as `status` and `check` say it.
pub fn complaints(session: &Session, current: &record::Current) -> Vec<Complaint> {
    let declared = session.config().keys.as_ref().and_then(|keys| keys.kit).and_then(|kit| kit.prove_every);
    let kit = record::newest(session.state());
    record::judge(kit.as_ref(), current, declared.unwrap_or(PROVE_EVERY), session.env().now())
}
