//! Where the blobs of a file begin and end.

use crate::blob::BlobHandle;
use crate::id::Id;
use crate::index::Index;

/// The blobs of a file, each with the offset behind it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pieces {
    known: Vec<(Id, u64)>,
    /// The first that is in no pack: from there on no offset is known.
    lost: Option<Id>,
}

/// What lies at an offset.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A blob with its first byte at `begin` and its last one before `end`.
    Known { id: Id, begin: u64, end: u64 },
    /// Nobody has it.
    Lost(Id),
    /// The file is over.
    End,
}

impl Pieces {
    pub(super) fn of(index: &Index, content: &[Id]) -> Self {
        let mut pieces = Pieces::default();
        let mut end = 0_u64;
        for id in content {
            match index.plain_bytes(&BlobHandle::data(*id)) {
                Some(bytes) => end = end.saturating_add(bytes),
                None => {
                    pieces.lost = Some(*id);
                    break;
                }
            }
            pieces.known.push((*id, end));
        }
        pieces
    }

    pub(super) fn at(&self, offset: u64) -> Piece {
        let place = self.known.partition_point(|(_, end)| *end <= offset);
        let begin = place.checked_sub(1).and_then(|before| self.known.get(before)).map_or(0, |(_, end)| *end);
        match (self.known.get(place), self.lost) {
            (Some((id, end)), _) => Piece::Known { id: *id, begin, end: *end },
            (None, Some(id)) => Piece::Lost(id),
            (None, None) => Piece::End,
        }
    }

    /// Bytes of the content; `None` if a blob is lost.
    pub(super) fn size(&self) -> Option<u64> {
        match self.lost {
            None => Some(self.known.last().map_or(0, |(_, end)| *end)),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_offset_has_its_piece() {
        let (a, b, c) = (Id::of(b"a"), Id::of(b"b"), Id::of(b"c"));
        let mut pieces = Pieces { known: vec![(a, 3), (b, 3), (c, 8)], lost: None };
        assert_eq!(pieces.at(0), Piece::Known { id: a, begin: 0, end: 3 });
        assert_eq!(pieces.at(2), Piece::Known { id: a, begin: 0, end: 3 });
        assert_eq!(pieces.at(3), Piece::Known { id: c, begin: 3, end: 8 });
        assert_eq!(pieces.at(7), Piece::Known { id: c, begin: 3, end: 8 });
        assert_eq!((pieces.at(8), pieces.size()), (Piece::End, Some(8)));
        pieces.lost = Some(b);
        assert_eq!(
            (pieces.at(8), pieces.at(u64::MAX), pieces.size()),
            (Piece::Lost(b), Piece::Lost(b), None)
        );
        assert_eq!((Pieces::default().at(0), Pieces::default().size()), (Piece::End, Some(0)));
    }
}
