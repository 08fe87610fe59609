//! Tags of snapshots. A snapshot is written anew with other tags and then the old one is deleted, so that
//! whatever stops this in between, one of the two is there.

use crate::id::Id;
use crate::layout::ObjectKind;
use crate::locks::LockMode;
use crate::repository::Repository;
use crate::snapshot::{PARTIAL_TAG, Snapshot, refuse_partial_tag};
use recoup_core::{Error, Result};
use std::time::Duration;

/// What is to become of the tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagChange {
    /// These and no others.
    Set(Vec<String>),
    /// Some more, some less.
    Change {
        /// Added, unless they are there.
        add: Vec<String>,
        /// Taken away, if they are there.
        remove: Vec<String>,
    },
}

/// What became of the snapshots.
#[derive(Debug, Default)]
pub struct Tagged {
    /// Old and new names.
    pub changed: Vec<(Id, Id)>,
    /// Had the tags already.
    pub unchanged: Vec<Id>,
    /// Could not be changed; the snapshot is there with its old tags.
    pub failed: Vec<(Id, Error)>,
}

impl TagChange {
    /// The tags that `tags` become; `None` if nothing changes.
    pub fn apply(&self, tags: &[String]) -> Option<Vec<String>> {
        let mut new: Vec<String> = Vec::new();
        match self {
            TagChange::Set(set) => new.extend(set.iter().filter(|tag| !tag.is_empty()).cloned()),
            TagChange::Change { add, remove } => {
                let all = tags.iter().chain(add.iter().filter(|tag| !tag.is_empty()));
                new.extend(all.filter(|tag| !remove.contains(tag)).cloned());
            }
        }
        let mut seen = std::collections::HashSet::new();
        new.retain(|tag| seen.insert(tag.clone()));
        (new != tags).then_some(new)
    }
}

/// Changes the tags of the snapshots `ids`. They keep the name they had first in `original`.
///
/// # Errors
/// `Kind::Locked`, E0411; `Kind::Unsupported`, E0470, for version 1; as the store says when it is asked
/// for the list.
pub async fn tag(
    repository: &Repository,
    ids: &[Id],
    change: &TagChange,
    lock_wait: Duration,
) -> Result<Tagged> {
    repository.refuse_version_1()?;
    let lock = repository.lock_within(LockMode::Exclusive, lock_wait).await?;
    let tagged = tag_locked(repository, ids, change).await;
    lock.release().await?;
    tagged
}

async fn tag_locked(repository: &Repository, ids: &[Id], change: &TagChange) -> Result<Tagged> {
    let there = repository.snapshots().await?.snapshots;
    let mut tagged = Tagged::default();
    for id in ids {
        let old = match there.iter().find(|(other, _)| other == id) {
            Some((_, snapshot)) => Ok(snapshot.clone()),
            None => repository.snapshot(id).await,
        };
        let result = match old {
            Ok(old) => tag_one(repository, *id, &old, change, &there).await,
            Err(err) => Err(err),
        };
        match result {
            Ok(Some(new)) => tagged.changed.push((*id, new)),
            Ok(None) => tagged.unchanged.push(*id),
            Err(err) => tagged.failed.push((*id, err)),
        }
    }
    Ok(tagged)
}

async fn tag_one(
    repository: &Repository,
    id: Id,
    old: &Snapshot,
    change: &TagChange,
    there: &[(Id, Snapshot)],
) -> Result<Option<Id>> {
    let Some(tags) = change.apply(&old.tags) else { return Ok(None) };
    // What is partial stays so, and nothing else becomes it.
    let marks =
        |tags: &[String]| -> Vec<String> { tags.iter().filter(|t| *t == PARTIAL_TAG).cloned().collect() };
    if marks(&tags) != marks(&old.tags) {
        refuse_partial_tag(&[marks(&tags), marks(&old.tags)].concat())?;
    }
    let new = Snapshot { tags, original: Some(old.original.unwrap_or(id)), ..old.clone() };
    // A run that was stopped between the two steps has left it.
    let left = there.iter().find(|(other, snapshot)| *other != id && *snapshot == new);
    let new_id = match left {
        Some((left, _)) => *left,
        None => repository.documents().save(ObjectKind::Snapshot, new.encode()?).await?,
    };
    repository.documents().delete(ObjectKind::Snapshot, &id).await?;
    Ok(Some(new_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn tags_change_as_restic_changes_them() {
        let change = |add, remove| TagChange::Change { add: list(add), remove: list(remove) };
        assert_eq!(change("c", "a").apply(&list("a b")), Some(list("b c")));
        assert_eq!(change("a a", "").apply(&list("b")), Some(list("b a")));
        assert_eq!(change("a", "x").apply(&list("a b")), None);
        assert_eq!(TagChange::Set(vec![String::new()]).apply(&list("a")), Some(Vec::new()));
        assert_eq!(TagChange::Set(list("a")).apply(&list("a")), None);
    }
}
