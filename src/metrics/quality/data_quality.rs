//! `data_quality`: what the data-quality rules found, and that no row of the input got lost.
//!
//! One row per input and rule, also for rules that nothing breaks. It judges the whole input: there
//! are no periods and no dimensions.
//!
//! Invariant: rows in = folded + quarantined + after as_of, per input (design rule 3).

use crate::error::Error;
use crate::metrics::{Absent, Group, Identity, Metric, Rows, State, View};
use crate::relations::Relation;
use crate::relations::findings::{SEVERITIES, SUBJECTS};
use crate::stats::ratio;
use crate::table::{ColumnSpec, Value};
use crate::time::NO_DAY;

/// The metric.
pub static METRIC: Metric = Metric {
    name: "data_quality",
    question: "Which rows and deals break which rule, and is every row accounted for?",
    grain: "one row per input and rule",
    states: &[State {
        relation: Relation::Findings,
        sql: "SELECT input, rule, subject, severity, SUM(affected_n) AS broken_n, \
              SUM(checked_n) AS looked_at_n, MAX(rows_in_n) AS input_n, MAX(folded_n) AS used_n, \
              MAX(quarantined_n) AS kept_out_n, MAX(after_as_of_n) AS later_n \
              FROM findings GROUP BY input, rule, subject, severity",
        absent: Absent::SkipTable,
    }],
    output: OUTPUT,
    view: View::Table,
    references: &["Batini and Scannapieco, 2016, Data and Information Quality"],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::text("input", "Name of the input in the configuration.").key().nullable(),
    ColumnSpec::text("rule", "Name of the rule.").key().nullable(),
    ColumnSpec::text("subject", "What is counted: rows, deals or values."),
    ColumnSpec::text("severity", "What happens when the rule is broken."),
    ColumnSpec::count("affected_n", "rows", "Rows, deals or values that break the rule."),
    ColumnSpec::count("checked_n", "rows", "Rows, deals or values that it was applied to."),
    ColumnSpec::rate("affected_share", "affected_n / checked_n."),
    ColumnSpec::count("rows_in_n", "rows", "Rows read from the input."),
    ColumnSpec::count("folded_n", "rows", "Of these, rows that went into the relations."),
    ColumnSpec::count("quarantined_n", "rows", "Of these, rows kept out and written apart."),
    ColumnSpec::count("after_as_of_n", "rows", "Of these, rows later than as_of."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "rows_in_n = folded_n + quarantined_n + after_as_of_n",
        holds: |row| {
            let parts = ["folded_n", "quarantined_n", "after_as_of_n"];
            row.int("rows_in_n") == parts.iter().map(|n| row.int(n)).sum()
        },
    },
    Identity {
        claim: "0 ≤ affected_n ≤ checked_n",
        holds: |row| {
            row.int("affected_n") >= Some(0) && row.int("affected_n") <= row.int("checked_n")
        },
    },
];

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [state] = group.states else {
        return Err(Error::Bug("data quality has one state".into()));
    };
    for row in 0..state.rows() {
        let key = |name: &str| -> Result<i64, Error> {
            Ok(state.key(name)?.get(row).copied().unwrap_or(-1))
        };
        let value = |name: &str| -> Result<i64, Error> {
            Ok(state.value(name)?.get(row).copied().unwrap_or(0))
        };
        let named = |dictionary: &str| -> Result<Value<'_>, Error> {
            let name = group.settings.dictionaries.name(dictionary, key(dictionary)?);
            Ok(name.map_or(Value::Null, Value::Text))
        };
        let listed = |name: &str, names: &'static [&'static str]| -> Result<Value<'_>, Error> {
            let code = usize::try_from(key(name)?).ok();
            Ok(code.and_then(|c| names.get(c)).map_or(Value::Null, |n| Value::Text(n)))
        };
        let (affected_n, checked_n) = (value("broken_n")?, value("looked_at_n")?);
        rows.push(
            NO_DAY,
            &[
                ("input", named("input")?),
                ("rule", named("rule")?),
                ("subject", listed("subject", SUBJECTS)?),
                ("severity", listed("severity", SEVERITIES)?),
                ("affected_n", Value::Int(affected_n)),
                ("checked_n", Value::Int(checked_n)),
                ("affected_share", Value::float(ratio(affected_n, checked_n))),
                ("rows_in_n", Value::Int(value("input_n")?)),
                ("folded_n", Value::Int(value("used_n")?)),
                ("quarantined_n", Value::Int(value("kept_out_n")?)),
                ("after_as_of_n", Value::Int(value("later_n")?)),
            ],
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::compute;
    use crate::engine::testing::{plan, settings, table};
    use crate::metrics::testing::check;
    use crate::relations::fixture::Fixture;

    const INPUT: &str = "input=deal_events rows_in_n=100 quarantined_n=3 after_as_of_n=7";

    fn findings(folded_n: i64) -> Fixture {
        let line = |rule: &str| format!("{INPUT} folded_n={folded_n} {rule}");
        Fixture::new(&[])
            .line(
                Relation::Findings,
                &line(
                    "rule=null_deal_id subject=rows severity=quarantine affected_n=3 checked_n=100",
                ),
            )
            .line(
                Relation::Findings,
                &line("rule=tied_events subject=deals severity=warn affected_n=0 checked_n=0"),
            )
    }

    #[test]
    fn every_rule_has_its_row_and_share() {
        let relations = findings(90).build();
        let plan = plan(&[&[]], &[crate::time::Period::Month]);
        let table = table(&relations, &METRIC, &plan, &settings(&relations, 0));
        check(&table, &[], "period", "all all");
        check(&table, &[], "rule", "null_deal_id tied_events");
        check(&table, &[], "subject", "rows deals");
        check(&table, &[], "severity", "quarantine warn");
        check(&table, &[], "affected_share", "0.03 -");
        check(&table, &[], "folded_n", "90 90");
    }

    #[test]
    fn lost_row_breaks_the_identity() {
        let relations = findings(89).build();
        let settings = settings(&relations, 0);
        let error =
            compute(&relations, &[&METRIC], &[], &plan(&[&[]], &[]), &settings).unwrap_err();
        assert!(error.to_string().contains("rows_in_n = folded_n"), "{error}");
        assert!(error.to_string().contains("rule = null_deal_id"), "{error}");
    }

    #[test]
    fn total_is_reported_whatever_the_slices() {
        let relations = findings(90).build();
        let plan = plan(&[&["region"]], &[]);
        let outcome = compute(&relations, &[&METRIC], &[], &plan, &settings(&relations, 0));
        check(&outcome.unwrap().tables[0], &[], "slice", "all all");
    }
}
