//! Long runs of `resume`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| policyhub_fuzz::targets::resume::check(input));
