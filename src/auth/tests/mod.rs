//! Tests of the whole module: credentials that must be refused.

mod bad_tokens;
