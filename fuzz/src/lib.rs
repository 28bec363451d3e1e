//! The bodies of the fuzz targets, for libFuzzer (`fuzz_targets/`) and for the short run in the tests of policyhub.
//!
//! Each target states what must hold for every input, and panics where it does not. Nothing here reads a clock, a file or a random number:
//! an input always has the same effect.

pub mod targets;
