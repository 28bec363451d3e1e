//! The integration tests: one binary, one file per verb, run on SQLite and on PostgreSQL by the same bodies.

#![cfg(feature = "cli")]
#![expect(clippy::disallowed_methods, reason = "tests spawn their own tasks and look at their own environment")]

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod otlp;
#[cfg(test)]
mod vectors;
