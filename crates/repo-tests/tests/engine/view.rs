//! Snapshots as a file system: what is seen is what a restore gives, whatever the repository claims.

use crate::kit;
use bytes::Bytes;
use jiff::Timestamp;
use recoup_core::Kind;
use recoup_core::entry::{Entry, EntryKind};
use recoup_core::env::Env;
use recoup_core::event::Event;
use recoup_core::name::{NodeName, TreePath};
use recoup_repo::repository::{Repository, SnapshotFilter};
use recoup_repo::view::{Attributes, ROOT, View, ViewOptions};
use recoup_repo::{BlobKind, Id, Limits, ObjectKind, Snapshot, layout};
use recoup_store::Store;
use recoup_store::memory::Memory;
use recoup_testkit::env::{Recorder, real, scripted};
use recoup_testkit::evil::{Evil, dir, file, symlink};
use recoup_testkit::faulty::flip;
use recoup_testkit::restored::differences;
use recoup_testkit::tree::{Flat, Tree, noise, seed};
use std::sync::Arc;
use std::time::Duration;

async fn view(repo: &Repository) -> View {
    View::new(repo, ViewOptions::default()).await.unwrap()
}

/// Follows `path` from the top and keeps every reference.
async fn walk(view: &View, path: &str) -> Option<Attributes> {
    let mut at = view.attributes(ROOT).await.unwrap();
    for name in path.split('/') {
        at = view.lookup(at.number, name.as_bytes()).await.unwrap()?;
    }
    Some(at)
}

/// The newest snapshot, by the link that leads to it.
async fn newest(view: &View) -> u64 {
    let link = walk(view, "snapshots/latest").await.unwrap();
    let target = String::from_utf8(view.target(link.number).unwrap()).unwrap();
    walk(view, &format!("snapshots/{target}")).await.unwrap().number
}

async fn names(view: &View, number: u64) -> Vec<String> {
    view.list(number).await.unwrap().iter().map(|listed| listed.name.to_string()).collect()
}

fn entry(name: NodeName, a: &Attributes, xattrs: Vec<recoup_core::entry::Xattr>) -> Entry {
    let mut entry = Entry::plain(name, a.kind.clone(), a.mode, a.mtime);
    (entry.uid, entry.gid, entry.inode, entry.links) = (a.uid, a.gid, a.number, a.links);
    entry.size = if a.kind == EntryKind::File { a.size } else { 0 };
    entry.xattrs = xattrs;
    entry
}

/// Everything beneath `root`, read in requests of `step` bytes.
async fn seen(view: &View, root: u64, step: usize) -> Flat {
    let mut flat = Flat::new();
    let mut todo = vec![(TreePath::root(), root)];
    while let Some((above, number)) = todo.pop() {
        for listed in view.list(number).await.unwrap() {
            let found = view.lookup(number, listed.name.as_bytes()).await.unwrap().unwrap();
            assert_eq!((found.number, &found.kind), (listed.number, &listed.kind), "{}", listed.name);
            let path = above.join(&listed.name);
            let mut bytes = Vec::new();
            if found.kind == EntryKind::File {
                loop {
                    let more = view.read(found.number, bytes.len() as u64, step).await.unwrap();
                    bytes.extend_from_slice(&more);
                    if more.len() < step {
                        break;
                    }
                }
            } else if found.kind == EntryKind::Dir {
                todo.push((path.clone(), found.number));
            }
            let xattrs = view.xattrs(found.number).unwrap();
            flat.insert(path, (entry(listed.name, &found, xattrs), bytes));
        }
    }
    flat
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_seen_is_what_a_restore_gives() {
    let seed = seed();
    let repo = kit::init(Arc::new(Memory::new()), &real()).await.unwrap();
    let tree = Tree::random(seed, 40)
        .file("large", noise(seed, 3_000_000))
        .file("zeros", vec![0; 2_000_000])
        .file("empty", "")
        .symlink("link", "../any\u{0}where".as_bytes()[..6].to_vec())
        .fifo("pipe")
        .file("one", "two names")
        .hard_link("d/other", "one");
    let backup = kit::backup(&repo, &tree, None).await.unwrap();
    let (_, restored) = kit::restore_tree(&repo, backup.tree).await.unwrap();
    let view = view(&repo).await;
    let root = newest(&view).await;
    for step in [100_000, 131_072, 5_000_000] {
        let seen = seen(&view, root, step).await;
        assert_eq!(differences(&restored.flat(), &seen), "", "in steps of {step}, seed {seed}");
        let inode = |name: &str| seen[&TreePath::parse(name.as_bytes()).unwrap()].0.inode;
        assert_eq!(inode("one"), inode("d/other"), "two names of one file have one number");
        assert_ne!(inode("one"), inode("large"));
    }
    let large = view.lookup(root, b"large").await.unwrap().unwrap();
    for (offset, length) in [(0, 1), (999_999, 1_000_001), (2_999_999, 10), (3_000_000, 10), (u64::MAX, 10)] {
        let read = view.read(large.number, offset, length).await.unwrap();
        let expected: Vec<u8> =
            noise(seed, 3_000_000).into_iter().skip(usize::try_from(offset).unwrap()).take(length).collect();
        assert!(read == expected, "{offset} {length}");
    }
}

#[tokio::test]
async fn the_same_snapshot_stands_on_every_shelf_it_belongs_to() {
    let repo = kit::init(Arc::new(Memory::new()), &real()).await.unwrap();
    let backup = kit::backup(&repo, &Tree::new().file("f", "x"), None).await.unwrap();
    let view = view(&repo).await;
    assert_eq!(names(&view, ROOT).await, ["hosts", "ids", "snapshots", "tags"]);
    let ids = walk(&view, "ids").await.unwrap().number;
    assert_eq!(names(&view, ids).await, [backup.snapshot.short()]);
    let hosts = walk(&view, "hosts/testhost").await.unwrap().number;
    let listed = names(&view, hosts).await;
    assert_eq!((listed.len(), listed[1].as_str()), (2, "latest"));
    for path in [format!("ids/{}/f", backup.snapshot.short()), format!("hosts/testhost/{}/f", listed[0])] {
        let found = walk(&view, &path).await.unwrap();
        assert_eq!(view.read(found.number, 0, 10).await.unwrap(), b"x", "{path}");
    }
    for path in ["nothing", "ids/00000000", "snapshots/latest/f/below", "tags/none"] {
        let found = if path.contains("below") { None } else { walk(&view, path).await };
        assert!(found.is_none(), "{path}");
    }
}

#[tokio::test]
async fn only_what_the_filter_means_is_shown_and_owners_are_those_that_were_asked_for() {
    let repo = kit::init(Arc::new(Memory::new()), &real()).await.unwrap();
    let mut tree = Tree::new().file("f", "x");
    tree.get_mut(b"f").unwrap().entry.uid = 1234;
    kit::backup(&repo, &tree, None).await.unwrap();
    let filter = |host: &str| SnapshotFilter { hosts: vec![host.into()], ..SnapshotFilter::default() };
    let options = ViewOptions { filter: filter("other"), ..ViewOptions::default() };
    let none = View::new(&repo, options).await.unwrap();
    assert!(names(&none, walk(&none, "snapshots").await.unwrap().number).await.is_empty());
    for (owner_of_all, shelf, stored) in [(None, 7, 1234), (Some((0, 0)), 0, 0)] {
        let options = ViewOptions { filter: filter("testhost"), owner: (7, 7), owner_of_all };
        let view = View::new(&repo, options).await.unwrap();
        let root = newest(&view).await;
        assert_eq!(view.attributes(root).await.unwrap().uid, shelf);
        assert_eq!(view.lookup(root, b"f").await.unwrap().unwrap().uid, stored);
    }
}

#[tokio::test]
async fn what_is_forgotten_takes_no_room() {
    let repo = kit::init(Arc::new(Memory::new()), &real()).await.unwrap();
    let tree = Tree::new().file("a", "x").hard_link("b", "a").dir("d");
    kit::backup(&repo, &tree, None).await.unwrap();
    let view = view(&repo).await;
    let root = newest(&view).await;
    let (a, b) = (view.lookup(root, b"a").await.unwrap(), view.lookup(root, b"b").await.unwrap());
    let number = a.unwrap().number;
    assert_eq!(number, b.unwrap().number);
    let before = view.referred();
    view.forget(number, 1);
    assert_eq!(view.read(number, 0, 9).await.unwrap(), b"x", "another name still refers to it");
    view.forget(number, 1);
    assert_eq!(view.referred(), before - 1);
    let unknown = view.read(number, 0, 9).await.unwrap_err();
    assert_eq!(unknown.kind(), Kind::NotFound);
}

#[tokio::test]
async fn new_snapshots_appear_and_forgotten_ones_go() {
    let memory = Memory::new();
    let (env, clock) = scripted("2026-01-01T00:00:00Z", 1);
    let repo = kit::init(Arc::new(memory.clone()), &env).await.unwrap();
    let view = view(&repo).await;
    let snapshots = walk(&view, "snapshots").await.unwrap().number;
    assert!(names(&view, snapshots).await.is_empty());
    // another process writes
    let other = kit::open(Arc::new(memory.clone()), &env).await.unwrap();
    let backup = kit::backup(&other, &Tree::new().file("f", "new"), None).await.unwrap();
    assert!(names(&view, snapshots).await.is_empty(), "it was just looked at");
    clock.advance(Duration::from_secs(11));
    let root = newest(&view).await;
    let found = view.lookup(root, b"f").await.unwrap().unwrap();
    assert_eq!(view.read(found.number, 0, 9).await.unwrap(), b"new", "its index was loaded too");
    memory.delete(&layout::key(ObjectKind::Snapshot, &backup.snapshot)).await.unwrap();
    clock.advance(Duration::from_secs(11));
    assert!(names(&view, snapshots).await.is_empty());
    assert_eq!(view.read(found.number, 0, 9).await.unwrap(), b"new", "what is open stays so");
}

#[tokio::test]
async fn a_snapshot_in_the_place_of_another_is_another_inode() {
    let memory = Memory::new();
    let (env, clock) = scripted("2026-01-01T00:00:00Z", 1);
    let repo = kit::init(Arc::new(memory.clone()), &env).await.unwrap();
    let first = kit::backup(&repo, &Tree::new().file("f", "first"), None).await.unwrap();
    let second = kit::backup(&repo, &Tree::new().file("f", "second"), None).await.unwrap();
    let view = view(&repo).await;
    let place = "snapshots/2026-01-01T00:00:00Z";
    let before = walk(&view, place).await.unwrap().number;
    let content = |number| {
        let view = &view;
        async move {
            let found = view.lookup(number, b"f").await.unwrap().unwrap();
            String::from_utf8(view.read(found.number, 0, 9).await.unwrap()).unwrap()
        }
    };
    let (gone, left) = match content(before).await.as_str() {
        "first" => (first, "second"),
        _ => (second, "first"),
    };
    memory.delete(&layout::key(ObjectKind::Snapshot, &gone.snapshot)).await.unwrap();
    clock.advance(Duration::from_secs(11));
    let after = walk(&view, place).await.unwrap().number;
    assert_ne!(before, after);
    assert_eq!(content(after).await, left);
}

/// A view that keeps what it says, over a repository whose pack of data blobs has a flipped bit.
async fn damaged(tree: &Tree, kind: BlobKind) -> (View, Arc<Recorder>) {
    let memory = Memory::new();
    let repo = kit::init(Arc::new(memory.clone()), &real()).await.unwrap();
    kit::backup(&repo, tree, None).await.unwrap();
    let index = repo.index().await.unwrap();
    let pack = index.by_pack().into_iter().find(|(_, blobs)| blobs[0].handle.kind == kind).unwrap().0;
    memory.tamper(&layout::key(ObjectKind::Pack, &pack), |bytes| Some(flip(&bytes.unwrap(), 800)));
    let told = Arc::new(Recorder::default());
    let env = Env { events: told.clone(), ..real() };
    (view(&kit::open(Arc::new(memory), &env).await.unwrap()).await, told)
}

fn findings(told: &Recorder) -> Vec<String> {
    let told = told.0.lock().unwrap();
    let found = told.iter().filter_map(|event| match event {
        Event::Finding(finding) => Some(format!("{} {}: {}", finding.id, finding.address, finding.message)),
        _ => None,
    });
    found.collect()
}

#[tokio::test]
async fn row_139_damage_is_an_error_and_never_zeros_and_is_told_once() {
    let (view, told) = damaged(&Tree::new().file("f", noise(3, 9_000_000)), BlobKind::Data).await;
    let root = newest(&view).await;
    let found = view.lookup(root, b"f").await.unwrap().unwrap();
    assert_eq!(found.size, 9_000_000);
    let (mut good, mut bad) = (0, 0);
    let expected = noise(3, 9_000_000);
    for _ in 0..2 {
        for at in (0..9_000_000).step_by(100_000) {
            match view.read(found.number, at, 100_000).await {
                Ok(bytes) => {
                    assert!(bytes == expected[at as usize..][..100_000], "at {at}");
                    good += 1;
                }
                Err(err) => {
                    assert_eq!(err.kind(), Kind::Corrupt, "{err}");
                    bad += 1;
                }
            }
        }
    }
    assert!(good > 0 && bad > 0, "{good} good, {bad} bad");
    let whole = view.read(found.number, 0, 9_000_000).await.unwrap_err();
    assert_eq!(whole.kind(), Kind::Corrupt);
    let told = findings(&told);
    assert!(
        told.len() == 1 && told[0].starts_with("E0432 /snapshots/") && told[0].contains("/f: "),
        "{told:?}"
    );
}

#[tokio::test]
async fn row_154_a_directory_that_cannot_be_read_is_an_error_and_not_an_empty_one() {
    let (view, told) = damaged(&Tree::new().file("d/f", "x"), BlobKind::Tree).await;
    let root = newest(&view).await;
    let mut failed = view.list(root).await.err();
    if failed.is_none() {
        let found = view.lookup(root, b"d").await.unwrap().unwrap();
        failed = view.list(found.number).await.err();
    }
    assert_eq!(failed.unwrap().kind(), Kind::Corrupt);
    assert_eq!(findings(&told).len(), 1, "{:?}", findings(&told));
}

/// A view of a hostile repository with one snapshot of `tree`, and the number of its root.
async fn hostile(mut evil: Evil, tree: Id) -> (View, u64, Arc<Recorder>) {
    evil.snapshot(tree);
    let store: Arc<dyn Store> = Arc::new(evil.finish());
    let told = Arc::new(Recorder::default());
    let env = Env { events: told.clone(), ..real() };
    let repo = Repository::open(store, &Evil::password(), Limits::default(), &env).await.unwrap();
    let view = view(&repo).await;
    let root = newest(&view).await;
    (view, root, told)
}

#[tokio::test]
async fn row_141_hostile_names_never_reach_the_kernel() {
    for name in
        ["../x", "/etc/passwd", "a/b", ".", "..", "", "nul\\u0000", "\\x00", "\\x2f", &"n".repeat(256)]
    {
        let mut evil = Evil::new();
        let good = evil.data(b"good");
        let tree = evil.tree(&[file(name, &[good], 4), file("good", &[good], 4)]);
        let (view, root, told) = hostile(evil, tree).await;
        assert_eq!(names(&view, root).await, ["good"], "{name:?}");
        for asked in [&b".."[..], b".", b"", b"a/b", b"/", b"\0", b"../x", b"/etc/passwd"] {
            assert!(view.lookup(root, asked).await.unwrap().is_none(), "{name:?} {asked:?}");
        }
        let told = findings(&told);
        assert!(told.len() == 1 && told[0].starts_with("E0405 /snapshots/"), "{name:?}: {told:?}");
    }
}

#[tokio::test]
async fn rows_143_144_sizes_come_from_content_and_not_from_claims() {
    let mut evil = Evil::new();
    let good = evil.data(b"good");
    let lost = Id::of(b"in no pack");
    let tree = evil.tree(&[
        file("more", &[good], 1 << 40),
        file("less", &[good, good], 1),
        file("lost", &[good, lost, good], 12),
        symlink("link", "where"),
    ]);
    let (view, root, told) = hostile(evil, tree).await;
    for (name, content) in [(&b"more"[..], &b"good"[..]), (b"less", b"goodgood")] {
        let found = view.lookup(root, name).await.unwrap().unwrap();
        assert_eq!(found.size, content.len() as u64);
        assert_eq!(view.read(found.number, 0, 1 << 20).await.unwrap(), content);
    }
    let found = view.lookup(root, b"lost").await.unwrap().unwrap();
    assert_eq!(found.size, 12);
    assert_eq!(view.read(found.number, 0, 4).await.unwrap(), b"good");
    for (offset, length) in [(0, 12), (4, 1), (11, 1), (100, 1)] {
        let err = view.read(found.number, offset, length).await.unwrap_err();
        assert_eq!((err.kind(), err.stable_code()), (Kind::Corrupt, Some("E0432")), "{offset} {length}");
    }
    assert_eq!(findings(&told).len(), 1, "{:?}", findings(&told));
    let link = view.lookup(root, b"link").await.unwrap().unwrap();
    assert_eq!((link.size, view.target(link.number).unwrap()), (5, b"where".to_vec()));
}

#[tokio::test]
async fn row_153_what_only_claims_to_be_one_file_is_two() {
    let mut evil = Evil::new();
    let (a, b) = (evil.data(b"a"), evil.data(b"b"));
    let linked = |name: &str, content| {
        let mut node = file(name, &[content], 1);
        node["links"] = 2.into();
        node["inode"] = 7.into();
        node
    };
    let below = evil.tree(&[linked("z", a)]);
    let tree = evil.tree(&[linked("x", a), linked("y", b), dir("d", below)]);
    let (view, root, _) = hostile(evil, tree).await;
    let number = |name: &'static [u8]| {
        let view = &view;
        async move { view.lookup(root, name).await.unwrap().unwrap().number }
    };
    let (x, y, d) = (number(b"x").await, number(b"y").await, number(b"d").await);
    let z = view.lookup(d, b"z").await.unwrap().unwrap().number;
    assert!(x != y && x == z);
    assert_eq!(view.read(y, 0, 9).await.unwrap(), b"b");
}

#[tokio::test]
async fn row_147_a_blob_under_a_wrong_name_is_never_shown() {
    let mut evil = Evil::new();
    let named = evil.claim("data", Id::of(b"what was backed up"), b"something else....", None);
    let tree = evil.tree(&[file("f", &[named], 18)]);
    let (view, root, _) = hostile(evil, tree).await;
    let found = view.lookup(root, b"f").await.unwrap().unwrap();
    assert_eq!(view.read(found.number, 0, 18).await.unwrap_err().kind(), Kind::Corrupt);
}

#[tokio::test]
async fn row_030_one_damaged_snapshot_does_not_hide_the_others() {
    let memory = Memory::new();
    let repo = kit::init(Arc::new(memory.clone()), &real()).await.unwrap();
    let first = kit::backup(&repo, &Tree::new().file("f", "first"), None).await.unwrap();
    let second = kit::backup(&repo, &Tree::new().file("f", "second"), None).await.unwrap();
    memory.tamper(&layout::key(ObjectKind::Snapshot, &first.snapshot), |bytes: Option<Bytes>| {
        Some(flip(&bytes.unwrap(), 99))
    });
    let told = Arc::new(Recorder::default());
    let env = Env { events: told.clone(), ..real() };
    let view = view(&kit::open(Arc::new(memory), &env).await.unwrap()).await;
    let ids = walk(&view, "ids").await.unwrap().number;
    assert_eq!(names(&view, ids).await, [second.snapshot.short()]);
    assert!(findings(&told)[0].starts_with("E0437"), "{:?}", findings(&told));
}

#[tokio::test]
async fn times_before_1970_and_odd_modes_are_shown_as_they_are() {
    let repo = kit::init(Arc::new(Memory::new()), &real()).await.unwrap();
    let mut tree = Tree::new().file("old", "x");
    let node = tree.get_mut(b"old").unwrap();
    node.entry.mtime = "1950-01-01T00:00:00.5Z".parse::<Timestamp>().unwrap();
    node.entry.mode = 0o6751;
    kit::backup(&repo, &tree, None).await.unwrap();
    let view = view(&repo).await;
    let found = view.lookup(newest(&view).await, b"old").await.unwrap().unwrap();
    assert_eq!((found.mtime.to_string().as_str(), found.mode), ("1950-01-01T00:00:00.5Z", 0o6751));
    assert_eq!(Snapshot::new(repo.env(), Id::of(b"t"), Vec::new()).hostname, "testhost");
}
