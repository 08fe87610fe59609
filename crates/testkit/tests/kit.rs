//! The test kit does what the tests believe it does.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "test code may touch the world")]

use recoup_core::entry::{Body, Folder, Target};
use recoup_core::name::TreePath;
use recoup_store::memory::Memory;
use recoup_store::{Key, Put, Store};
use recoup_testkit::crash::every_crash;
use recoup_testkit::recording::{Recording, crash_states};
use recoup_testkit::restored::{Restored, differences};
use recoup_testkit::tree::{Content, Tree, seed};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::{Arc, Mutex};

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

/// Copies a folder into a target, the plainest way there is.
fn copy(folder: &dyn Folder, path: &TreePath, target: &dyn Target) {
    for item in folder.list().unwrap().items {
        let path = path.join(&item.entry.name);
        match item.body {
            Body::None => target.special(&path, &item.entry).unwrap(),
            Body::File(body) => {
                let mut bytes = Vec::new();
                body.open().unwrap().read_to_end(&mut bytes).unwrap();
                let file = target.begin_file(&path, &item.entry, bytes.len() as u64).unwrap();
                file.write_at(0, &bytes).unwrap();
                file.finish(&item.entry).unwrap();
            }
            Body::Folder(below) => {
                target.begin_dir(&path, &item.entry).unwrap();
                copy(&*below, &path, target);
                target.finish_dir(&path, &item.entry).unwrap();
            }
        }
    }
}

#[test]
fn a_copied_tree_shows_no_difference_and_a_changed_one_does() {
    let seed = seed();
    let tree = Tree::random(seed, 60).file("empty/in/dir", "x").dir("empty dir");
    let restored = Restored::new();
    copy(&tree, &TreePath::root(), &restored);
    assert_eq!(differences(&tree.flat(), &restored.flat()), "");
    assert_ne!(differences(&tree.changed(seed + 1).flat(), &restored.flat()), "");
    assert_eq!(tree, Tree::random(seed, 60).file("empty/in/dir", "x").dir("empty dir"));
}

#[test]
fn a_difference_in_one_byte_or_one_bit_of_mode_is_seen() {
    let tree = Tree::new().file("a", "text").hard_link("b", "a").symlink("c", "a").fifo("d");
    for spoil in 0..4 {
        let mut other = tree.clone();
        let node = other.get_mut(b"a").unwrap();
        match spoil {
            0 => node.content = Content::File(Arc::new(b"tExt".to_vec())),
            1 => node.entry.mode ^= 0o4000,
            2 => node.entry.mtime = jiff::Timestamp::UNIX_EPOCH,
            _ => node.entry.uid += 1,
        }
        assert_ne!(differences(&tree.flat(), &other.flat()), "", "change {spoil}");
    }
}

#[tokio::test]
async fn crash_states_hold_every_subset_of_what_was_in_flight() {
    let recording = Recording::new(Arc::new(Memory::new()));
    recording.put(&key("a"), "1".into(), Put::Create).await.unwrap();
    recording.mark("a is safe");
    let (b, c) = (key("b"), key("c"));
    let both = futures_util::future::join(
        recording.put(&b, "2".into(), Put::Create),
        recording.put(&c, "3".into(), Put::Create),
    );
    let (one, two) = both.await;
    one.and(two).unwrap();
    recording.delete(&key("a")).await.unwrap();
    let seen = Mutex::new(BTreeSet::new());
    let tried = every_crash(&BTreeMap::new(), &recording.log(), 1, |state| {
        let names: Vec<String> = state.objects().keys().map(Key::to_string).collect();
        assert!(!state.marks.is_empty() || names.len() <= 1);
        seen.lock().unwrap().insert(names.join(" "));
        async { Ok(()) }
    })
    .await
    .unwrap();
    assert_eq!(tried.prefixes, recording.log().len() + 1);
    let expected = ["", "a", "a b", "a c", "a b c", "b c"];
    let seen = seen.into_inner().unwrap();
    assert!(expected.iter().all(|names| seen.contains(*names)), "{seen:?}");
    let complaint =
        every_crash(&BTreeMap::new(), &recording.log(), 1, |_| async { Err("no".to_owned()) }).await;
    assert!(complaint.unwrap_err().ends_with(": no"));
    assert_eq!(crash_states(&BTreeMap::new(), &recording.log(), 1, 1).len(), 2);
}

#[test]
fn a_nasty_folder_can_be_made_and_read() {
    let dir = tempfile::tempdir().unwrap();
    recoup_testkit::on_disk::make_nasty(dir.path());
    recoup_testkit::on_disk::add_xattrs(dir.path());
    let flat = recoup_testkit::on_disk::flat(dir.path());
    assert!(flat.len() > 540, "{}", flat.len());
    assert_eq!(differences(&flat, &flat), "");
    let (entry, bytes) = &flat[&TreePath::parse(b"sparse").unwrap()];
    assert_eq!((entry.size, bytes.len()), (48 << 20, 48 << 20));
}
