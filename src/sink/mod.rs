//! Where the tables go: one folder a run, published at once by swapping one pointer.
//!
//! ```text
//! <out>/latest -> runs/<run_id>      <out>/latest.json      <out>/.lock
//! <out>/runs/<run_id>/<table>.parquet   quarantine/   manifest.json
//! ```
//!
//! The way through it: [`Output::claim`] takes the lock and tidies up after dead runs,
//! [`Output::stage`] opens a hidden folder, [`Staging::write_table`] fills it, and
//! [`Staging::publish`] renames it to its final name and swaps the pointers. [`open_latest`] reads
//! a finished run back. Nothing here knows what a table means, and no table is named here.
//!
//! The invariant: whatever dies whenever, a reader who follows `latest` sees one whole run, the one
//! before or the new one. Nothing is ever written at a path that `latest` leads to.

mod finished;
mod file;
mod lock;
mod manifest;
mod paths;
mod pointers;
mod publish;
mod retention;
mod writer;

pub use finished::{FinishedRun, open_latest};
pub use manifest::{
    Account, ColumnEntry, FileEntry, InputEntry, InputFile, MANIFEST_VERSION, Manifest,
    QualityEntry, RowCounts, SkippedTable, TableEntry, Timing,
};
pub use paths::{RunIdentity, check_apart};
pub use publish::{Novelty, Output, Published, Staging, Stamp};
pub use writer::{Heading, TABLE_SCHEMA_VERSION};

#[cfg(test)]
mod tests;
