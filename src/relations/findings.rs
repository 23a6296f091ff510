//! `findings`: one row per input and data-quality rule, made by the quality ledger after the fold.
//! It carries no dimensions and no periods.

use super::{Kind, RelationColumn, column};

/// Columns of the relation.
pub const COLUMNS: &[RelationColumn] = &[
    column("shard", Kind::Small, "always 0"),
    column("input", Kind::Dictionary("input"), "name of the input in the configuration"),
    column("rule", Kind::Dictionary("rule"), "name of the rule"),
    column("subject", Kind::Name(SUBJECTS), "what is counted"),
    column("severity", Kind::Name(SEVERITIES), "what happens when the rule is broken"),
    column("affected_n", Kind::Int, "rows or deals that break the rule"),
    column("checked_n", Kind::Int, "rows or deals that the rule was applied to"),
    column("rows_in_n", Kind::Int, "rows read from this input"),
    column("folded_n", Kind::Int, "rows of this input that went into the relations"),
    column("quarantined_n", Kind::Int, "rows of this input kept out and written to the quarantine"),
    column("after_as_of_n", Kind::Int, "rows of this input later than as_of"),
];

/// What a rule counts.
pub const SUBJECTS: &[&str] = &["rows", "deals", "values"];

/// Names of [`crate::config::Severity`].
pub const SEVERITIES: &[&str] = &["ignore", "warn", "quarantine", "fail"];
