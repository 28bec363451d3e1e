//! The integration tests: one binary, one file per verb, run on SQLite and on PostgreSQL by the same bodies.

#![cfg(feature = "cli")]

#[cfg(test)]
mod harness;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod otlp;
#[cfg(test)]
mod vectors;
