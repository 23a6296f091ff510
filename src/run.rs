//! The whole pipeline on one screen.

use std::path::PathBuf;

use crate::config::Resolved;
use crate::error::Error;
use crate::time::Instant;

/// What a run is told besides its configuration.
#[derive(Clone, Copy)]
pub struct RunOptions<'a> {
    /// Called at the beginning of each step with its name; changes no number.
    pub on_step: &'a (dyn Fn(&str) + Sync),
}

/// What a run has to say when it is done.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// The run's instant.
    pub as_of: Instant,
    /// Rows read from the inputs.
    pub rows_in: u64,
    /// Rows kept out and written to the quarantine.
    pub rows_quarantined: u64,
    /// Rows later than `as_of`.
    pub rows_after_as_of: u64,
    /// Deals folded.
    pub deals: u64,
    /// Tables written, with their rows.
    pub tables: Vec<(String, u64)>,
    /// Tables left out, each with the reason in a sentence.
    pub skipped: Vec<(String, String)>,
    /// What a reader should know before trusting the numbers, one sentence each.
    pub warnings: Vec<String>,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// The folder of the finished run; empty where nothing is published.
    pub run_dir: PathBuf,
}

/// Reads the inputs, folds them, computes every table and publishes them.
///
/// # Errors
/// Whatever [`Error`] lists from exit code 3 on.
pub fn execute(_resolved: &Resolved, _options: &RunOptions<'_>) -> Result<Summary, Error> {
    Err(Error::Bug("the pipeline is not connected".into()))
}

/// Reads and judges the inputs; writes only the quality report.
///
/// # Errors
/// As [`execute`].
pub fn check(_resolved: &Resolved, _options: &RunOptions<'_>) -> Result<Summary, Error> {
    Err(Error::Bug("the pipeline is not connected".into()))
}

/// The story of one deal as text: every event, the rule applied to it, and what became of it.
///
/// # Errors
/// As [`execute`]; the deal is not in the inputs.
pub fn explain_deal(
    _resolved: &Resolved,
    _deal: &str,
    _options: &RunOptions<'_>,
) -> Result<String, Error> {
    Err(Error::Bug("the pipeline is not connected".into()))
}
