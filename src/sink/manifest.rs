//! What a run says about itself, as `manifest.json`: its inputs, its outputs, what became of every
//! row, and what it left out.
//!
//! The keys are stable and in the order declared here. Timings and modification times are the only
//! values that differ between two runs on the same inputs.

use serde::{Deserialize, Serialize};

use crate::config::Format;
use crate::table::{ColumnSpec, Nulls, Role};

/// Version of the manifest's keys; raised when one changes its meaning or goes away.
pub const MANIFEST_VERSION: u32 = 1;

/// Name of the manifest in the run folder.
pub(super) const MANIFEST_FILE: &str = "manifest.json";

/// The manifest of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`MANIFEST_VERSION`] of the program that wrote it.
    pub manifest_version: u32,
    /// Name of the run's folder.
    pub run_id: String,
    /// The run's instant, RFC 3339, UTC.
    pub as_of: String,
    /// Version of Dealmill.
    pub dealmill_version: String,
    /// Hash of the configuration.
    pub config_hash: String,
    /// Every table written, by name.
    pub tables: Vec<TableEntry>,
    /// Every other file written, by path: the quarantine.
    pub files: Vec<FileEntry>,
    /// What the run tells of its inputs and its course.
    #[serde(flatten)]
    pub account: Account,
}

/// The part of the manifest that the run fills in; the sink knows the rest.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    /// What became of the rows of the deal history.
    pub rows: RowCounts,
    /// The inputs, by name.
    pub inputs: Vec<InputEntry>,
    /// Tables that were not made, and why.
    pub skipped_tables: Vec<SkippedTable>,
    /// Data-quality rules that were broken.
    pub quality: Vec<QualityEntry>,
    /// What the user should know, in sentences.
    pub warnings: Vec<String>,
    /// How long the steps took.
    pub timings: Vec<Timing>,
}

/// What became of the rows: in = folded + quarantined + after `as_of`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RowCounts {
    /// Rows read.
    pub rows_in_n: u64,
    /// Rows that went into the relations.
    pub folded_n: u64,
    /// Rows written to the quarantine.
    pub quarantined_n: u64,
    /// Rows later than `as_of`.
    pub after_as_of_n: u64,
}

/// One input.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct InputEntry {
    /// Name in the configuration.
    pub name: String,
    /// Rows in all files.
    pub rows: u64,
    /// Bytes read from the files, less than their size where columns or row groups were skipped.
    pub bytes_read: u64,
    /// Its files, by path.
    pub files: Vec<InputFile>,
}

/// One file of an input.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct InputFile {
    /// Path as found.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// When it was last modified, RFC 3339, UTC.
    pub modified_at: String,
    /// Fingerprint of its content or footer.
    pub fingerprint: String,
    /// Rows.
    pub rows: u64,
    /// Bytes read from it.
    pub bytes_read: u64,
}

/// One table written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableEntry {
    /// Table name.
    pub name: String,
    /// Path within the run folder.
    pub path: String,
    /// File format.
    pub format: Format,
    /// Rows.
    pub rows: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// BLAKE3 of the file.
    pub digest: String,
    /// Columns, in order.
    pub columns: Vec<ColumnEntry>,
}

/// One column of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnEntry {
    /// Name.
    pub name: String,
    /// Type: `text`, `int64`, `float64`, `decimal`, `bool`, `date`, `timestamp`.
    #[serde(rename = "type")]
    pub dtype: String,
    /// Digits after the point of a `decimal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<i8>,
    /// Unit in words.
    pub unit: String,
    /// Whether it may be null.
    pub nullable: bool,
    /// Whether it is part of the row's key.
    pub key: bool,
    /// What it means.
    pub meaning: String,
}

impl ColumnEntry {
    /// The entry of a declared column with the type that it has in the file.
    #[must_use]
    pub fn new(spec: &ColumnSpec, stored: &arrow::datatypes::DataType) -> Self {
        let scale = match stored {
            arrow::datatypes::DataType::Decimal128(_, scale) => Some(*scale),
            _ => None,
        };
        Self {
            name: spec.name.to_string(),
            dtype: spec.dtype.name().to_owned(),
            scale,
            unit: spec.unit.to_owned(),
            nullable: spec.nulls == Nulls::Allowed,
            key: spec.role == Role::Key,
            meaning: spec.meaning.to_string(),
        }
    }
}

/// One file written that is not a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Path within the run folder.
    pub path: String,
    /// Rows.
    pub rows: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// BLAKE3 of the file.
    pub digest: String,
}

/// A table that was not made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedTable {
    /// Table name.
    pub name: String,
    /// Why, in a sentence.
    pub reason: String,
}

/// A broken data-quality rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QualityEntry {
    /// Name of the input.
    pub input: String,
    /// Name of the rule.
    pub rule: String,
    /// What happens when it is broken.
    pub severity: String,
    /// What is counted: rows, deals or values.
    pub subject: String,
    /// How many break it.
    pub affected_n: u64,
}

/// How long a step took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// The step.
    pub step: String,
    /// Seconds.
    pub seconds: f64,
}
