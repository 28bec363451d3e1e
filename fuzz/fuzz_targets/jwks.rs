//! Long runs of `jwks`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| policyhub_fuzz::targets::jwks::check(input));
