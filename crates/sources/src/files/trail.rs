//! The way from a root to an entry. A walk of a deep tree keeps every directory above in hand; as
//! whole paths they would take the square of the depth in memory.

use std::sync::Arc;

/// A root with its absolute path, or one name below another trail.
pub(super) struct Trail {
    above: Option<Arc<Trail>>,
    name: Vec<u8>,
}

impl Trail {
    pub(super) fn root(absolute: Vec<u8>) -> Arc<Self> {
        Arc::new(Trail { above: None, name: absolute })
    }

    pub(super) fn below(self: &Arc<Self>, name: &[u8]) -> Arc<Self> {
        Arc::new(Trail { above: Some(self.clone()), name: name.to_vec() })
    }

    /// The absolute path.
    pub(super) fn absolute(&self) -> Vec<u8> {
        let (root, mut names) = self.parts();
        if root != b"/" || names.is_empty() {
            names.insert(0, root);
            return names.join(&b'/');
        }
        [b"/", names.join(&b'/').as_slice()].concat()
    }

    /// The path below the root; empty for the root itself.
    pub(super) fn relative(&self) -> Vec<u8> {
        self.parts().1.join(&b'/')
    }

    fn parts(&self) -> (&[u8], Vec<&[u8]>) {
        let mut names = Vec::new();
        let mut at = self;
        while let Some(above) = &at.above {
            names.push(at.name.as_slice());
            at = above;
        }
        names.reverse();
        (&at.name, names)
    }
}

/// A long trail is taken apart step by step: one call within another for each name could be too
/// many for the stack.
impl Drop for Trail {
    fn drop(&mut self) {
        let mut next = self.above.take();
        while let Some(trail) = next {
            next = Arc::into_inner(trail).and_then(|mut trail| trail.above.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_put_together_and_long_ones_taken_apart() {
        let root = Trail::root(b"/".to_vec());
        assert_eq!((root.absolute(), root.relative()), (b"/".to_vec(), Vec::new()));
        let deep = root.below(b"a").below(b"b");
        assert_eq!((deep.absolute(), deep.relative()), (b"/a/b".to_vec(), b"a/b".to_vec()));
        let other = Trail::root(b"/srv/x".to_vec()).below(b"y");
        assert_eq!((other.absolute(), other.relative()), (b"/srv/x/y".to_vec(), b"y".to_vec()));
        let mut long = root;
        for _ in 0..1_000_000 {
            long = long.below(b"d");
        }
        assert_eq!(long.relative().len(), 1_999_999);
    }
}
