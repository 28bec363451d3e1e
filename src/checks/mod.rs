//! Is it fit: parsers, JSON Schema, the label rule, and the report they add up to; also what differs between contents.
//!
//! Pure and bounded: the content is hostile until it has passed, so every walk over it has a limit on depth, work and
//! memory. Sees neither network nor database nor clock. What this room accepts is one meaning for every reader.

pub mod diff;
mod document;
mod json;
mod run;
mod schema;
mod strict;
mod yaml;
mod yaml_anchors;
mod yaml_scalar;

pub use document::{Document, ParseFailure, parse};
pub use run::{Input, run};
pub use schema::{Schema, compile_schema};
