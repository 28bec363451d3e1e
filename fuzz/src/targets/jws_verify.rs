//! `signing::jws::verify`: an accepted token is exactly what one of the trusted keys signed, byte for byte, for this `typ`.
//!
//! The first byte chooses: a token as it is, or a payload that is signed here and then changed at one place.

use policyhub::signing::{TYP_ACTIVATION, TYP_BUNDLE, TYP_CHECKPOINT, TYP_PREVIEW, jws};

use super::keys::{KEYS, P256, SIGNER, STRANGER};

const TYPS: [&str; 4] = [TYP_BUNDLE, TYP_ACTIVATION, TYP_CHECKPOINT, TYP_PREVIEW];

pub fn check(input: &[u8]) {
    let Some((choice, rest)) = input.split_first() else { return };
    let typ = TYPS[usize::from(choice & 3)];
    if choice & 4 == 0 {
        if let Ok(token) = std::str::from_utf8(rest) {
            as_it_is(token, typ);
        }
    } else if let [place_high, place_low, change, payload @ ..] = rest {
        let place = usize::from(*place_high) << 8 | usize::from(*place_low);
        harmed(payload, typ, place, *change, choice & 8 != 0);
    }
}

fn as_it_is(token: &str, typ: &str) {
    let Ok(verified) = jws::verify(token, typ, &KEYS) else { return };
    assert!(KEYS.get(&verified.key_id).is_some(), "an unknown key");
    if verified.key_id == SIGNER.public().key_id() {
        assert_eq!(jws::sign(typ, &verified.payload, &SIGNER).expect("signed"), token, "not what was signed");
    }
    for other in TYPS.iter().filter(|other| **other != typ) {
        assert!(jws::verify(token, other, &KEYS).is_err(), "a token of two kinds");
    }
}

fn harmed(payload: &[u8], typ: &str, place: usize, change: u8, by_p256: bool) {
    let key = if by_p256 { &P256 } else { &SIGNER };
    let Ok(token) = jws::sign(typ, payload, key) else { return };
    let verified = jws::verify(&token, typ, &KEYS).expect("what was signed verifies");
    assert_eq!(verified.payload, payload);
    for other in TYPS.iter().filter(|other| **other != typ) {
        assert!(jws::verify(&token, other, &KEYS).is_err(), "a token of two kinds");
    }
    let foreign = jws::sign(typ, payload, &STRANGER).expect("signed");
    assert!(jws::verify(&foreign, typ, &KEYS).is_err(), "a key nobody trusts");
    let mut harmed = token.clone().into_bytes();
    let at = place % harmed.len();
    harmed[at] ^= change;
    if let Ok(harmed) = String::from_utf8(harmed)
        && harmed != token
    {
        assert!(jws::verify(&harmed, typ, &KEYS).is_err(), "{at}: another token verifies");
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let token = |typ: &str| jws::sign(typ, br#"{"a":1}"#, &SIGNER).expect("signed").into_bytes();
    let raw = TYPS.iter().enumerate().map(|(at, typ)| [vec![at as u8], token(typ)].concat());
    let made = [[&[4, 0, 70, 1][..], b"{}"].concat(), [&[13, 0, 9, 2][..], b"{\"policy\":\"p\"}"].concat()];
    raw.chain(made).chain([b"\0e30.e30.AAAA".to_vec(), b"\0..".to_vec()]).collect()
}
