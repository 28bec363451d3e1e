//! The short run of the fuzz targets: their seeds, and seeded random mutations of them, without a fuzzer.
//!
//! The long runs use libFuzzer (`make fuzz`, docs/security.md). A failure prints the input that broke the target.

use std::panic::catch_unwind;
use std::path::Path;

#[path = "../../fuzz/src/targets/mod.rs"]
mod targets;

/// Inputs of a target that parses, of one that signs, and of one that plays a script of deliveries: each costs about ten times as much as
/// the one before.
const READING: usize = 20_000;
const SIGNING: usize = 1_000;
const PLAYING: usize = 300;
/// Longest input, in bytes.
const INPUT_MAX_BYTES: usize = 4 * 1024;
/// Largest number of mutations of one input.
const MUTATIONS_MAX: usize = 6;
/// Tokens of the grammars, which mutations of single bytes hardly ever produce.
const WORDS: [&[u8]; 28] = [
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\n",
    b" ",
    b"/",
    b".",
    b"-",
    b"&a",
    b"*a",
    b"!!str ",
    b"- ",
    b"? ",
    b"9007199254740993",
    b"-1",
    b"1e999",
    b"null",
    b"\\u0000",
    b"\xff",
    b"\0",
    b"\xef\xbb\xbf",
    b"v",
    b"\"exp\":0,",
    b"\"sub\":\"x\",",
];

/// A random number generator (SplitMix64).
struct ByteRng(u64);

impl ByteRng {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound.max(1) as u64).expect("below a usize")
    }
}

/// Applies one more mutation to an input.
fn mutate(input: &mut Vec<u8>, seeds: &[Vec<u8>], rng: &mut ByteRng) {
    let at = rng.below(input.len() + 1);
    let end = (at + 1 + rng.below(16)).min(input.len());
    match rng.below(8) {
        0 | 1 if at < input.len() => input[at] ^= 1 << rng.below(8),
        2 if at < input.len() => input[at] = u8::try_from(rng.below(256)).expect("a byte"),
        3 => drop(input.drain(at.min(end)..end)),
        4 => input.insert(at, u8::try_from(rng.below(256)).expect("a byte")),
        5 => {
            let chunk = input[at.min(end)..end].to_vec();
            input.splice(at..at, chunk.repeat(1 + rng.below(64)));
        }
        6 => {
            let other = &seeds[rng.below(seeds.len())];
            let from = rng.below(other.len());
            input.splice(at.., other[from..].iter().copied());
        }
        _ => drop(input.splice(at..at, WORDS[rng.below(WORDS.len())].iter().copied())),
    }
    input.truncate(INPUT_MAX_BYTES);
}

/// Returns these seeds and that many mutations of them, the same ones each time.
pub fn mutated(seeds: &[impl AsRef<[u8]>], count: usize) -> impl Iterator<Item = Vec<u8>> {
    let seeds: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.as_ref().to_vec()).collect();
    let (all, mut rng) = (seeds.clone(), ByteRng(1));
    let mutated = (0..count).map(move |_| {
        let mut input = seeds[rng.below(seeds.len())].clone();
        for _ in 0..1 + rng.below(MUTATIONS_MAX) {
            mutate(&mut input, &seeds, &mut rng);
        }
        input
    });
    all.into_iter().chain(mutated)
}

fn run(name: &str, executions: usize) {
    let target = targets::TARGETS.iter().find(|target| target.name == name).expect("a target");
    for input in mutated(&(target.seeds)(), executions) {
        assert!(catch_unwind(|| (target.check)(&input)).is_ok(), "{name} breaks on {}", input.escape_ascii());
    }
}

/// Writes the inputs that long runs begin with: each seed to `fuzz/corpus/`, named by its digest.
#[test]
#[ignore = "writes files, for make fuzz"]
fn seeds() {
    for target in targets::TARGETS {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target.name);
        std::fs::create_dir_all(&corpus).expect("a directory");
        for seed in (target.seeds)() {
            let digest = policyhub::signing::digest_of(&seed);
            std::fs::write(corpus.join(digest.as_str().trim_start_matches("sha256:")), &seed).expect("a file");
        }
    }
}

macro_rules! short_runs {
    ($($name:ident: $executions:expr;)*) => {
        $(#[test]
        fn $name() {
            run(stringify!($name), $executions);
        })*

        #[test]
        fn every_target_has_a_short_run_and_a_binary() {
            let short = [$(stringify!($name)),*];
            assert!(targets::TARGETS.iter().map(|target| target.name).eq(short));
            for name in short {
                let binary = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz/fuzz_targets/{name}.rs"));
                let text = std::fs::read_to_string(&binary).expect("a binary");
                assert!(text.contains(&format!("targets::{name}::check(input)")), "{}", binary.display());
            }
        }
    };
}

short_runs! {
    active_set: PLAYING;
    files: READING;
    filter: READING;
    jwks: READING;
    json_check: READING;
    jws_verify: SIGNING;
    name: READING;
    page_token: READING;
    resume: READING;
    set_proof: READING;
    statement: READING;
    token: SIGNING;
    yaml_check: READING;
}
