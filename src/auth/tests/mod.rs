//! Tests of the whole module: a corpus of credentials that must be refused.

mod bad_tokens;
