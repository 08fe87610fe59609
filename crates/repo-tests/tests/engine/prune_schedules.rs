//! Backups, a forget and a prune at the same time, in many orders. Every operation of the store waits for a
//! random time on a clock that is not real, so that a seed gives an order; whatever it is, completed
//! snapshots are whole. A few hundred orders by default, 100,000 with `RECOUP_TEST_FULL=1`.

use crate::kit;
use crate::prune::at_once;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use jiff::Timestamp;
use recoup_core::env::Entropy;
use recoup_core::{Kind, Result};
use recoup_repo::Id;
use recoup_repo::forget::{ForgetOptions, forget};
use recoup_repo::prune::{PruneOptions, Unused, prune};
use recoup_store::memory::Memory;
use recoup_store::{Capabilities, Key, Meta, Put, Store};
use recoup_testkit::env::{SeededEntropy, real};
use recoup_testkit::tree::{Flat, Tree, noise, seed};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Makes every operation wait first, and some of them afterwards too.
struct Slow {
    inner: Memory,
    random: Arc<SeededEntropy>,
    most_ms: u64,
}

impl std::fmt::Debug for Slow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Slow")
    }
}

fn draw(random: &SeededEntropy) -> u64 {
    let mut bytes = [0; 8];
    random.fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

impl Slow {
    fn over(inner: &Memory, seed: u64) -> Arc<dyn Store> {
        let random = SeededEntropy::new(seed);
        let most_ms = [3, 40, 400][draw(&random) as usize % 3];
        Arc::new(Slow { inner: inner.clone(), random, most_ms })
    }

    async fn wait(&self) {
        let ms = draw(&self.random) % self.most_ms;
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

#[async_trait]
impl Store for Slow {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn put(&self, key: &Key, bytes: Bytes, mode: Put) -> Result<()> {
        self.wait().await;
        self.inner.put(key, bytes, mode).await?;
        self.wait().await;
        Ok(())
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Bytes> {
        self.wait().await;
        self.inner.get(key, range).await
    }

    async fn head(&self, key: &Key) -> Result<Option<Meta>> {
        self.wait().await;
        self.inner.head(key).await
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, Result<Meta>> {
        let prefix = prefix.to_owned();
        let listed = async move {
            self.wait().await;
            let listed: Vec<_> = self.inner.list(&prefix).collect().await;
            self.wait().await;
            stream::iter(listed)
        };
        stream::once(listed).flatten().boxed()
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.wait().await;
        self.inner.delete(key).await
    }

    async fn lock_until(&self, key: &Key, until: Timestamp) -> Result<()> {
        self.inner.lock_until(key, until).await
    }
}

/// A repository with three snapshots, the first of which is forgotten but not pruned, and what to back up.
struct Start {
    objects: BTreeMap<Key, Bytes>,
    snapshots: Vec<(Id, Id, Tree)>,
    trees: Vec<Tree>,
}

fn tree(n: u64) -> Tree {
    let piece = |of: u64| noise(of, 3000 + 100 * of as usize);
    let tree =
        Tree::new().file("all", piece(100)).file("dir/one", piece(n % 3)).file("dir/two", piece(n % 5));
    tree.file("own", piece(n))
}

async fn start() -> Start {
    let memory = Memory::new();
    let repo = kit::init(Arc::new(memory.clone()), &real()).await.unwrap();
    let mut snapshots = Vec::new();
    for n in 0..4 {
        let made = kit::backup(&repo, &tree(n), None).await.unwrap();
        snapshots.push((made.snapshot, made.tree, tree(n)));
    }
    forget(&repo, &[snapshots.remove(0).0], ForgetOptions::default()).await.unwrap();
    // The first is what was just forgotten: its data is there and waits for the prune.
    Start { objects: memory.objects(), snapshots, trees: vec![tree(0), tree(7), tree(10)] }
}

/// Locked out is an honest answer.
fn allowed<T>(result: Result<T>, what: &str) -> Option<T> {
    match result {
        Ok(done) => Some(done),
        Err(err) if err.kind() == Kind::Locked => None,
        Err(err) => panic!("{what}: {err:?}"),
    }
}

async fn writer(memory: Memory, tree: Tree, seed: u64) -> Option<(Id, Flat)> {
    use recoup_repo::Snapshot;
    use recoup_repo::write::{WriteOptions, Writer};
    let repo = kit::open(Slow::over(&memory, seed), &real()).await.unwrap();
    let options = WriteOptions {
        threads: Some(1),
        uploads: 1,
        lock_wait: Duration::from_secs(3600),
        ..WriteOptions::default()
    };
    let mut writer = allowed(Writer::begin(&repo, options).await, "begin")?;
    let report = writer.tree(tree.folder(), None, "shop/media").await.unwrap();
    let snapshot = Snapshot::new(repo.env(), report.tree, vec!["/shop/media".into()]);
    writer.snapshot(snapshot).await.unwrap();
    writer.finish().await.unwrap();
    Some((report.tree, tree.flat()))
}

async fn pruner(memory: Memory, seed: u64) -> bool {
    let repo = kit::open(Slow::over(&memory, seed), &real()).await.unwrap();
    let keep_delete = Duration::from_secs(if seed.is_multiple_of(2) { 0 } else { 3600 });
    let max_unused = if seed.is_multiple_of(3) { Unused::Unlimited } else { Unused::Bytes(0) };
    let lock_wait = Duration::from_secs(if seed.is_multiple_of(5) { 0 } else { 3600 });
    let options = PruneOptions { keep_delete, max_unused, lock_wait, ..PruneOptions::default() };
    allowed(prune(&repo, &options).await, "prune").is_some()
}

/// One order. Gives how many of the pruners and the writers came through.
async fn schedule(start: &Start, seed: u64) -> (usize, usize) {
    let memory = Memory::from_objects(start.objects.clone());
    let random = SeededEntropy::new(seed);
    let next = || draw(&random);
    let (forgotten, tree, _) = start.snapshots[next() as usize % 2];
    let forgetter = {
        let (memory, seed) = (memory.clone(), next());
        async move {
            let repo = kit::open(Slow::over(&memory, seed), &real()).await.unwrap();
            let options = ForgetOptions { lock_wait: Duration::from_secs(60), ..ForgetOptions::default() };
            allowed(forget(&repo, &[forgotten], options).await, "forget").is_some()
        }
    };
    let writers =
        [0, 1].map(|n| writer(memory.clone(), start.trees[(n + next() as usize) % 3].clone(), next()));
    let [one, two] = writers;
    let (first, second) = (pruner(memory.clone(), next()), pruner(memory.clone(), next()));
    let (one, two, first, second, forgot) = tokio::join!(one, two, first, second, forgetter);
    let repo = kit::open(Arc::new(memory), &real()).await.unwrap();
    let whole = async |about: &str| {
        let old = start.snapshots.iter().filter(|(id, _, _)| !forgot || *id != forgotten);
        let old = old.map(|(_, tree, content)| (*tree, content.flat()));
        for (root, flat) in old.chain(one.clone()).chain(two.clone()) {
            let complaint = kit::restore_complaint(&repo, root, &flat).await;
            assert_eq!(complaint, "", "seed {seed}, {about}, forgotten {tree}");
        }
    };
    whole("afterwards").await;
    prune(&repo, &at_once()).await.unwrap();
    whole("after another prune").await;
    (usize::from(first) + usize::from(second), usize::from(one.is_some()) + usize::from(two.is_some()))
}

#[tokio::test(start_paused = true)]
async fn rows_45_46_trap_40_backups_and_prunes_in_any_order_lose_nothing() {
    let seed = seed();
    let count = if std::env::var_os("RECOUP_TEST_FULL").is_some() { 100_000 } else { 200 };
    let start = start().await;
    let (mut pruned, mut written) = (0, 0);
    for n in 0..count {
        let (some, others) = schedule(&start, seed.wrapping_add(n)).await;
        pruned += some;
        written += others;
    }
    eprintln!("{count} orders, {pruned} prunes and {written} backups came through, nothing lost");
    assert!(pruned > count as usize && written > count as usize);
}
