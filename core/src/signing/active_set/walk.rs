//! Reads the bytes of a set proof, part by part, and computes the root that they make.
//!
//! Input is hostile: no recursion, no allocation beyond one entry per level, every bound before it is needed.

use super::leaf::{EMPTY_ROOT, KEY_BITS, leaf_hash, node_hash};
use super::proof_error::SetProofError;
use crate::domain::digest::Hash;
use crate::domain::limits::{SET_PROOF_MAX_BYTES, SET_PROOF_PARTS_MAX};

/// First byte of an empty subtree.
pub(super) const TAG_EMPTY: u8 = 0;
/// First byte of a leaf; its key and value follow.
pub(super) const TAG_LEAF: u8 = 1;
/// First byte of a subtree of which only the hash is shown; the hash follows.
pub(super) const TAG_OPAQUE: u8 = 2;
/// First byte of a node; its left subtree follows, then its right one.
pub(super) const TAG_NODE: u8 = 3;

/// A part of a proof.
#[derive(Debug, Clone, Copy)]
pub(super) enum ProofPart {
    Empty,
    Leaf { key: Hash, value: Hash },
    Opaque { hash: Hash },
    Node,
}

/// Says where a part stands in the tree: the bits on the way to it. Bits beyond `depth` are 0.
#[derive(Debug, Default)]
pub(super) struct ProofPosition {
    pub(super) path: Hash,
    depth: usize,
}

/// A subtree that has been read.
#[derive(Debug, Clone, Copy)]
struct ReadSubtree {
    hash: Hash,
    /// Says whether it is seen to hold at most one leaf. A hash may be that of a leaf; but then the root, which is of a
    /// canonical tree, does not come out.
    at_most_one_leaf: bool,
}

/// Reads a proof. `visit` sees each part with its position, in order, and may refuse it. Answers the root that the parts make:
/// nothing is proven before that is compared.
pub(super) fn walk(
    proof: &[u8],
    mut visit: impl FnMut(&ProofPosition, &ProofPart) -> Result<(), SetProofError>,
) -> Result<Hash, SetProofError> {
    if proof.len() > SET_PROOF_MAX_BYTES {
        return Err(SetProofError::TooLarge);
    }
    let (mut rest, mut position) = (proof, ProofPosition::default());
    // One entry for each node on the way down, with its left subtree once that has been read.
    let mut open: Vec<Option<ReadSubtree>> = Vec::new();
    for _ in 0..SET_PROOF_PARTS_MAX {
        let part = ProofPart::read(&mut rest)?;
        position.check(&part)?;
        visit(&position, &part)?;
        let Some(mut done) = part.subtree() else {
            open.push(None);
            position.depth += 1;
            continue;
        };
        loop {
            match open.pop() {
                None if rest.is_empty() => return Ok(done.hash),
                None => return Err(SetProofError::TrailingBytes),
                Some(None) => {
                    open.push(Some(done));
                    position.flip_last();
                    break;
                }
                Some(Some(left)) => {
                    done = left.join(done)?;
                    position.flip_last();
                    position.depth -= 1;
                }
            }
        }
    }
    Err(SetProofError::TooManyParts)
}

impl ProofPart {
    fn read(rest: &mut &[u8]) -> Result<Self, SetProofError> {
        let (tag, after) = rest.split_first().ok_or(SetProofError::Truncated)?;
        *rest = after;
        match *tag {
            TAG_EMPTY => Ok(Self::Empty),
            TAG_LEAF => Ok(Self::Leaf { key: read_hash(rest)?, value: read_hash(rest)? }),
            TAG_OPAQUE => match read_hash(rest)? {
                EMPTY_ROOT => Err(SetProofError::EmptyAsHash),
                hash => Ok(Self::Opaque { hash }),
            },
            TAG_NODE => Ok(Self::Node),
            _ => Err(SetProofError::TagUnknown),
        }
    }

    /// Returns the whole subtree that this part is; none for a node, whose children follow.
    fn subtree(&self) -> Option<ReadSubtree> {
        match self {
            Self::Empty => Some(ReadSubtree { hash: EMPTY_ROOT, at_most_one_leaf: true }),
            Self::Leaf { key, value } => Some(ReadSubtree { hash: leaf_hash(key, value), at_most_one_leaf: true }),
            Self::Opaque { hash } => Some(ReadSubtree { hash: *hash, at_most_one_leaf: false }),
            Self::Node => None,
        }
    }
}

fn read_hash(rest: &mut &[u8]) -> Result<Hash, SetProofError> {
    let (hash, after) = rest.split_first_chunk().ok_or(SetProofError::Truncated)?;
    *rest = after;
    Ok(*hash)
}

impl ProofPosition {
    /// Returns whether the way to a key leads through here.
    pub(super) fn is_on_way_to(&self, key: &Hash) -> bool {
        let mut pairs = self.path.iter().zip(key).enumerate();
        let same_bits = pairs.find_map(|(index, (own, other))| {
            (own != other).then(|| index * 8 + (own ^ other).leading_zeros() as usize)
        });
        same_bits.is_none_or(|same_bits| same_bits >= self.depth)
    }

    /// Refuses what can't stand here.
    fn check(&self, part: &ProofPart) -> Result<(), SetProofError> {
        match part {
            ProofPart::Node if self.depth == KEY_BITS => Err(SetProofError::TooDeep),
            ProofPart::Leaf { key, .. } if !self.is_on_way_to(key) => Err(SetProofError::LeafMisplaced),
            _ => Ok(()),
        }
    }

    /// Goes from a left subtree to the right one, or clears the last bit on the way up from there.
    fn flip_last(&mut self) {
        let Some(last) = self.depth.checked_sub(1) else { return };
        if let Some(byte) = self.path.get_mut(last / 8) {
            *byte ^= 0x80 >> (last % 8);
        }
    }
}

impl ReadSubtree {
    fn join(self, right: Self) -> Result<Self, SetProofError> {
        let lone = |one: &Self, other: &Self| one.hash == EMPTY_ROOT && other.at_most_one_leaf;
        if lone(&self, &right) || lone(&right, &self) {
            return Err(SetProofError::NodeNotCanonical);
        }
        Ok(Self { hash: node_hash(&self.hash, &right.hash), at_most_one_leaf: false })
    }
}
