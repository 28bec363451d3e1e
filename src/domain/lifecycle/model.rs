//! The lifecycle against a reference model.
