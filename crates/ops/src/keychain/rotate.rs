//! `recoup keys rotate`: a new repository password in the place of the old one. It can be stopped anywhere and
//! run again, and at every moment the password file opens every location.
//!
//! | step | what is durable after it | the password file |
//! |---|---|---|
//! | reach | nothing: every location opens with the old password | old |
//! | next | the new password, in `FILE.next` | old |
//! | note | which keys the old password opens, in `rotate.json` | old |
//! | add | a key for the new password at every location | old, and the new one opens too |
//! | prove | nothing: both open everywhere, the newest point is read | old |
//! | switch | `FILE.next` is `FILE`, in one rename | new, and the old one opens too |
//! | remove | the noted keys are gone | new |
//! | clear | `rotate.json` is gone | new |
//!
//! Where a run was stopped follows from the two files: `.next` is there until the switch, and `rotate.json`
//! until the end.

use super::{LOCK_WAIT, add, opened_by, reach, shown};
use crate::keys::{self, record};
use crate::point::{self, NoCache};
use crate::secret::SecretRef;
use crate::session::{Place, Session};
use jiff::Timestamp;
use recoup_core::event::Event;
use recoup_core::secret::Secret;
use recoup_core::{Error, Kind, Result};
use recoup_repo::Id;
use recoup_repo::keyfile::PasswordStrength;
use recoup_repo::keys::{self as repository_keys, KeyOptions};
use recoup_repo::repository::Repository;
use recoup_store::local::durable;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// Hexadecimal digits of a generated password.
const PASSWORD_DIGITS: usize = 64;

/// What a rotation did.
#[derive(Clone, Debug, Serialize)]
pub struct RotateReport {
    /// The file that has the new password.
    pub file: String,
    /// Whether an earlier run had begun it.
    pub resumed: bool,
    /// Location by location.
    pub locations: Vec<Rotated>,
}

/// What was changed at a location.
#[derive(Clone, Debug, Serialize)]
pub struct Rotated {
    /// Its name.
    pub name: String,
    /// The key that the new password opens.
    pub added: Option<Id>,
    /// The keys that the old password opened; they are gone.
    pub removed: Vec<Id>,
}

/// What is remembered from the first change to the last.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Note {
    began: Timestamp,
    locations: BTreeMap<String, Noted>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Noted {
    repository: String,
    /// The keys that the old password opens.
    old: Vec<Id>,
    /// The key that the new password opens, once it was added.
    new: Option<Id>,
}

/// Replaces the repository password at every location, or goes on with what an earlier run began.
///
/// # Errors
/// `Kind::Refused` `E0699` if the password does not lie in a file, `E0696` if a location cannot be opened,
/// `E0697` if what an earlier run left does not fit together. After any other error run it again.
pub async fn rotate(session: &Session) -> Result<RotateReport> {
    let _lock = session.exclusive("rotation")?;
    let rotation = Rotation::of(session)?;
    let resumed = rotation.note()?.is_some() || rotation.is_prepared();
    if rotation.is_prepared() || rotation.note()?.is_none() {
        rotation.before_the_switch().await?;
        durable::rename(&rotation.next, &rotation.file)?;
        rotation.reached("the password file has the new password");
    }
    let unfinished = |error: Error| {
        error
            .effect("the new password is in force and opens every location; an old one may still open too")
            .hint("mend what is named, then run `recoup keys rotate` again: it goes on from here")
    };
    let locations = rotation.after_the_switch().await.map_err(unfinished)?;
    Ok(RotateReport { file: shown(&rotation.file), resumed, locations })
}

struct Rotation<'s> {
    session: &'s Session,
    file: PathBuf,
    next: PathBuf,
    note: PathBuf,
}

impl<'s> Rotation<'s> {
    fn of(session: &'s Session) -> Result<Self> {
        let declared = session.config().keys.as_ref().map(|keys| &keys.password);
        let Some(SecretRef::File(written)) = declared else {
            let kept =
                declared.map_or_else(|| "nowhere: [keys] is not declared".to_owned(), ToString::to_string);
            return Err(Error::new(Kind::Refused, "replace the repository password: it does not lie in a file")
                .with("kept in", kept)
                .code("E0699")
                .effect("nothing was changed")
                .hint("put the new one where it is kept yourself: `recoup repo key add`, change it there, `recoup repo key remove`"));
        };
        let loaded = session.loaded();
        let file = loaded.root.join(loaded.variables.expand_home(written)?);
        // A link stays a link: what it points to is replaced.
        let file = std::fs::canonicalize(&file)
            .map_err(|e| Error::io("find the password file", e).with("file", shown(&file)).code("E0810"))?;
        let mut next = file.clone().into_os_string();
        next.push(OsString::from(".next"));
        Ok(Rotation { session, file, next: next.into(), note: session.state().join("rotate.json") })
    }

    /// Whether the new password was made and is not yet in force.
    fn is_prepared(&self) -> bool {
        self.next.symlink_metadata().is_ok()
    }

    fn note(&self) -> Result<Option<Note>> {
        match std::fs::read(&self.note) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|cause| {
                contradiction("its notes cannot be read").with("file", shown(&self.note)).caused_by(cause)
            }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("read the notes of a rotation", e).with("file", shown(&self.note))),
        }
    }

    fn keep(&self, note: &Note) -> Result<()> {
        let text = serde_json::to_vec_pretty(note)
            .map_err(|cause| Error::bug("write down a rotation").caused_by(cause))?;
        durable::create_dir_all(self.session.state(), 0o700)?;
        durable::write(&self.note, &text, 0o600)
    }

    /// Says that something is durable now.
    fn reached(&self, message: impl Into<String>) {
        self.session.env().emit(Event::Checkpoint { stage: "rotate".into(), message: message.into() });
    }

    /// Everything up to the moment when the new password can take the old one's place.
    async fn before_the_switch(&self) -> Result<()> {
        let old = add::read(&self.file)?;
        let reached = reach(self.session, &old, "replace the repository password").await?;
        let env = self.session.env();
        if !self.is_prepared() {
            keys::generate(&self.next, &self.session.loaded().project()?, env)?;
            self.reached("the new password is made");
        }
        env.emit(Event::Checkpoint { stage: "resume".into(), message: "recoup keys rotate".into() });
        let new = add::read(&self.next)?;
        let is_ours = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if new.expose().len() != PASSWORD_DIGITS
            || !new.expose().iter().all(is_ours)
            || new.expose() == old.expose()
        {
            return Err(contradiction("the file beside the password file is not what a rotation makes")
                .with("file", shown(&self.next)));
        }
        let unfinished = |error: Error| {
            error
                .effect("the old password is in force and opens every location")
                .hint("mend what is named, then run `recoup keys rotate` again: it goes on from here")
        };
        self.added(&reached, &old, &new).await.map_err(unfinished)?;
        for (place, _) in &reached {
            self.proven(place, &old, &new).await.map_err(unfinished)?;
        }
        Ok(())
    }

    /// Notes the old keys, then adds one for the new password wherever there is none.
    async fn added(&self, reached: &[(Place, Repository)], old: &Secret, new: &Secret) -> Result<()> {
        let began = self.note()?.map_or_else(|| self.session.env().now(), |note| note.began);
        let mut note = Note { began, locations: BTreeMap::new() };
        for (place, repository) in reached {
            let noted = Noted {
                repository: repository.id().to_owned(),
                old: opened_by(repository, old).await?,
                new: opened_by(repository, new).await?.first().copied(),
            };
            note.locations.insert(place.name.clone(), noted);
        }
        self.keep(&note)?;
        self.reached("the old keys are noted");
        let options = KeyOptions {
            strength: PasswordStrength::Generated,
            lock_wait: LOCK_WAIT,
            ..KeyOptions::default()
        };
        for (place, repository) in reached {
            let Some(noted) = note.locations.get_mut(&place.name).filter(|noted| noted.new.is_none()) else {
                continue;
            };
            let added = repository_keys::add(repository, new, &options).await;
            noted.new = Some(added.map_err(|e| e.with("location", &place.name))?);
            self.reached(format!("{} has a key for the new password", place.name));
            self.keep(&note)?;
        }
        Ok(())
    }

    /// Both passwords open the location, and the new one reads its newest point.
    async fn proven(&self, place: &Place, old: &Secret, new: &Secret) -> Result<()> {
        let named = |e: Error| e.with("location", &place.name);
        self.session.repository_with(place, old).await.map_err(named)?;
        let repository = self.session.repository_with(place, new).await.map_err(named)?;
        let listing =
            point::list(&repository, self.session.app(), None, &mut NoCache).await.map_err(named)?;
        if let Some((point, tree)) = listing.points.last().and_then(|p| Some((p, p.trees.values().next()?))) {
            let read = point::read_document(&repository, *tree).await.map_err(named)?;
            if read.id() != point.id {
                return Err(named(
                    Error::new(Kind::Corrupt, "read the newest point: it is another").code("E0601"),
                ));
            }
        }
        Ok(())
    }

    /// Takes the old keys away and forgets the notes.
    async fn after_the_switch(&self) -> Result<Vec<Rotated>> {
        let Some(note) = self.note()? else {
            return Err(contradiction("its notes are gone").with("file", shown(&self.note)));
        };
        let new = add::read(&self.file)?;
        let now = self.session.env().now();
        let reached = reach(self.session, &new, "take the old keys away").await?;
        let mut rotated = Vec::new();
        for (place, repository) in &reached {
            let Some(noted) = note.locations.get(&place.name).filter(|n| n.repository == repository.id())
            else {
                continue;
            };
            let opens = opened_by(repository, &new).await?;
            if noted.old.iter().any(|id| opens.contains(id)) {
                return Err(contradiction("the new password is gone, and the old one is still in force")
                    .with("location", &place.name)
                    .with("file", shown(&self.file)));
            }
            rotated.push(self.without_old(place, repository, noted).await?);
        }
        // What was printed before opens nothing any more.
        record::outdate(self.session.state(), now)?;
        keys::unconfirm(self.session.state())?;
        durable::remove_file(&self.note)?;
        self.reached("the rotation is over");
        Ok(rotated)
    }

    /// The key that the new password opens is the one in use, and that one is never removed.
    async fn without_old(&self, place: &Place, repository: &Repository, noted: &Noted) -> Result<Rotated> {
        for id in &noted.old {
            match repository_keys::remove(repository, *id, LOCK_WAIT).await {
                Ok(()) => self.reached(format!("{} has one old key less", place.name)),
                // An earlier run removed it.
                Err(e) if e.kind() == Kind::NotFound && e.stable_code() == Some("E0490") => {}
                Err(e) => return Err(e.with("location", &place.name)),
            }
        }
        Ok(Rotated { name: place.name.clone(), added: repository.key_id(), removed: noted.old.clone() })
    }
}

fn contradiction(why: &str) -> Error {
    Error::new(Kind::Refused, format!("go on with a rotation: {why}"))
        .code("E0697")
        .effect("no key was removed")
        .hint("see which password opens the locations with `recoup repo key list`; `recoup explain E0697` says more")
}
