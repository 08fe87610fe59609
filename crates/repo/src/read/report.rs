//! What a restore did, and where it could not.

use recoup_core::entry::PathProblem;

/// What a restore did. Nothing is missing exactly if `errors` is empty (I5).
#[derive(Debug, Default)]
pub struct RestoreReport {
    /// Files put in place, further names of a file included.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Links, devices and pipes.
    pub others: u64,
    /// Bytes of content, holes included.
    pub bytes: u64,
    /// Entries that are not there, or not whole, and why.
    pub errors: Vec<PathProblem>,
    /// What is worth knowing and takes nothing away.
    pub warnings: Vec<PathProblem>,
}

impl RestoreReport {
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
