//! Long runs of `name`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| policyhub_fuzz::targets::name::check(input));
