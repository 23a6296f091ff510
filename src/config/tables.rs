//! What one table reports by where it differs from the others: its own slices and periods.
//!
//! Everything a table does not say stays as in `[dimensions] slices` and `[run] periods`. Whether a
//! table can be split by a dimension at all is the engine's question.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Config;
use super::places::Problems;
use super::resolve::{did_you_mean, distinct_periods, ordered_slices};
use super::validate::{check_slices, table_names};
use crate::time::Period;

/// What one table reports by, where it differs from the others.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TableOptions {
    /// Sets of dimensions to report this table by. Default: as `[dimensions] slices`, but the total
    /// for tables of fitted models.
    pub slices: Option<Vec<Vec<String>>>,
    /// Reporting periods of this table; the whole history is always there. Default: as `[run]
    /// periods`.
    pub periods: Option<Vec<Period>>,
}

/// Gathers every violation of `[tables]`.
pub(super) fn check(config: &Config, problems: &mut Problems<'_>) {
    let known = table_names(config);
    for (name, options) in &config.tables {
        let key = format!("tables.{name}");
        if !known.contains(&name.as_str()) {
            let meant = did_you_mean(name, known.iter().copied());
            // A key that was given leads to its `--set`; the section has no place of its own there.
            let given = match options {
                TableOptions { slices: Some(_), .. } => format!("{key}.slices"),
                TableOptions { periods: Some(_), .. } => format!("{key}.periods"),
                TableOptions { slices: None, periods: None } => key.clone(),
            };
            problems.add(&given, format!("unknown table {name:?}{meant}"));
        }
        if let Some(slices) = &options.slices {
            check_slices(&format!("{key}.slices"), slices, config, problems);
        }
    }
}

/// The options that say something: slices in the order of the dimensions, nothing twice.
pub(super) fn resolve(config: &Config) -> BTreeMap<String, TableOptions> {
    let resolved = config.tables.iter().map(|(name, options)| {
        let columns = &config.dimensions.columns;
        let slices = options.slices.as_ref().map(|given| ordered_slices(columns, given));
        let periods = options.periods.as_ref().map(distinct_periods);
        (name.clone(), TableOptions { slices, periods })
    });
    resolved.filter(|(_, options)| *options != TableOptions::default()).collect()
}
