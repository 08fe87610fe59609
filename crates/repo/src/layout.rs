//! Where each kind of object lives (restic design, Repository Layout).

use crate::id::Id;
use recoup_store::Key;

/// The kinds of objects in a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// The one file that makes it a repository; it has no id.
    Config,
    /// The master key, sealed with a password.
    Key,
    /// A lock.
    Lock,
    /// A snapshot.
    Snapshot,
    /// Which blob is in which pack.
    Index,
    /// Blobs.
    Pack,
}

impl ObjectKind {
    /// One word for people.
    pub const fn word(self) -> &'static str {
        match self {
            ObjectKind::Config => "config",
            ObjectKind::Key => "key",
            ObjectKind::Lock => "lock",
            ObjectKind::Snapshot => "snapshot",
            ObjectKind::Index => "index",
            ObjectKind::Pack => "pack",
        }
    }
}

/// The folder of all objects of `kind`, without a slash; for the config the object itself.
pub const fn prefix(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Config => "config",
        ObjectKind::Key => "keys",
        ObjectKind::Lock => "locks",
        ObjectKind::Snapshot => "snapshots",
        ObjectKind::Index => "index",
        ObjectKind::Pack => "data",
    }
}

/// The object `id` of `kind`; packs are spread over 256 folders. For the config `id` does not matter.
pub fn key(kind: ObjectKind, id: &Id) -> Key {
    let path = match kind {
        ObjectKind::Config => return config(),
        ObjectKind::Pack => {
            let name = id.to_string();
            format!("data/{}/{name}", &name[..2])
        }
        _ => format!("{}/{id}", prefix(kind)),
    };
    // invariant: a fixed word, slashes and hexadecimal digits are always a valid name
    Key::new(path).expect("hexadecimal digits are a valid object name")
}

/// The config.
pub fn config() -> Key {
    // invariant: a fixed word is a valid name
    Key::new("config").expect("a fixed word is a valid object name")
}

/// The id of a listed object of `kind`; `None` for a stray file, which is reported and left alone
/// (fault row 34).
pub fn id_of(kind: ObjectKind, listed: &Key) -> Option<Id> {
    let id: Id = listed.file_name().parse().ok()?;
    (key(kind, &id) == *listed).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways_and_strays_have_no_id() {
        let id = Id::of(b"x");
        for kind in
            [ObjectKind::Key, ObjectKind::Lock, ObjectKind::Snapshot, ObjectKind::Index, ObjectKind::Pack]
        {
            let key = key(kind, &id);
            assert!(key.as_str().starts_with(prefix(kind)));
            assert_eq!(id_of(kind, &key), Some(id));
        }
        let name = id.to_string();
        assert_eq!(key(ObjectKind::Pack, &id).as_str(), format!("data/2d/{name}"));
        for stray in [
            format!("data/00/{name}"),
            format!("data/{name}"),
            "data/2d/.DS_Store".into(),
            format!("index/{name}"),
        ] {
            assert_eq!(id_of(ObjectKind::Pack, &Key::new(stray).unwrap()), None);
        }
    }
}
