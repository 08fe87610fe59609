//! A hash tree over records that are only ever appended (RFC 6962, section 2.1): one hash stands for all of
//! them, in their order. It never keeps the records.
//!
//! What is kept is the root of each full subtree along the right edge: 64 hashes at most, and one record more
//! costs as many hash computations as there are bits to carry.

use crate::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A hash of SHA-256.
pub type Hash = [u8; 32];

/// Set apart, so that no record can pass for an inner node.
const LEAF: [u8; 1] = [0];
const NODE: [u8; 1] = [1];

/// A tree that grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    /// Roots of full subtrees, the largest first: one for each bit that is set in `size`.
    edge: Vec<Hash>,
}

/// A tree as it is written down.
#[derive(Serialize, Deserialize)]
struct Written {
    size: u64,
    edge: Vec<String>,
}

impl Tree {
    /// Takes one record more.
    pub fn push(&mut self, record: &[u8]) {
        let mut hash: Hash = Sha256::new().chain_update(LEAF).chain_update(record).finalize().into();
        // As in adding one to a binary number: each full subtree of the same size is joined.
        let mut carry = self.size;
        while carry & 1 == 1 {
            // Invariant: a bit that is set in the size has its subtree.
            hash = self.edge.pop().map_or(hash, |left| node(&left, &hash));
            carry >>= 1;
        }
        self.edge.push(hash);
        self.size += 1;
    }

    /// How many records it stands for.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The hash that stands for all of them; that of nothing if there are none.
    pub fn root(&self) -> Hash {
        let mut right_to_left = self.edge.iter().rev();
        let Some(last) = right_to_left.next() else { return Sha256::digest([]).into() };
        right_to_left.fold(*last, |right, left| node(left, &right))
    }

    /// As text, to go on from later.
    pub fn encode(&self) -> String {
        let edge = self.edge.iter().map(hex::encode).collect();
        serde_json::to_string(&Written { size: self.size, edge }).unwrap_or_default()
    }

    /// Reads what [`Tree::encode`] wrote. Whether it is the tree that is meant, its root says.
    ///
    /// # Errors
    /// `Kind::Corrupt` if it is no tree.
    pub fn decode(text: &[u8]) -> Result<Self> {
        let bad = || Error::new(Kind::Corrupt, "read a hash tree");
        let written: Written = serde_json::from_slice(text).map_err(|e| bad().caused_by(e))?;
        let hash = |text: &String| hex::decode(text).ok()?.try_into().ok();
        let edge: Option<Vec<Hash>> = written.edge.iter().map(hash).collect();
        let edge = edge.filter(|edge| edge.len() == written.size.count_ones() as usize);
        Ok(Tree { size: written.size, edge: edge.ok_or_else(bad)? })
    }
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update(NODE).chain_update(left).chain_update(right).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, word for word: split at the largest power of two below the size.
    fn by_definition(records: &[Vec<u8>]) -> Hash {
        match records {
            [] => Sha256::digest([]).into(),
            [one] => Sha256::new().chain_update([0]).chain_update(one).finalize().into(),
            many => {
                let half = many.len().next_power_of_two() / 2;
                node(&by_definition(&many[..half]), &by_definition(&many[half..]))
            }
        }
    }

    fn tree(records: &[Vec<u8>]) -> Tree {
        let mut tree = Tree::default();
        records.iter().for_each(|record| tree.push(record));
        tree
    }

    /// The records and roots with which implementations of RFC 6962 are commonly tested.
    #[test]
    fn roots_agree_with_those_of_other_implementations() {
        let records = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", {
            "606162636465666768696a6b6c6d6e6f"
        }];
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut tree = Tree::default();
        for (size, root) in roots.iter().enumerate() {
            assert_eq!((tree.size(), hex::encode(tree.root()).as_str()), (size as u64, *root));
            if let Some(record) = records.get(size) {
                tree.push(&hex::decode(record).unwrap());
            }
        }
    }

    #[test]
    fn nonsense_is_no_tree() {
        for text in ["", "{}", r#"{"size":2,"edge":[]}"#, r#"{"size":1,"edge":["00"]}"#, "[1]"] {
            assert_eq!(Tree::decode(text.as_bytes()).unwrap_err().kind(), Kind::Corrupt, "{text}");
        }
    }

    proptest! {
        #[test]
        fn growing_gives_what_the_definition_says(records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5), 0..70)) {
            let tree = tree(&records);
            prop_assert_eq!(tree.root(), by_definition(&records));
            prop_assert_eq!(Tree::decode(tree.encode().as_bytes()).unwrap(), tree);
        }
    }
}
