//! One suite for every source. A case says how to make, change and spoil its live data; the suite
//! says what every kind must keep. It changes only what the case made.

pub use crate::pour::pour;

use crate::artifact::{Capture, Check, Facts, Proof};
use crate::files::beneath::{Beneath, BeneathOptions};
use crate::source::{CaptureContext, Source};
use recoup_core::env::Env;
use recoup_core::event::Outcome;
use recoup_core::{Error, Kind, Result};
use std::path::{Path, PathBuf};

/// One kind of live data in the hands of the suite.
pub trait Case: Send + Sync {
    /// The source under test. Its live data exists.
    fn source(&self) -> Box<dyn Source>;
    /// The content of the live data, as text to compare. It may open it, and closes it again.
    fn content(&self) -> String;
    /// Changes the live data so that `content` differs.
    fn change(&self);
    /// Damages restored data so that its loss would matter.
    fn spoil(&self, restored: &Path);
    /// Empties the live data as an accident would, and leaves it in place.
    fn empty(&self);
    /// Takes the live data away.
    fn remove(&self);
}

/// Runs everything; `room` is an empty directory on the file system of the live data.
///
/// # Errors
/// `Kind::Bug` naming the first rule that was broken, or the error of the source itself.
pub async fn suite(case: &dyn Case, env: &Env, room: &Path) -> Result<()> {
    let run = Suite { source: case.source(), case, env, room };
    let facts = run.capture_and_prove().await?;
    run.switch_and_back(&facts).await?;
    run.emptied_and_missing(&facts).await
}

struct Suite<'a> {
    source: Box<dyn Source>,
    case: &'a dyn Case,
    env: &'a Env,
    room: &'a Path,
}

impl Suite<'_> {
    fn must(&self, holds: bool, rule: &str) -> Result<()> {
        if holds { Ok(()) } else { Err(Error::bug(format!("{}: {rule}", self.source.kind()))) }
    }

    async fn capture_and_prove(&self) -> Result<Facts> {
        self.must(
            self.source.describe(self.env).await?.exists,
            "live data that is there is described as there",
        )?;
        let before = self.case.content();
        let first = self.room.join("first");
        let proof = self.round(&first, None).await?;
        self.must(proof.complete && proof.why.is_none(), "a capture of good data is complete")?;
        self.must(self.case.content() == before, "a capture changes nothing")?;
        let checks = self.source.prove(&first, &proof.facts, self.env).await?;
        self.must(!checks.is_empty() && checks.iter().all(passed), "what was captured passes its checks")?;
        let again = self.source.prove(&first, &proof.facts, self.env).await?;
        self.must(again == checks, "checking changes nothing, so it can be repeated")?;
        let unknown = self.source.prove(&first, &Facts::new(), self.env).await?;
        self.must(!unknown.iter().all(passed), "without facts something stays unknown")?;
        let second = self.room.join("second");
        let next = self.round(&second, Some(&proof.facts)).await?;
        self.must(next.complete, "a second capture of the same data is complete")?;
        self.case.spoil(&second);
        let spoiled = self.source.prove(&second, &proof.facts, self.env).await?;
        self.must(spoiled.iter().any(|c| c.outcome == Outcome::Fail), "spoiled data fails a check")?;
        let said = spoiled.iter().filter(|c| c.outcome == Outcome::Fail).all(|c| c.finding.is_some());
        self.must(said, "a failed check has a finding")?;
        Ok(proof.facts)
    }

    async fn switch_and_back(&self, facts: &Facts) -> Result<()> {
        let (restored, keep) = (self.room.join("first"), self.source.keep_path("conformance"));
        let captured = self.case.content();
        self.case.change();
        let changed = self.case.content();
        self.must(changed != captured, "the case changes its data")?;
        self.must(self.source.holders().await?.holders.is_empty(), "nobody holds the data of the case")?;
        for _ in 0..2 {
            self.source.switch(&restored, &keep, self.env).await?;
            self.must(
                self.case.content() == captured,
                "after a switch the restored data is live, however often it runs",
            )?;
        }
        for _ in 0..2 {
            self.source.switch_back(&restored, &keep, self.env).await?;
            self.must(
                self.case.content() == changed,
                "after switching back the old data is live, however often it runs",
            )?;
        }
        let nothing = self.source.switch_back(&restored, &self.room.join("never"), self.env).await;
        self.must(
            nothing.is_err_and(|e| e.kind() == Kind::NotFound),
            "there is no way back to what was not kept",
        )?;
        let third = self.room.join("third");
        let proof = self.round(&third, Some(facts)).await?;
        self.must(proof.complete, "what is live after a switch can be captured")
    }

    async fn emptied_and_missing(&self, facts: &Facts) -> Result<()> {
        self.case.empty();
        let proof = self.round(&self.room.join("fourth"), Some(facts)).await?;
        self.must(
            !proof.complete && proof.why.is_some(),
            "data that is suddenly gone does not count, and it is said why",
        )?;
        self.case.remove();
        self.must(!self.source.describe(self.env).await?.exists, "missing data is described as missing")?;
        let missing = self.round(&self.room.join("fifth"), Some(facts)).await;
        self.must(missing.is_err_and(|e| e.stable_code().is_some()), "missing data is an error with a code")
    }

    /// A capture, read into `to`, and judged.
    async fn round(&self, to: &Path, previous: Option<&Facts>) -> Result<Proof> {
        let scratch = tempfile::tempdir_in(self.room).map_err(|e| Error::io("make room for a capture", e))?;
        let path: PathBuf = scratch.path().to_path_buf();
        let context = CaptureContext { env: self.env, address: "app/case", scratch: &path, previous };
        let Capture { folder, after, .. } = self.source.capture(&context).await?;
        let target = Beneath::open(to, BeneathOptions::default())?;
        let counts = pour(folder.as_ref(), &target)?;
        target.finish_all()?;
        drop(folder);
        let proof = after.settle(counts);
        let left =
            std::fs::read_dir(&path).map_err(|e| Error::io("look into a scratch directory", e))?.count();
        self.must(left == 0, "private copies are gone when the capture was judged")?;
        Ok(proof)
    }
}

fn passed(check: &Check) -> bool {
    check.outcome == Outcome::Pass
}
