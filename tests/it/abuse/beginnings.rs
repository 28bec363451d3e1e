//! Malformed connection starts: of HTTP/2 (RFC 9113 §3.4) and of TLS (RFC 8446 §5). The server under test has short timeouts.

use super::case::{AbuseCase, Closed, Goaway, NO_ERROR, PROTOCOL, case};
use super::wire::{PREFACE, SETTINGS, call, claiming, frame, open, setting};

/// Returns a case that sends only these bytes.
fn only(name: &'static str, says: &[u8]) -> AbuseCase {
    case(name, says.to_vec(), Closed).with_no_beginning()
}

/// Returns the cases for a plaintext port.
pub fn plaintext() -> Vec<AbuseCase> {
    let wrong = |at: usize| {
        let mut preface = PREFACE.to_vec();
        preface[at] ^= 0x20;
        preface
    };
    let after = |frames: Vec<u8>| [PREFACE, &frames].concat();
    let begun = |name, frames, end: super::case::ExpectedEnd| case(name, after(frames), end).with_no_beginning();
    // h2 does not require settings: it uses the defaults.
    vec![
        only("silence", b""),
        only("one byte", b"P"),
        only("half of a preface", &PREFACE[..12]),
        only("a preface but its last byte", &PREFACE[..23]),
        only("a preface with its first byte wrong", &wrong(0)),
        only("a preface with its last byte wrong", &wrong(23)),
        only("a preface in lower case", &PREFACE.to_ascii_lowercase()),
        only("HTTP/1.1", b"GET / HTTP/1.1\r\nHost: policyhub\r\n\r\n"),
        only(
            "an upgrade from HTTP/1.1",
            b"GET / HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n",
        ),
        only("HTTP/0.9", b"GET /\r\n"),
        only("a head of HTTP/1.1 without its end", b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\nX: "),
        only("TLS on a plaintext port", &hello(b"")),
        only("the PROXY protocol", b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n"),
        only("a banner of SSH", b"SSH-2.0-OpenSSH_9.0\r\n"),
        only("zeros", &[0; 4_096]),
        only("line ends", &b"\r\n".repeat(2_048)),
        only("frames without a preface", &setting(2, 0)),
        begun("a ping before settings", frame(6, 0, 0, &[0; 8]), Goaway(NO_ERROR)),
        begun("headers before settings", open(1), Goaway(NO_ERROR)),
        begun("an acknowledgement before settings", frame(SETTINGS, 1, 0, &[]), Goaway(NO_ERROR)),
        begun("a preface twice", PREFACE.to_vec(), Goaway(super::case::FRAME_SIZE)),
        case("a preface and silence", after(Vec::new()), [Closed, Goaway(NO_ERROR), Goaway(PROTOCOL)])
            .with_no_beginning(),
        case("settings without their end", after(claiming(6, SETTINGS, 0, 0, &[0, 4])), [Closed, Goaway(NO_ERROR)])
            .with_no_beginning(),
        case("headers without their end, and silence", claiming(100, 1, 4, 1, &[0x83]), [Closed, Goaway(NO_ERROR)])
            .then_silence(),
        case("a call, and silence", call(1, &[]), [Closed, Goaway(NO_ERROR), super::case::Status(0)]).then_silence(),
    ]
}

/// Returns a ClientHello in one record, with this session field.
fn hello(session: &[u8]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(u8::try_from(session.len()).expect("short"));
    body.extend(session);
    body.extend([0, 2, 0x13, 0x01, 1, 0]);
    let length = u32::try_from(body.len()).expect("short").to_be_bytes();
    record(22, &[&[1], &length[1..], &body].concat())
}

fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind, 3, 1], &u16::try_from(payload.len()).expect("short").to_be_bytes()[..], payload].concat()
}

/// Returns the cases for a port with TLS.
pub fn tls() -> Vec<AbuseCase> {
    let whole = hello(&[1; 32]);
    vec![
        only("silence before a handshake", b""),
        only("garbage for a handshake", &[0xff; 1_000]),
        only("zeros for a handshake", &[0; 1_000]),
        only("HTTP/2 without TLS", &[PREFACE, &setting(2, 0)].concat()),
        only("HTTP/1.1 without TLS", b"GET / HTTP/1.1\r\nHost: policyhub\r\n\r\n"),
        only("one byte of a handshake", &whole[..1]),
        only("the head of a record", &whole[..5]),
        only("half of a handshake", &whole[..whole.len() / 2]),
        only("a handshake but its last byte", &whole[..whole.len() - 1]),
        only("a handshake without extensions", &whole),
        only("a record of 64 KiB", &[&[22, 3, 1, 0xff, 0xff][..], &[1; 1_000]].concat()),
        only("a record of no bytes", &record(22, &[])),
        only("records of no bytes, many times", &record(22, &[]).repeat(1_000)),
        only(
            "a handshake in records of a byte",
            &whole[5..].iter().flat_map(|byte| record(22, &[*byte])).collect::<Vec<_>>(),
        ),
        only("a handshake message of 16 MiB", &record(22, &[1, 0xff, 0xff, 0xff, 3, 3])),
        only("application data before a handshake", &record(23, b"hello")),
        only("an alert before a handshake", &record(21, &[2, 40])),
        only("an unknown record", &record(99, b"hello")),
        only("a hello of SSL 2", &[0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10]),
    ]
}
