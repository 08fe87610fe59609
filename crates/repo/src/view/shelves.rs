//! The directories above the snapshots: `ids`, `snapshots`, `hosts` and `tags`, as restic lays them out.

use crate::golang::time::GoTime;
use crate::id::Id;
use crate::snapshot::Snapshot;
use jiff::Timestamp;
use recoup_core::name::NodeName;
use std::collections::BTreeMap;

/// Where the link to the newest snapshot is called so.
const LATEST: &[u8] = b"latest";

/// A directory of directories of snapshots.
#[derive(Clone, Debug, Default)]
pub(super) struct Shelf {
    pub(super) shelves: BTreeMap<NodeName, Shelf>,
    pub(super) items: BTreeMap<NodeName, Item>,
    /// The newest snapshot in it.
    pub(super) newest: Option<Timestamp>,
}

/// What stands on a shelf beside other shelves.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// The root of a snapshot.
    Snapshot { tree: Id, time: Timestamp },
    /// A link to the newest snapshot beside it.
    Latest { target: Vec<u8>, time: Timestamp },
}

impl Shelf {
    /// Puts `snapshots`, oldest first, onto the four shelves. A partial one is found by its id alone, so that
    /// nobody takes it for the state of a day.
    pub(super) fn of(snapshots: &[(Id, Snapshot)]) -> Self {
        let mut root = Shelf::default();
        for top in ["ids", "snapshots", "hosts", "tags"] {
            root.shelf(top.as_bytes());
        }
        for (id, snapshot) in snapshots {
            let time = seconds(&snapshot.time);
            let item = Item::Snapshot { tree: snapshot.tree, time: snapshot.time.at };
            if snapshot.is_partial() {
                root.shelf(b"ids").put(id.short().as_bytes(), item);
                continue;
            }
            root.shelf(b"ids").put(id.short().as_bytes(), item.clone());
            root.shelf(b"snapshots").put_dated(&time, item.clone());
            root.shelf(b"hosts").shelf(snapshot.hostname.as_bytes()).put_dated(&time, item.clone());
            for tag in &snapshot.tags {
                root.shelf(b"tags").shelf(tag.as_bytes()).put_dated(&time, item.clone());
            }
        }
        root
    }

    /// The shelf at `path` below this one.
    pub(super) fn find(&self, path: &[NodeName]) -> Option<&Shelf> {
        path.iter().try_fold(self, |shelf, name| shelf.shelves.get(name))
    }

    /// The shelf called `name`, as far as it can be called so.
    fn shelf(&mut self, name: &[u8]) -> &mut Shelf {
        self.shelves.entry(fit(name)).or_default()
    }

    fn put_dated(&mut self, time: &str, item: Item) {
        let Item::Snapshot { time: at, .. } = item else { return };
        let target = self.put(time.as_bytes(), item).as_bytes().to_vec();
        self.newest = Some(at);
        self.items.insert(fit(LATEST), Item::Latest { target, time: at });
    }

    /// Puts `item` under `name`, or under `name-1`, `name-2`, ... if that is taken; gives the name.
    fn put(&mut self, name: &[u8], item: Item) -> NodeName {
        let mut free = fit(name);
        let mut number = 0_u64;
        while self.items.contains_key(&free) {
            number += 1;
            free = fit(&[name, format!("-{number}").as_bytes()].concat());
        }
        self.items.insert(free.clone(), item);
        free
    }
}

/// A name that the kernel takes, whatever a snapshot claims: slashes and NULs become `_`.
fn fit(name: &[u8]) -> NodeName {
    let safe = match name {
        b"" | b"." => b"_".to_vec(),
        b".." => b"__".to_vec(),
        name => {
            let bytes = name.iter().take(NodeName::BYTES_MAX);
            bytes.map(|b| if matches!(b, b'/' | 0) { b'_' } else { *b }).collect()
        }
    };
    NodeName::new(safe).expect("not empty, no dots alone, no slash and no NUL")
}

/// The time with whole seconds, in the zone it was written in.
fn seconds(time: &GoTime) -> String {
    let whole = time.to_string();
    let Some((before, rest)) = whole.split_once('.') else { return whole };
    format!("{before}{}", rest.trim_start_matches(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(time: &str, host: &str, tags: &[&str]) -> (Id, Snapshot) {
        let mut snapshot = Snapshot::new(&recoup_testkit::env::real(), Id::of(b"tree"), vec!["/x".into()]);
        snapshot.time = GoTime::parse(time).unwrap();
        snapshot.hostname = host.into();
        snapshot.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        (Id::of(format!("{time}{host}").as_bytes()), snapshot)
    }

    fn paths(shelf: &Shelf, above: &str, into: &mut Vec<String>) {
        for (name, shelf) in &shelf.shelves {
            paths(shelf, &format!("{above}{name}/"), into);
        }
        for (name, item) in &shelf.items {
            let path = format!("{above}{name}");
            match item {
                Item::Snapshot { .. } => into.push(path),
                Item::Latest { target, .. } => {
                    into.push(format!("{path} -> {}", String::from_utf8_lossy(target)));
                }
            }
        }
    }

    #[test]
    fn snapshots_stand_where_restic_puts_them() {
        let first = snapshot("2026-11-22T10:00:00.25+01:00", "web", &["a", "b"]);
        let second = snapshot("2026-11-22T10:00:00.75+01:00", "web", &[]);
        let mut found = Vec::new();
        paths(&Shelf::of(&[first.clone(), second.clone()]), "", &mut found);
        let mut expected = vec![
            "hosts/web/2026-11-22T10:00:00+01:00".to_owned(),
            "hosts/web/2026-11-22T10:00:00+01:00-1".into(),
            "hosts/web/latest -> 2026-11-22T10:00:00+01:00-1".into(),
            format!("ids/{}", first.0.short()),
            format!("ids/{}", second.0.short()),
            "snapshots/2026-11-22T10:00:00+01:00".into(),
            "snapshots/2026-11-22T10:00:00+01:00-1".into(),
            "snapshots/latest -> 2026-11-22T10:00:00+01:00-1".into(),
            "tags/a/2026-11-22T10:00:00+01:00".into(),
            "tags/a/latest -> 2026-11-22T10:00:00+01:00".into(),
            "tags/b/2026-11-22T10:00:00+01:00".into(),
            "tags/b/latest -> 2026-11-22T10:00:00+01:00".into(),
        ];
        expected.sort();
        found.sort();
        assert_eq!(found, expected);
        let mut none = Vec::new();
        paths(&Shelf::of(&[]), "", &mut none);
        assert!(none.is_empty());
        assert_eq!(Shelf::of(&[]).shelves.len(), 4);
    }

    #[test]
    fn a_host_or_tag_with_a_hostile_name_stays_on_its_shelf() {
        let long = "x".repeat(400);
        let hostile = snapshot("2026-11-22T10:00:00Z", "../../etc", &["", ".", "..", "a/b", "n\0l", &long]);
        let shelves = Shelf::of(&[hostile]);
        let names = |top: &str| {
            let shelf = &shelves.shelves[&fit(top.as_bytes())];
            shelf.shelves.keys().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names("hosts"), [".._.._etc"]);
        assert_eq!(names("tags"), ["_", "__", "a_b", "n_l", &long[..255]]);
    }
}
