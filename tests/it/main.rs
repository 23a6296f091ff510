//! The one integration binary: Polars is linked once.

// The command line as a user meets it.
mod cli;
// Layering, sizes and documents.
mod tidy;
// laws: what every metric of the registry keeps.
// oracle: the same numbers by a naive fold and by DuckDB.
// golden: scenarios as text, expected tables as text.
// real: published data sets and their answers.
// bad_input: what a broken input says.
