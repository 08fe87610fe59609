//! `recoup repo` and Debian's restic 0.14 on one repository and one nasty folder.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests touch the world")]

mod common;

use common::World;
use recoup_core::entry::EntryKind;
use recoup_testkit::on_disk;
use recoup_testkit::restored::differences;
use serde_json::Value;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A world with a nasty folder `live`.
fn world() -> World {
    let world = World::with_repository();
    let live = world.path("live");
    std::fs::create_dir(&live).unwrap();
    on_disk::make_nasty(&live);
    on_disk::add_xattrs(&live);
    // Only root may; then owners are compared too.
    let _ = std::os::unix::fs::chown(live.join("large"), Some(1234), Some(4321));
    // restic 0.14 cannot keep a link whose target is not UTF-8; later versions and recoup can.
    for (path, (entry, _)) in on_disk::flat(&live) {
        if matches!(&entry.kind, EntryKind::Symlink { target } if std::str::from_utf8(target).is_err()) {
            std::fs::remove_file(live.join(OsStr::from_bytes(&path.to_bytes()))).unwrap();
        }
    }
    world
}

/// The tree of the newest snapshot.
fn newest_tree(world: &World) -> String {
    let listed = world.restic(["snapshots", "--json", "--no-cache"]).expect_code(0).json();
    let newest = listed.as_array().unwrap().iter().max_by_key(|s| s["time"].as_str().unwrap().to_owned());
    newest.unwrap()["tree"].as_str().unwrap().to_owned()
}

/// The id of the directory `path` beneath `tree`. What lies above may have changed between two backups.
fn subtree(world: &World, tree: &str, path: &Path) -> String {
    path.iter().filter(|part| *part != "/").fold(tree.to_owned(), |tree, part| {
        let json = world.restic(["cat", "blob", &tree, "--no-cache"]).expect_code(0).json();
        let nodes: &Vec<Value> = json["nodes"].as_array().unwrap();
        let node = nodes.iter().find(|n| n["name"].as_str() == part.to_str()).expect("the directory");
        node["subtree"].as_str().unwrap().to_owned()
    })
}

/// What differs between two trees, for the message of a failure.
fn first_difference(world: &World, ours: &str, theirs: &str) -> String {
    let mut todo = vec![(ours.to_owned(), theirs.to_owned(), String::new())];
    while let Some((ours, theirs, path)) = todo.pop() {
        let nodes = |id: &str| -> Vec<Value> {
            let json = world.restic(["cat", "blob", id, "--no-cache"]).expect_code(0).json();
            json["nodes"].as_array().unwrap().clone()
        };
        let (ours, theirs) = (nodes(&ours), nodes(&theirs));
        for (a, b) in ours.iter().zip(&theirs).filter(|(a, b)| a != b) {
            let path = format!("{path}/{}", a["name"].as_str().unwrap());
            match (a["subtree"].as_str(), b["subtree"].as_str()) {
                (Some(x), Some(y)) if x != y => todo.push((x.to_owned(), y.to_owned(), path)),
                _ => return format!("{path}:\nrecoup {a}\nrestic {b}"),
            }
        }
        if ours.len() != theirs.len() {
            return format!("{path}: {} entries and {}", ours.len(), theirs.len());
        }
    }
    "the same nodes in other bytes".to_owned()
}

fn assert_same(world: &World, ours: &str, theirs: &str) {
    assert!(ours == theirs, "{}", first_difference(world, ours, theirs));
}

#[test]
fn one_folder_has_one_tree_whoever_backs_it_up() {
    let world = world();
    world.repo(["backup", "live"]).expect_code(0);
    let ours = newest_tree(&world);
    world.restic(["backup", "live", "--no-cache"]).expect_code(0);
    assert_same(&world, &ours, &newest_tree(&world));
    // And again, when each takes unchanged files from a parent.
    std::fs::write(world.path("live/new"), "new").unwrap();
    world.repo(["backup", "live"]).expect_code(0);
    let ours = newest_tree(&world);
    world.restic(["backup", "live", "--no-cache"]).expect_code(0);
    assert_same(&world, &ours, &newest_tree(&world));
    world.restic(["check", "--read-data", "--no-cache"]).expect_code(0);
}

#[test]
fn an_absolute_path_has_the_same_tree_too() {
    let world = world();
    let live = world.path("live");
    world.restic([OsStr::new("backup"), live.as_os_str(), "--no-cache".as_ref()]).expect_code(0);
    let theirs = subtree(&world, &newest_tree(&world), &live);
    world.repo([OsStr::new("backup"), live.as_os_str()]).expect_code(0);
    let ours = subtree(&world, &newest_tree(&world), &live);
    assert_same(&world, &ours, &theirs);
}

#[test]
fn each_restores_what_the_other_wrote() {
    let world = world();
    let before = on_disk::flat(&world.path("live"));
    world.repo(["backup", "live"]).expect_code(0);
    world.restic(["restore", "latest", "--target", "by-restic", "--no-cache"]).expect_code(0);
    assert_eq!(differences(&before, &on_disk::flat(&world.path("by-restic/live"))), "");
    world.restic(["backup", "live", "--no-cache"]).expect_code(0);
    world.repo(["restore", "latest", "--target", "by-recoup", "--allow-special"]).expect_code(0);
    assert_eq!(differences(&before, &on_disk::flat(&world.path("by-recoup/live"))), "");
    world.repo(["check", "--read-data"]).expect_code(0);
    let (first, second) = (hard_links(&world.path("live")), hard_links(&world.path("by-recoup/live")));
    assert_eq!(first, second, "names of one file are names of one file again");
    let sparse = std::os::unix::fs::MetadataExt::blocks(
        &std::fs::metadata(world.path("by-recoup/live/sparse")).unwrap(),
    );
    assert!(sparse * 512 < 4 << 20, "holes are holes again: {} bytes are taken", sparse * 512);
}

fn hard_links(root: &Path) -> Vec<u64> {
    on_disk::flat(root).values().filter(|(e, _)| e.kind == EntryKind::File).map(|(e, _)| e.links).collect()
}
