//! Long runs of `set_proof`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| policyhub_fuzz::targets::set_proof::check(input));
