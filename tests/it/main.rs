//! The one integration binary: Polars is linked once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    missing_docs,
    unreachable_pub,
    reason = "tests may say what they expect"
)]

// Broken inputs: what they say and what they leave alone.
mod bad_input;
// The command line as a user meets it.
mod cli;
// The story of one deal.
mod explain;
// Scenarios as text, expected tables as text.
mod golden;
// Every way an input may be given, and determinism of the whole.
mod inputs;
// What is said of inputs that are not as they should be.
mod judging;
// What every metric of the registry keeps.
mod laws;
// What is spilled, and limits.
mod memory;
// The same numbers by a naive fold and by DuckDB.
mod oracle;
// From the raw columns of each CRM to finished tables.
mod presets;
// Published data sets and their answers.
mod real;
// Scratch folders, runs, tables read back.
mod support;
// Layering, sizes and documents.
mod tidy;
