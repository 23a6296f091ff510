//! `findings`: one row per input and data-quality rule, made by the quality ledger after the fold.
//! It carries no dimensions and no periods.

use std::sync::Arc;

use super::batch::{Batch, BatchBuilder, Wanted};
use super::{Dictionaries, Kind, Relation, RelationColumn, column};
use crate::config::Severity;
use crate::error::Error;
use crate::quality::Ledger;

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

/// The relation of a ledger; adds the names of inputs and rules to the dictionaries.
///
/// # Errors
/// A bug of ours: the columns do not fit their declaration.
pub fn batch(
    ledger: &Ledger,
    dictionaries: &mut Dictionaries,
    wanted: &Wanted,
) -> Result<Batch, Error> {
    let (findings, counts) = (ledger.findings(), ledger.counts());
    let inputs: Vec<String> = counts.keys().cloned().collect();
    let mut rules: Vec<String> = findings.iter().map(|f| f.rule.name().to_owned()).collect();
    rules.sort();
    rules.dedup();
    let code = |names: &[String], name: &str| {
        names.binary_search_by(|n| n.as_str().cmp(name)).map_or(u32::MAX, |c| c as u32)
    };
    let of_input = |f: fn(&crate::quality::Counts) -> u64| -> Vec<i64> {
        findings.iter().map(|x| counts.get(&x.input).map_or(0, f).cast_signed()).collect()
    };
    let builder = BatchBuilder::new(Relation::Findings, findings.len(), wanted)
        .small("shard", || vec![0; findings.len()])
        .name("input", || findings.iter().map(|f| code(&inputs, &f.input)).collect::<Vec<_>>())
        .name("rule", || findings.iter().map(|f| code(&rules, f.rule.name())).collect::<Vec<_>>())
        .name("subject", || findings.iter().map(|f| f.rule.subject().code()).collect::<Vec<_>>())
        .name("severity", || findings.iter().map(|f| severity_code(f.severity)).collect::<Vec<_>>())
        .int("affected_n", || findings.iter().map(|f| f.affected.cast_signed()).collect())
        .int("checked_n", || findings.iter().map(|f| f.checked.cast_signed()).collect())
        .int("rows_in_n", || of_input(|c| c.rows_in))
        .int("folded_n", || of_input(|c| c.folded))
        .int("quarantined_n", || of_input(|c| c.quarantined))
        .int("after_as_of_n", || of_input(|c| c.after_as_of));
    dictionaries.names.insert("input".into(), Arc::new(inputs));
    dictionaries.names.insert("rule".into(), Arc::new(rules));
    builder.finish(dictionaries)
}

fn severity_code(severity: Severity) -> u32 {
    match severity {
        Severity::Ignore => 0,
        Severity::Warn => 1,
        Severity::Quarantine => 2,
        Severity::Fail => 3,
    }
}
