//! Something wrong in a repository that did not stop the work.

/// What is wrong with one object, and what it touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which object, as in `pack 3f2a...` or a stray name.
    pub object: String,
    /// What is wrong, in one sentence; names from outside are already escaped.
    pub problem: String,
    /// Snapshots and paths that need it, as far as they are known.
    pub affects: Vec<String>,
    /// Stable code. `W` codes are worth knowing and take nothing away.
    pub code: &'static str,
}

impl Problem {
    /// A problem whose reach is not known yet.
    pub fn new(code: &'static str, object: impl Into<String>, problem: impl Into<String>) -> Self {
        Problem { object: object.into(), problem: problem.into(), affects: Vec::new(), code }
    }

    /// Whether data is missing, damaged or in doubt.
    pub fn is_serious(&self) -> bool {
        self.code.starts_with('E')
    }
}
