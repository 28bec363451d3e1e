//! Long runs of `yaml_check`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| policyhub_fuzz::targets::yaml_check::check(input));
