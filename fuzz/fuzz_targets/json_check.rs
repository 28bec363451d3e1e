//! Long runs of `json_check`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| policyhub_fuzz::targets::json_check::check(input));
