//! The bodies of the fuzzing targets, for libFuzzer (`fuzz_targets/`) and for the short run in the tests of policyhub.
//!
//! Each target states what must hold of every input, and panics where it does not. Nothing here reads a clock, a file or
//! chance: an input always does the same.

pub mod targets;
