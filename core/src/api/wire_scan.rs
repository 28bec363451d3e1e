//! Bounds what a message decodes to, before anything of it is decoded.
//!
//! An embedded message of two bytes on the wire can be hundreds of bytes in memory. The scan walks the wire format by the
//! descriptors, adds up what each field would take, and stops at the bound; it allocates nothing.
//! Invariant: whatever prost would decode was counted. What the scan can't read is refused, never passed on.

use std::collections::HashMap;
use std::sync::LazyLock;

use prost::Message as _;
use prost_types::FileDescriptorSet;

use super::message_shape::{Element, Shape, read_shapes};
use crate::domain::limits::{MESSAGE_DECODED_PER_BYTE_MAX, MESSAGE_DEPTH_MAX};

/// Holds what a message may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanBounds {
    /// Most fields, those of embedded messages and unknown ones included.
    pub fields: u32,
    /// Holds what it may take in memory beyond `limits::MESSAGE_DECODED_PER_BYTE_MAX` for each byte on the wire.
    pub extra_bytes: u64,
}

/// Says why a message is not decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// It is not in the wire format.
    #[error("it is not in the wire format of Protobuf")]
    Malformed,
    /// It has more fields than it may.
    #[error("it has more fields than a message may have")]
    Fields,
    /// Its messages or groups are nested deeper than they may be.
    #[error("it is nested deeper than a message may be")]
    Depth,
    /// It would take more memory than it may.
    #[error("it would take much more memory than it has bytes")]
    Memory,
}

/// The shapes of all messages of the contract.
static SHAPES: LazyLock<Shapes> = LazyLock::new(Shapes::of_the_contract);

#[derive(Debug, Default)]
struct Shapes {
    all: Vec<Shape>,
    by_name: HashMap<String, usize>,
    /// The request message of each method, by its path.
    requests: HashMap<String, usize>,
}

impl Shapes {
    fn of_the_contract() -> Self {
        // The descriptors are those of the generated types, so this can't fail. Without shapes every message would be refused.
        let set = FileDescriptorSet::decode(super::pb::DESCRIPTORS).unwrap_or_default();
        let (all, by_name) = read_shapes(&set);
        let mut requests = HashMap::new();
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    let shape = by_name.get(method.input_type().trim_start_matches('.'));
                    requests.extend(shape.map(|shape| (path, *shape)));
                }
            }
        }
        Self { all, by_name, requests }
    }
}

/// Refuses a message that is more than its bounds allow. `name` is its full name, `policyhub.v1.DraftRequest`.
///
/// # Errors
/// The first excess that is found.
pub fn scan(name: &str, bytes: &[u8], bounds: ScanBounds) -> Result<(), Excess> {
    let shapes = &*SHAPES;
    let shape = shapes.by_name.get(name).copied().ok_or(Excess::Malformed)?;
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let memory = length.saturating_mul(MESSAGE_DECODED_PER_BYTE_MAX).saturating_add(bounds.extra_bytes);
    let mut scan = Scan { shapes: &shapes.all, fields: bounds.fields, memory };
    scan.message(shape, bytes, MESSAGE_DEPTH_MAX)
}

/// Returns the most that a request of a method takes in memory while it is handled, by its length on the wire: its bytes, and what
/// the scan lets them decode to. Of a path that is no method of the contract only the bytes are counted.
#[must_use]
pub fn worst_case_bytes(path: &str, length: u64, extra_bytes: u64) -> u64 {
    let shape = SHAPES.requests.get(path).and_then(|shape| SHAPES.all.get(*shape));
    let decoded = shape.map_or(0, |shape| shape.worst_case_bytes(length));
    let bound = length.saturating_mul(MESSAGE_DECODED_PER_BYTE_MAX).saturating_add(extra_bytes);
    length.saturating_add(decoded.min(bound))
}

/// Holds what is left of the bounds of one message.
struct Scan<'a> {
    shapes: &'a [Shape],
    fields: u32,
    memory: u64,
}

impl Scan<'_> {
    fn message(&mut self, shape: usize, mut bytes: &[u8], depth: u32) -> Result<(), Excess> {
        let depth = depth.checked_sub(1).ok_or(Excess::Depth)?;
        let mut groups = 0_u32;
        while !bytes.is_empty() {
            self.fields = self.fields.checked_sub(1).ok_or(Excess::Fields)?;
            let key = u32::try_from(varint(&mut bytes)?).map_err(|_| Excess::Malformed)?;
            let number = key >> 3;
            if number == 0 {
                return Err(Excess::Malformed);
            }
            // What stands in a group is skipped whatever its number is: no message of the contract has a group.
            let element = self.shapes.get(shape).filter(|_| groups == 0).and_then(|shape| shape.element(number));
            match key & 7 {
                0 => {
                    varint(&mut bytes)?;
                    self.take(element.map_or(0, |element| element.bytes))?;
                }
                1 => self.fixed(&mut bytes, 8, element)?,
                2 => {
                    let length = usize::try_from(varint(&mut bytes)?).map_err(|_| Excess::Malformed)?;
                    let (payload, rest) = bytes.split_at_checked(length).ok_or(Excess::Malformed)?;
                    bytes = rest;
                    self.payload(element, payload, depth)?;
                }
                3 if groups >= depth => return Err(Excess::Depth),
                3 => groups += 1,
                4 => groups = groups.checked_sub(1).ok_or(Excess::Malformed)?,
                5 => self.fixed(&mut bytes, 4, element)?,
                _ => return Err(Excess::Malformed),
            }
        }
        if groups == 0 { Ok(()) } else { Err(Excess::Malformed) }
    }

    fn payload(&mut self, element: Option<Element>, payload: &[u8], depth: u32) -> Result<(), Excess> {
        let Some(element) = element else { return Ok(()) };
        let length = u64::try_from(payload.len()).unwrap_or(u64::MAX);
        self.take(element.bytes.saturating_add(length.saturating_mul(element.bytes_per_byte)))?;
        match element.message {
            Some(shape) => self.message(shape, payload, depth),
            None => Ok(()),
        }
    }

    fn fixed(&mut self, bytes: &mut &[u8], width: usize, element: Option<Element>) -> Result<(), Excess> {
        *bytes = bytes.get(width..).ok_or(Excess::Malformed)?;
        self.take(element.map_or(0, |element| element.bytes))
    }

    fn take(&mut self, bytes: u64) -> Result<(), Excess> {
        self.memory = self.memory.checked_sub(bytes).ok_or(Excess::Memory)?;
        Ok(())
    }
}

/// Returns a varint of at most ten bytes, as prost reads it.
fn varint(bytes: &mut &[u8]) -> Result<u64, Excess> {
    let mut value = 0_u64;
    for shift in (0..70).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(Excess::Malformed)?;
        *bytes = rest;
        if shift == 63 && *byte > 1 {
            return Err(Excess::Malformed);
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Excess::Malformed)
}

#[cfg(test)]
mod tests;
