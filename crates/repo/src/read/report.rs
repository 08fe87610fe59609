//! What a restore did, and where it could not.

use super::delta::How;
use recoup_core::entry::PathProblem;
use recoup_core::name::TreePath;
use std::collections::HashSet;

/// What a restore did. Nothing is missing exactly if `errors` is empty (I5).
#[derive(Debug, Default)]
pub struct RestoreReport {
    /// Files that are there as the snapshot has them, further names of a file included.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Links, devices and pipes.
    pub others: u64,
    /// Bytes of content, holes included.
    pub bytes: u64,
    /// Of these, what was not at the target and came from the repository.
    pub bytes_fetched: u64,
    /// Of these, what stood at the target already, was compared by its hash or by size and time, and stays.
    pub bytes_kept: u64,
    /// Files, links, devices and pipes where nothing stood.
    pub created: u64,
    /// The same where something else stood.
    pub replaced: u64,
    /// Files whose content stood there already.
    pub unchanged: u64,
    /// Of these, what an earlier run that was stopped had finished.
    pub resumed: u64,
    /// What the policy of the target left as it was. It is not compared with the snapshot.
    pub left: u64,
    /// What was deleted since the snapshot does not have it; what would be deleted, in a dry run.
    pub deleted: Vec<TreePath>,
    /// Files that were read back from the target, if that was asked for.
    pub verified: u64,
    /// The restore came to its end, though not necessarily without errors.
    pub complete: bool,
    /// What was left, so that it is not read back as if it were ours.
    pub(super) left_paths: HashSet<TreePath>,
    /// Entries that are not there, or not whole, and why.
    pub errors: Vec<PathProblem>,
    /// What is worth knowing and takes nothing away.
    pub warnings: Vec<PathProblem>,
}

impl RestoreReport {
    pub(super) fn came(&mut self, is_new: bool) {
        if is_new {
            self.created += 1;
        } else {
            self.replaced += 1;
        }
    }

    pub(super) fn left(&mut self, path: TreePath) {
        self.left += 1;
        self.left_paths.insert(path);
    }

    /// A file is there, of which `kept` bytes had been there before.
    pub(super) fn whole(&mut self, bytes: u64, kept: u64) {
        self.files += 1;
        self.bytes += bytes;
        self.bytes_kept += kept;
        self.bytes_fetched += bytes.saturating_sub(kept);
    }

    /// A file that nothing is written to.
    pub(super) fn settled(&mut self, path: TreePath, how: How, bytes: u64) {
        match how {
            How::Left => return self.left(path),
            How::Unchanged => {}
            How::Resumed => self.resumed += 1,
        }
        self.unchanged += 1;
        self.whole(bytes, bytes);
    }

    /// Sorts a problem by its code: W codes take nothing away.
    pub(super) fn problem(&mut self, problem: PathProblem) {
        if problem.error.stable_code().is_some_and(|code| code.starts_with('W')) {
            self.warnings.push(problem);
        } else {
            self.errors.push(problem);
        }
    }
}

/// Byte ranges for people, joined where they touch: `0-524287, 1048576-2097151`. An end of `None`
/// stands for a piece whose length nobody knows.
pub fn damage_ranges(mut ranges: Vec<(u64, Option<u64>)>) -> String {
    const SHOWN_MAX: usize = 20;
    ranges.sort_unstable();
    let mut joined: Vec<(u64, Option<u64>)> = Vec::new();
    for (from, end) in ranges {
        match joined.last_mut() {
            Some((_, Some(last))) if *last >= from => *last = end.map_or(*last, |end| end.max(*last)),
            _ => joined.push((from, end)),
        }
    }
    let more = joined.len().saturating_sub(SHOWN_MAX);
    let show = |&(from, end): &(u64, Option<u64>)| match end {
        Some(end) if end > from => format!("{from}-{}", end - 1),
        _ => format!("from {from} on, length unknown"),
    };
    let mut text = joined.iter().take(SHOWN_MAX).map(show).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_joined_and_limited() {
        let text = damage_ranges(vec![(10, Some(20)), (0, Some(10)), (30, Some(31)), (40, None)]);
        assert_eq!(text, "0-19, 30-30, from 40 on, length unknown");
        assert!(
            damage_ranges((0..100).map(|i| (i * 10, Some(i * 10 + 1))).collect()).ends_with("and 80 more")
        );
    }
}
