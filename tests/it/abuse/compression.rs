//! Header compression (RFC 7541): indexes, integers, lengths, Huffman codes, and blocks that expand to much more.

use super::case::{AbuseCase, CALM, COMPRESSION, Goaway, PROTOCOL, Reset, Status, case};
use super::wire::{GOOD, block, body, call_after, call_before, headers};

/// Returns a literal field that is added to the dynamic table (RFC 7541 §6.2.1).
fn kept(name: &str, value: &str) -> Vec<u8> {
    let mut field = block(&[(name, value)]);
    field[0] = 0x40;
    field
}

fn indexes() -> Vec<AbuseCase> {
    let broken = Goaway(COMPRESSION);
    vec![
        case("index 0", call_before(&[0x80]), broken),
        case("index of an empty dynamic table", call_before(&[0xbe]), broken),
        case("index far out of range", call_before(&[0xff, 0xff, 0x7f]), broken),
        case("index over 64 bits", call_before(&[0xff; 24]), broken),
        case("index without its end", call_before(&[0xff, 0xff]), broken),
        case("index of leading zeros", call_before(&[0xff, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00]), broken),
        case("name by an index out of range", call_before(&[0x7f, 0x7f, 0x01, b'x']), broken),
        case("name by an index, and no value", call_before(&[0x0f, 0x00]), broken),
        case("literal of an empty name", call_before(&[0x00, 0x00, 0x01, b'x']), Goaway(PROTOCOL)),
        case("literal without a value", call_before(&[0x00, 0x01, b'x']), broken),
        case("literal that is never indexed", call_before(&[0x10, 0x01, b'x', 0x01, b'y']), Status(0)),
        case("block of no bytes", headers(1, &[]), Reset(PROTOCOL)),
        case("block of garbage", headers(1, &[0xff; 1_000]), broken),
        case("block of zeros", headers(1, &[0; 1_000]), Goaway(PROTOCOL)),
    ]
}

fn strings() -> Vec<AbuseCase> {
    let broken = Goaway(COMPRESSION);
    let value = |bytes: &[u8]| call_before(&[&[0x00, 0x01, b'x'], bytes].concat());
    vec![
        case("name longer than its block", call_before(&[0x00, 0x7e, b'x']), broken),
        case("value longer than its block", value(&[0x7e, b'y']), broken),
        case("value of 2 GiB", value(&[0x7f, 0x80, 0xff, 0xff, 0xff, 0x07]), broken),
        case("value of 16 EiB", value(&[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]), broken),
        case("Huffman code of the end of string", value(&[0x84, 0xff, 0xff, 0xff, 0xff]), broken),
        case("Huffman padding of zeros", value(&[0x81, 0x00]), broken),
        case("Huffman padding of a byte", value(&[0x82, 0x07, 0xff]), broken),
        case("Huffman code without its end", value(&[0x81, 0xfe]), broken),
        case("Huffman code of NUL", value(&[0x82, 0xff, 0xc7]), Goaway(PROTOCOL)),
        case("Huffman code in order", value(&[0x81, 0x07]), Status(0)),
    ]
}

fn tables() -> Vec<AbuseCase> {
    let broken = Goaway(COMPRESSION);
    let name = "x".repeat(60);
    let value = "y".repeat(3_900);
    // One entry of 4 KiB, referenced by one byte each time: a block of 16 KiB would expand to 64 MiB of headers.
    let bomb = [block(&GOOD), kept(&name, &value), vec![0xbe; 11_000]].concat();
    let churn = |entries: usize| -> Vec<u8> { (0..entries).flat_map(|at| kept(&format!("x-{at}"), "")).collect() };
    vec![
        case("table size over what was granted", call_after(&[0x3f, 0xe2, 0x1f]), broken),
        case("table size of 4 GiB", call_after(&[0x3f, 0xe0, 0xff, 0xff, 0xff, 0x0f]), broken),
        case("table size over 64 bits", call_after(&[&[0x3f][..], &[0xff; 24]].concat()), broken),
        case("table size after a field", call_before(&[0x20]), broken),
        case("table size of nothing", call_after(&[0x20]), Status(0)),
        case("table size three times", call_after(&[0x20, 0x3f, 0xe1, 0x1f, 0x20]), Status(0)),
        case("entry larger than the table", call_before(&kept(&name, &"y".repeat(8_000))), Status(0)),
        case(
            "index of an entry that was too large",
            call_before(&[kept(&name, &"y".repeat(8_000)), vec![0xbe]].concat()),
            broken,
        ),
        case("entries one after another", call_before(&churn(200)), Status(0)),
        case("block that unfolds to 44 MiB", [headers(1, &bomb), body(1)].concat(), Goaway(CALM)),
        case(
            "block of 11,000 fields of the table",
            [headers(1, &[block(&GOOD), vec![0x90; 11_000]].concat()), body(1)].concat(),
            Goaway(CALM),
        ),
    ]
}

/// Returns all cases.
pub fn cases() -> Vec<AbuseCase> {
    [indexes(), strings(), tables()].into_iter().flatten().collect()
}
