//! Reading JSON objects strictly.
//!
//! Derived readers refuse a repeated member but also take a struct written as a JSON array, which other readers do not:
//! what two readers understand differently must not be understood here at all.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};

/// A value that is written as a JSON object, never as an array.
pub(super) struct Object<T>(pub(super) T);

struct ObjectVisitor<T>(PhantomData<T>);

/// Reads the one JSON object that `bytes` is.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    // A typed reader does not check what it skips: text that is not UTF-8, half a surrogate, a number out of range.
    serde_json::from_slice::<serde_json::Value>(bytes)?;
    serde_json::from_slice::<Object<T>>(bytes).map(|object| object.0)
}

/// Reads an array of objects, for `deserialize_with`.
pub(super) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(input: D) -> Result<Vec<T>, D::Error> {
    let objects = Vec::<Object<T>>::deserialize(input)?;
    Ok(objects.into_iter().map(|object| object.0).collect())
}

/// Reads an object, or null for none, for `deserialize_with`.
pub(super) fn optional<'de, D: Deserializer<'de>, T: Deserialize<'de>>(input: D) -> Result<Option<T>, D::Error> {
    Option::<Object<T>>::deserialize(input).map(|object| object.map(|object| object.0))
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_map(ObjectVisitor(PhantomData)).map(Self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize, Debug, PartialEq)]
    struct MemberPair {
        a: u8,
        b: u8,
    }

    #[derive(serde::Deserialize)]
    struct TestHolder {
        #[serde(deserialize_with = "optional")]
        pair: Option<MemberPair>,
    }

    #[test]
    fn only_one_object_without_repeated_members_is_read() {
        assert_eq!(read::<MemberPair>(br#" {"b":2,"a":1,"c":[3]} "#).ok(), Some(MemberPair { a: 1, b: 2 }));
        let given = |text: &str| serde_json::from_str::<TestHolder>(text).map(|holder| holder.pair).ok();
        assert_eq!(given(r#"{"pair":{"a":1,"b":2}}"#), Some(Some(MemberPair { a: 1, b: 2 })));
        assert_eq!((given(r#"{"pair":null}"#), given(r#"{"pair":[1,2]}"#)), (Some(None), None));
        for skipped in [b"\"\xff\"".as_slice(), br#""\ud800""#, b"1e999"] {
            assert!(read::<MemberPair>(&[br#"{"a":1,"b":2,"c":"#, skipped, b"}"].concat()).is_err(), "{skipped:?}");
        }
        for text in ["[1,2]", r#"{"a":1,"b":2,"a":1}"#, r#"{"a":1}"#, r#"{"a":1,"b":2}{}"#, "", "null", "\u{feff}{}"] {
            assert!(read::<MemberPair>(text.as_bytes()).is_err(), "{text:?} must be refused");
        }
    }
}
