//! The one integration binary: Polars is linked once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    missing_docs,
    reason = "tests may say what they expect"
)]

// The command line as a user meets it.
mod cli;
// Layering, sizes and documents.
mod tidy;
// laws: what every metric of the registry keeps.
// oracle: the same numbers by a naive fold and by DuckDB.
// golden: scenarios as text, expected tables as text.
// real: published data sets and their answers.
// bad_input: what a broken input says.
