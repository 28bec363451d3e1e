//! Long runs of `jws_verify`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| policyhub_fuzz::targets::jws_verify::check(input));
