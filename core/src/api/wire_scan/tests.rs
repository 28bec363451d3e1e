//! What the scan lets through and what it refuses, in messages written by hand.

use prost::Message;

use super::*;
use crate::api::codec::{ANSWER, BoundedMessage, REQUEST};
use crate::api::pb;

fn scanned<T: BoundedMessage>(bytes: &[u8]) -> Result<(), Excess> {
    scan(T::NAME, bytes, T::BOUNDS)
}

fn struct_bytes(name: &str) -> usize {
    let shape = SHAPES.by_name.get(name).and_then(|shape| SHAPES.all.get(*shape)).expect("a shape");
    usize::try_from(shape.struct_bytes()).expect("a size")
}

#[test]
fn sizes_are_those_of_the_types_and_little_more() {
    for (name, real) in [
        ("policyhub.v1.Requirement", size_of::<pb::Requirement>()),
        ("policyhub.v1.ImportItem", size_of::<pb::ImportItem>()),
        ("policyhub.v1.Bundle", size_of::<pb::Bundle>()),
        ("policyhub.v1.Version", size_of::<pb::Version>()),
        ("policyhub.v1.Event", size_of::<pb::Event>()),
        ("policyhub.v1.ActivateTarget", size_of::<pb::ActivateTarget>()),
        ("policyhub.v1.Namespace", size_of::<pb::Namespace>()),
        ("policyhub.v1.WatchActiveRequest", size_of::<pb::WatchActiveRequest>()),
        ("policyhub.v1.WatchActiveResponse", size_of::<pb::WatchActiveResponse>()),
    ] {
        let counted = struct_bytes(name);
        assert!((real..=2 * real).contains(&counted), "{name}: {counted} counted, {real} in memory");
    }
}

#[test]
fn every_message_of_a_method_has_a_shape() {
    let names: Vec<&str> =
        vec![pb::DraftRequest::NAME, pb::WatchActiveResponse::NAME, pb::ImportNamespaceRequest::NAME];
    assert!(names.iter().all(|name| SHAPES.by_name.contains_key(*name)), "{names:?}");
    assert_eq!(SHAPES.requests.len(), crate::domain::access::Rpc::ALL.len());
    assert_eq!((pb::DraftRequest::BOUNDS, pb::DraftResponse::BOUNDS), (REQUEST, ANSWER));
}

#[test]
fn empty_elements_are_refused_where_they_would_take_memory() {
    let elements = |number: u8, count: usize| [number << 3 | 2, 0].repeat(count);
    // 4 MiB of empty items would be 500 MiB.
    assert_eq!(scanned::<pb::ImportNamespaceRequest>(&elements(4, 2 * 1024 * 1024)), Err(Excess::Fields));
    assert_eq!(scanned::<pb::DraftRequest>(&elements(6, 512 * 1024)), Err(Excess::Fields));
    assert_eq!(scanned::<pb::ActivateRequest>(&elements(2, 100)), Ok(()));
    // Of an unknown field nothing is kept, but each costs time.
    assert_eq!(scanned::<pb::GetNamespaceRequest>(&elements(15, 16_000)), Ok(()));
    assert_eq!(scanned::<pb::GetNamespaceRequest>(&elements(15, 17_000)), Err(Excess::Fields));
    // 31 MiB of empty bundles in a snapshot.
    let bundles = elements(1, 1024 * 1024);
    let mut message = vec![0x0a];
    prost::encoding::encode_varint(bundles.len() as u64, &mut message);
    message.extend(bundles);
    assert!(scanned::<pb::WatchActiveResponse>(&message).is_err());
}

/// The contract has no such field now.
#[test]
fn numbers_that_come_packed_are_counted_one_by_one() {
    use prost_types::field_descriptor_proto::{Label, Type};
    use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet};
    let field = |number, label: Label| FieldDescriptorProto {
        number: Some(number),
        label: Some(label.into()),
        r#type: Some(Type::Enum.into()),
        ..Default::default()
    };
    let fields = vec![field(1, Label::Repeated), field(2, Label::Optional)];
    let message = DescriptorProto { name: Some("M".to_owned()), field: fields, ..Default::default() };
    let file = FileDescriptorProto { message_type: vec![message], ..Default::default() };
    let (shapes, _) = read_shapes(&FileDescriptorSet { file: vec![file] });
    let bytes_per_byte = |number| shapes[0].element(number).expect("a field").bytes_per_byte;
    assert!(bytes_per_byte(1) >= size_of::<i32>() as u64 && bytes_per_byte(2) == 0);
}

/// Whatever prost decodes, the scan lets through, and what it can't read is nothing that prost reads.
#[test]
fn the_scan_agrees_with_prost_on_what_is_malformed() {
    let draft = pb::DraftRequest {
        parent: "namespaces/a/policies/p".to_owned(),
        content: vec![0xff; 300].into(),
        requires: vec![pb::Requirement { policy: "q".to_owned(), version_req: "^1".to_owned() }; 3],
        base_version: -1,
        allow_missing: true,
        ..Default::default()
    };
    let whole = draft.encode_to_vec();
    assert_eq!(scanned::<pb::DraftRequest>(&whole), Ok(()));
    let mut refused = 0;
    for end in 0..whole.len() {
        for flip in [0_u8, 1, 7, 0x80] {
            let mut bytes = whole[..end].to_vec();
            if let Some(last) = bytes.last_mut() {
                *last ^= flip;
            }
            let decodes = pb::DraftRequest::decode(bytes.as_slice()).is_ok();
            let passes = scanned::<pb::DraftRequest>(&bytes).is_ok();
            assert!(passes || !decodes, "the scan refuses what prost takes: {bytes:02x?}");
            refused += usize::from(!passes);
        }
    }
    assert!(refused > 100, "{refused} refused");
}

#[test]
fn groups_are_skipped_and_bounded() {
    let nested = |depth: usize| [vec![0x7b; depth], vec![0x7c; depth]].concat();
    assert_eq!(scanned::<pb::GetNamespaceRequest>(&nested(50)), Ok(()));
    assert_eq!(scanned::<pb::GetNamespaceRequest>(&nested(1_000)), Err(Excess::Depth));
    for broken in [&[0x7b][..], &[0x7c], &[0x00, 0x00], &[0x0e], &[0x0f], &[0x78, 0xff], &[0x0a, 100, 1]] {
        assert_eq!(scanned::<pb::GetNamespaceRequest>(broken), Err(Excess::Malformed), "{broken:02x?}");
    }
    // Within a group a number means nothing.
    assert_eq!(scanned::<pb::DraftRequest>(&[0x7b, 0x32, 1, 0xff, 0x7c]), Ok(()));
}

#[test]
fn the_worst_case_of_a_method_is_that_of_its_message() {
    let extra = REQUEST.extra_bytes;
    let of = |path: &str, length| worst_case_bytes(path, length, extra);
    assert!(of("/policyhub.v1.PolicyService/GetPolicy", 100) < 2_000, "one text");
    assert!(of("/policyhub.v1.PolicyService/Activate", 100) > 100 * 20, "targets may be short");
    let length = 4 * 1024 * 1024;
    assert_eq!(of("/policyhub.v1.AdminService/ImportNamespace", length), length + 2 * length + extra);
    assert_eq!(of("/grpc.health.v1.Health/Check", 10), 10);
}
