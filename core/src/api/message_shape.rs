//! What the fields of each message take in memory, read from the descriptors.
//!
//! Sizes are those of the types that prost generates on a 64-bit machine, rounded up. A test compares them with the types.

use std::collections::HashMap;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

/// `Vec`, `String`.
const TEXT_BYTES: u64 = 24;
/// `bytes::Bytes`; what it holds is a part of the buffer that the message came in.
const SHARED_BYTES: u64 = 32;
/// `HashMap`.
const MAP_BYTES: u64 = 48;
/// A number with its presence.
const NUMBER_BYTES: u64 = 16;
/// Estimates what an allocator takes beside what it was asked for.
const ALLOCATION_BYTES: u64 = 16;
/// Presence of an embedded message or of a variant, with its alignment.
const PRESENCE_BYTES: u64 = 8;
/// The shortest element on the wire: a key and an empty payload.
const ELEMENT_MIN_WIRE_BYTES: u64 = 2;
/// Messages within messages whose sizes are added up. The contract has no message that contains itself.
const NESTING_MAX: u32 = 16;

/// Holds what one element of a field takes in memory, beyond the message that it stands in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Element {
    /// Counts the element itself.
    pub(super) bytes: u64,
    /// Counts each byte of its payload.
    pub(super) bytes_per_byte: u64,
    /// The shape of the message that its payload is.
    pub(super) message: Option<usize>,
}

/// A message of the contract.
#[derive(Debug, Default)]
pub(super) struct Shape {
    elements: HashMap<u32, Element>,
    /// Counts the bytes of the struct, those of its embedded messages included.
    struct_bytes: u64,
    /// The most that one byte on the wire becomes, anywhere in it.
    per_byte: u64,
}

impl Shape {
    /// Returns the element that a field number adds; none for an unknown field.
    pub(super) fn element(&self, number: u32) -> Option<Element> {
        self.elements.get(&number).copied()
    }

    /// Returns the most that a message of this length becomes.
    pub(super) fn worst_case_bytes(&self, length: u64) -> u64 {
        self.struct_bytes.saturating_add(length.saturating_mul(self.per_byte))
    }

    #[cfg(test)]
    pub(super) fn struct_bytes(&self) -> u64 {
        self.struct_bytes
    }
}

/// Returns every message of a set, and where each one stands in the list.
pub(super) fn read_shapes(set: &FileDescriptorSet) -> (Vec<Shape>, HashMap<String, usize>) {
    let mut found = Vec::new();
    for file in &set.file {
        let package = file.package();
        for message in &file.message_type {
            collect(package, message, &mut found);
        }
    }
    let by_name: HashMap<String, usize> =
        found.iter().enumerate().map(|(index, (name, _))| (name.clone(), index)).collect();
    let reader = ShapeReader { found: &found, by_name: &by_name };
    let all = (0..found.len()).map(|index| reader.shape(index)).collect();
    (all, by_name)
}

/// Collects a message and those declared in it, by their full names.
fn collect<'a>(scope: &str, message: &'a DescriptorProto, found: &mut Vec<(String, &'a DescriptorProto)>) {
    let name = format!("{scope}.{}", message.name());
    for nested in &message.nested_type {
        collect(&name, nested, found);
    }
    found.push((name, message));
}

struct ShapeReader<'a> {
    found: &'a [(String, &'a DescriptorProto)],
    by_name: &'a HashMap<String, usize>,
}

impl ShapeReader<'_> {
    fn message(&self, index: usize) -> Option<&DescriptorProto> {
        self.found.get(index).map(|(_, message)| *message)
    }

    fn embedded(&self, field: &FieldDescriptorProto) -> Option<usize> {
        let is_message = field.r#type() == Type::Message;
        self.by_name.get(field.type_name().trim_start_matches('.')).copied().filter(|_| is_message)
    }

    fn shape(&self, index: usize) -> Shape {
        let fields = self.message(index).map(|message| message.field.as_slice()).unwrap_or_default();
        let numbered = fields.iter().map(|field| (u32::try_from(field.number()).unwrap_or(0), self.element(field)));
        Shape {
            elements: numbered.collect(),
            struct_bytes: self.struct_bytes(index, NESTING_MAX),
            per_byte: self.per_byte(index, NESTING_MAX),
        }
    }

    /// Returns the size of the struct: of the variants of a oneof the largest one counts.
    fn struct_bytes(&self, index: usize, nesting: u32) -> u64 {
        let Some(message) = self.message(index).filter(|_| nesting > 0) else { return 0 };
        let mut oneofs: HashMap<i32, u64> = HashMap::new();
        let mut total = 0_u64;
        for field in &message.field {
            let size = self.inline_bytes(field, nesting - 1);
            match field.oneof_index.filter(|_| !field.proto3_optional()) {
                Some(oneof) => {
                    let largest = oneofs.entry(oneof).or_default();
                    *largest = size.max(*largest);
                }
                None => total = total.saturating_add(size),
            }
        }
        oneofs.values().fold(total, |total, size| total.saturating_add(*size).saturating_add(PRESENCE_BYTES))
    }

    fn inline_bytes(&self, field: &FieldDescriptorProto, nesting: u32) -> u64 {
        match (self.embedded(field), is_repeated(field)) {
            (Some(entry), true) if self.is_map_entry(entry) => MAP_BYTES,
            (_, true) => TEXT_BYTES,
            (Some(message), false) => self.struct_bytes(message, nesting).saturating_add(PRESENCE_BYTES),
            (None, false) => value_bytes(field),
        }
    }

    /// Returns what an element adds: one that is not repeated stands in the struct already, and its payload does not.
    fn element(&self, field: &FieldDescriptorProto) -> Element {
        let own = if is_repeated(field) { value_bytes(field) } else { 0 };
        match (self.embedded(field), field.r#type()) {
            (Some(message), _) if is_repeated(field) => {
                Element { bytes: self.struct_bytes(message, NESTING_MAX), bytes_per_byte: 0, message: Some(message) }
            }
            (Some(message), _) => Element { bytes: 0, bytes_per_byte: 0, message: Some(message) },
            (None, Type::String) => Element { bytes: own + ALLOCATION_BYTES, bytes_per_byte: 1, message: None },
            (None, Type::Bytes) => Element { bytes: own, ..Element::default() },
            // Numbers may come packed, many in one payload.
            (None, _) if is_repeated(field) => Element { bytes: own, bytes_per_byte: own, message: None },
            (None, _) => Element::default(),
        }
    }

    fn per_byte(&self, index: usize, nesting: u32) -> u64 {
        let Some(message) = self.message(index).filter(|_| nesting > 0) else { return 0 };
        let of_field = |field| {
            let element = self.element(field);
            let nested = element.message.map_or(0, |nested| self.per_byte(nested, nesting - 1));
            element.bytes.div_ceil(ELEMENT_MIN_WIRE_BYTES).saturating_add(element.bytes_per_byte).max(nested)
        };
        message.field.iter().map(of_field).max().unwrap_or(0)
    }

    fn is_map_entry(&self, index: usize) -> bool {
        self.message(index).and_then(|message| message.options.as_ref()).is_some_and(|options| options.map_entry())
    }
}

fn is_repeated(field: &FieldDescriptorProto) -> bool {
    field.label() == Label::Repeated
}

fn value_bytes(field: &FieldDescriptorProto) -> u64 {
    match field.r#type() {
        Type::String => TEXT_BYTES,
        Type::Bytes => SHARED_BYTES,
        _ => NUMBER_BYTES,
    }
}
