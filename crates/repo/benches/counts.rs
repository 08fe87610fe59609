//! The hot loops and a small backup, for counting instructions: `counts CASE TIMES` does CASE TIMES times,
//! `counts list` names the cases. It never measures anything itself; `cargo xtask counts` does, under valgrind.
//!
//! Everything is the same in every run: data from fixed seeds, a clock that stands still, one thread that
//! works. The difference between two numbers of times is the cost of one, without what prepares it.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs,
    reason = "a program for one tool"
)]

use recoup_core::entry::{Entry, EntryKind};
use recoup_core::env::Env;
use recoup_core::name::NodeName;
use recoup_core::secret::Secret;
use recoup_repo::chunk::{Chunker, Rabin, RabinTables};
use recoup_repo::compress::Compressor;
use recoup_repo::crypto::MasterKey;
use recoup_repo::index::{IndexBuilder, IndexFile, IndexPack};
use recoup_repo::keyfile::PasswordStrength;
use recoup_repo::pack::{PackEntry, size_of};
use recoup_repo::read::{RestoreOptions, restore};
use recoup_repo::repository::{InitOptions, Repository};
use recoup_repo::write::{WriteOptions, Writer};
use recoup_repo::{BlobHandle, Id, Limits, Node, Snapshot, Tree};
use recoup_store::Store;
use recoup_store::memory::Memory;
use recoup_testkit::env::scripted;
use recoup_testkit::restored::Restored;
use recoup_testkit::synthetic::Synthetic;
use recoup_testkit::tree::dated;
use std::hint::black_box;
use std::sync::Arc;

const POLYNOMIAL: u64 = 0x003d_a335_8b4d_c173;
const MIB: usize = 1 << 20;
/// Tiny files of a backup.
const FILES: u64 = 2000;

type Case = fn(usize);
const CASES: [(&str, Case); 10] = [
    ("cut_8_mib", cut),
    ("seal_1_mib", seal),
    ("open_1_mib", open),
    ("compress_1_mib", compress),
    ("tree_encode_1000", tree_encode),
    ("tree_decode_1000", tree_decode),
    ("index_lookup_100000", lookup),
    ("backup_2000", backup),
    ("backup_same_2000", backup_same),
    ("restore_2000", restore_all),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [name, times] => {
            let (_, case) = CASES.iter().find(|(known, _)| known == name).expect("a known case");
            case(times.parse().expect("a number"));
        }
        _ => CASES.iter().for_each(|(name, _)| println!("{name}")),
    }
}

fn world() -> Env {
    let (mut env, _) = scripted("2026-01-02T03:04:05Z", 7);
    env.host.pid = 4711;
    env
}

/// Bytes that do not compress. Made here, since the generators of the tests are built without optimisation.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed;
    let mut word = || {
        // Knuth's constants for MMIX; the upper half is good enough.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    };
    (0..bytes / 4).flat_map(|_| word().to_le_bytes()).collect()
}

fn cut(times: usize) {
    let bytes = noise(1, 8 * MIB);
    let tables = RabinTables::new(POLYNOMIAL);
    for _ in 0..times {
        let mut chunker = Rabin::new(&tables);
        let mut rest = bytes.as_slice();
        while let Some(length) = chunker.cut(black_box(rest)) {
            rest = &rest[length..];
        }
        black_box(rest);
    }
}

fn seal(times: usize) {
    let env = world();
    let (key, plain) = (MasterKey::random(&env), noise(2, MIB));
    let mut out = Vec::with_capacity(2 * MIB);
    for _ in 0..times {
        out.clear();
        key.seal_into(&env, black_box(&plain), &mut out);
    }
    black_box(out);
}

fn open(times: usize) {
    let env = world();
    let key = MasterKey::random(&env);
    let sealed = key.seal(&env, &noise(3, MIB));
    for _ in 0..times {
        black_box(key.open_in_place(&mut black_box(sealed.clone())).unwrap());
    }
}

fn compress(times: usize) {
    let plain: Vec<u8> = (0u32..)
        .flat_map(|n| format!("line {}\n", n.wrapping_mul(2_654_435_761) >> 20).into_bytes())
        .take(MIB)
        .collect();
    let mut zstd = Compressor::new().unwrap();
    for _ in 0..times {
        black_box(zstd.shrink(black_box(&plain)).unwrap());
    }
}

fn a_tree() -> Tree {
    let node = |n: u32| {
        let name = NodeName::new(format!("file-{n:05}.txt").into_bytes()).unwrap();
        let mut entry = Entry::plain(name, EntryKind::File, 0o644, dated());
        (entry.inode, entry.size, entry.user) = (u64::from(n) + 1, 1234, "somebody".into());
        Node::file(entry, vec![Id::of(&n.to_le_bytes())])
    };
    Tree::new((0..1000).map(node).collect())
}

fn tree_encode(times: usize) {
    let (env, tree) = (world(), a_tree());
    for _ in 0..times {
        black_box(black_box(&tree).encode(&env.zone).unwrap());
    }
}

fn tree_decode(times: usize) {
    let json = a_tree().encode(&world().zone).unwrap();
    for _ in 0..times {
        black_box(Tree::decode(black_box(&json)).unwrap());
    }
}

fn lookup(times: usize) {
    let id = |n: u32| Id::from_bytes(*noise(n.into(), 32).first_chunk().unwrap());
    let pack = |p: u32| {
        let entry = |n| PackEntry {
            handle: BlobHandle::data(id(p * 1000 + n)),
            offset: n * 100,
            length: 100,
            uncompressed: Some(200),
        };
        IndexPack { id: Id::of(&[p as u8; 8]), blobs: (0..1000).map(entry).collect() }
    };
    let packs: Vec<IndexPack> = (0..20).map(pack).collect();
    let sizes = packs.iter().map(|pack| (pack.id, size_of(&pack.blobs))).collect();
    let mut builder = IndexBuilder::default();
    builder.add(IndexFile { packs });
    let index = builder.finish(&sizes);
    // Every fifth is known.
    let wanted: Vec<BlobHandle> = (0..100_000).map(|n| BlobHandle::data(id(n))).collect();
    for _ in 0..times {
        let known = wanted.iter().filter(|handle| index.has(handle)).count();
        assert_eq!(black_box(known), 20_000);
    }
}

/// Runs a future on one thread.
fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

async fn fresh() -> Repository {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let options = InitOptions { password_strength: PasswordStrength::Generated, ..InitOptions::default() };
    Repository::init(store, &Secret::new("a password".into()), &options, &world()).await.unwrap()
}

/// Backs up the tree of `seed`; gives its id.
async fn back_up(repo: &Repository, seed: u64, parent: Option<Id>) -> Id {
    let options = WriteOptions { threads: Some(1), ..WriteOptions::default() };
    let mut writer = Writer::begin(repo, options).await.unwrap();
    let tree = Synthetic { files: FILES, bytes: 64, seed };
    let report = writer.tree(tree.folder(), parent, "bench/many").await.unwrap();
    writer.snapshot(Snapshot::new(repo.env(), report.tree, vec!["/many".into()])).await.unwrap();
    writer.finish().await.unwrap();
    report.tree
}

fn backup(times: usize) {
    wait(async {
        for _ in 0..times {
            back_up(&fresh().await, 1, None).await;
        }
    });
}

fn backup_same(times: usize) {
    wait(async {
        let repo = fresh().await;
        let tree = back_up(&repo, 1, None).await;
        for _ in 0..times {
            assert_eq!(back_up(&repo, 1, Some(tree)).await, tree);
        }
    });
}

fn restore_all(times: usize) {
    wait(async {
        let repo = fresh().await;
        let tree = back_up(&repo, 1, None).await;
        let password = Secret::new("a password".into());
        for _ in 0..times {
            // Opened again, so that nothing is remembered.
            let store = Arc::clone(repo.store());
            let repo = Repository::open(store, &password, Limits::default(), &world()).await.unwrap();
            let report =
                restore(&repo, tree, &RestoreOptions::default(), Restored::new().target()).await.unwrap();
            assert!(report.errors.is_empty());
        }
    });
}
