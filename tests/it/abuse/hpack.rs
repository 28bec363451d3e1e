//! Reads the header blocks of the server (RFC 7541), as far as tests need the names and values.
//!
//! Except for `:status`, names of the static table are left out: tests need none of them.

use std::collections::VecDeque;

/// The printable ASCII characters by the length of their code (RFC 7541, Appendix B). The code is canonical, so lengths are enough, and
/// except for NUL no other symbol has one as short.
const HUFFMAN: [(u32, &str); 11] = [
    (5, "012aceiost"),
    (6, " %-./3456789=A_bdfghlmnpru"),
    (7, ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, "&*,;XZ"),
    (10, "!\"()?"),
    (11, "'+|"),
    (12, "#>"),
    (13, "\0$@[]~"),
    (14, "^}"),
    (15, "<`{"),
    (19, "\\"),
];
const STATIC_ENTRIES: usize = 61;
/// The values of `:status` in the static table, from its first index on.
const STATUSES: [&str; 7] = ["200", "204", "206", "304", "400", "404", "500"];
const FIRST_STATUS: usize = 8;

/// The dynamic table of one connection.
#[derive(Debug, Default)]
pub struct HpackReader {
    dynamic: VecDeque<(String, String)>,
}

impl HpackReader {
    /// Returns the fields of a whole block.
    pub fn read(&mut self, mut block: &[u8]) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        while let Some(first) = block.first().copied() {
            if first & 0x80 != 0 {
                let index = integer(&mut block, 7);
                fields.push(self.entry(index));
            } else if first & 0xe0 == 0x20 {
                integer(&mut block, 5);
            } else {
                let kept = first & 0x40 != 0;
                let index = integer(&mut block, if kept { 6 } else { 4 });
                let name = if index == 0 { text(&mut block) } else { self.entry(index).0 };
                let field = (name, text(&mut block));
                if kept {
                    self.dynamic.push_front(field.clone());
                }
                fields.push(field);
            }
        }
        fields
    }

    fn entry(&self, index: usize) -> (String, String) {
        if index > STATIC_ENTRIES {
            return self.dynamic[index - STATIC_ENTRIES - 1].clone();
        }
        match index.checked_sub(FIRST_STATUS) {
            Some(at) if at < STATUSES.len() => (":status".to_owned(), STATUSES[at].to_owned()),
            _ => (String::new(), String::new()),
        }
    }
}

fn integer(block: &mut &[u8], prefix_bits: u32) -> usize {
    let mask = (1 << prefix_bits) - 1;
    let mut value = usize::from(take(block)) & mask;
    if value == mask {
        let mut shift = 0;
        loop {
            let byte = take(block);
            value += usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    value
}

fn take(block: &mut &[u8]) -> u8 {
    let (first, rest) = block.split_first().expect("a whole block");
    *block = rest;
    *first
}

fn text(block: &mut &[u8]) -> String {
    let coded = block.first().expect("a whole block") & 0x80 != 0;
    let length = integer(block, 7);
    let (bytes, rest) = block.split_at(length);
    *block = rest;
    if coded { uncoded(bytes) } else { String::from_utf8_lossy(bytes).into_owned() }
}

fn uncoded(bytes: &[u8]) -> String {
    let mut text = String::new();
    let (mut code, mut length) = (0_u32, 0);
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| u32::from(byte >> at & 1))) {
        (code, length) = (code << 1 | bit, length + 1);
        if let Some(symbol) = symbol(code, length) {
            text.push(symbol);
            (code, length) = (0, 0);
        }
    }
    text
}

fn symbol(code: u32, length: u32) -> Option<char> {
    let (mut first, mut before) = (0_u32, 0);
    for (bits, symbols) in HUFFMAN {
        first <<= bits - before;
        if bits == length {
            return code.checked_sub(first).and_then(|at| symbols.chars().nth(at as usize));
        }
        (first, before) = (first + u32::try_from(symbols.chars().count()).expect("few"), bits);
    }
    None
}

#[test]
fn the_examples_of_the_rfc_are_read() {
    // RFC 7541 C.6.1 and C.6.2: Huffman codes and the dynamic table.
    let first =
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3";
    let bytes = |hex: &str| -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
    };
    let mut reader = HpackReader::default();
    let fields = reader.read(&bytes(first));
    let values: Vec<&str> = fields.iter().map(|field| field.1.as_str()).collect();
    assert_eq!(values, ["302", "private", "Mon, 21 Oct 2013 20:13:21 GMT", "https://www.example.com"]);
    assert_eq!(fields[0].0, ":status");
    assert_eq!(reader.read(&bytes("4883640effc1c0bf"))[0].1, "307");
}
