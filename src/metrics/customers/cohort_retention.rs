//! Which share of each cohort came back, by three meanings of coming back.
//!
//! Classic: in the period of that age. Rolling: in that period or any later one, so who pauses is not
//! lost; the youngest ages are always too low, because some will still come. Bracketed: at least once
//! within a bracket of ages, for customers who do not buy every period. Invariant: a cell whose last
//! period has not ended is null, never low.

use super::cells::{self, Cell, Cohort, cohorts};
use crate::error::Error;
use crate::metrics::{Group, Identity, Metric, Rows, View};
use crate::stats::interval::wilson;
use crate::stats::{Z_95, ratio};
use crate::table::{ColumnSpec, Value};

/// Definition: customers by the period of their first order (`period_start`); of these, those with a
/// purchase day at the age (classic), at it or any later age up to as_of (rolling), or at any age from
/// `age` to `last_age` (bracketed), over all customers of the cohort. Brackets are those of
/// `[customers] retention_brackets`, of periods of every length.
///
/// Edge cases: refunds alone bring nobody back; a cell that is not mature has null measures and
/// `exposed_n` 0; a bracket is there once it has begun. Cohorts by day are not made, nor one for the
/// whole history.
pub static METRIC: Metric = Metric {
    name: "cohort_retention",
    question: "What share of the customers of each cohort comes back, and when?",
    grain: "one row per slice, cohort (period_start), method and age in periods",
    states: cells::STATES,
    output: OUTPUT,
    view: View::Heatmap("retention_rate"),
    references: &[
        "Fader and Hardie, 2009, Probability Models for Customer-Base Analysis",
        "Wilson, 1927, Probable Inference, the Law of Succession, and Statistical Inference",
    ],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::text("method", "bracketed, classic or rolling.").key(),
    ColumnSpec::count("age", "periods", "Periods since the cohort's; the first of a bracket.")
        .key(),
    ColumnSpec::count(
        "last_age",
        "periods",
        "The last age that counts: of a bracket its last one, of rolling that of as_of.",
    ),
    ColumnSpec::count("cohort_size_n", "customers", "Customers of the cohort."),
    ColumnSpec::count("exposed_n", "customers", "All of them, or none if not mature."),
    ColumnSpec::flag("is_mature", "The periods that have to have ended have ended by as_of."),
    ColumnSpec::count("retained_n", "customers", "Customers who came back; null if not mature.")
        .nullable(),
    ColumnSpec::rate("retention_rate", "retained_n / exposed_n."),
    ColumnSpec::rate("retention_rate_low", "Lower Wilson 95 % limit of retention_rate."),
    ColumnSpec::rate("retention_rate_high", "Upper Wilson 95 % limit of retention_rate."),
    ColumnSpec::flag("low_n", "Fewer customers in the cohort than the rate floor."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "retained_n ≤ exposed_n ≤ cohort_size_n",
        holds: |row| {
            row.int("retained_n") <= row.int("exposed_n")
                && row.int("exposed_n") <= row.int("cohort_size_n")
        },
    },
    Identity {
        claim: "at age 0 everybody is there",
        holds: |row| {
            let is_later = row.int("age") != Some(0);
            is_later
                || row.int("retained_n").is_none()
                || row.int("retained_n") == row.int("cohort_size_n")
        },
    },
];

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    for cohort in cohorts(group)? {
        for cell in &cohort.cells {
            push(group, rows, &cohort, cell)?;
        }
    }
    Ok(())
}

fn push(group: &Group<'_>, rows: &mut Rows<'_>, cohort: &Cohort, cell: &Cell) -> Result<(), Error> {
    let exposed_n = if cell.is_mature { cohort.size_n } else { 0 };
    let limits = wilson(cell.retained_n, exposed_n, Z_95);
    rows.push(
        cohort.start,
        &[
            ("method", Value::Text(cell.method.name())),
            ("age", Value::Int(cell.age)),
            ("last_age", Value::Int(cell.last_age)),
            ("cohort_size_n", Value::Int(cohort.size_n)),
            ("exposed_n", Value::Int(exposed_n)),
            ("is_mature", Value::Bool(cell.is_mature)),
            ("retained_n", Value::int(cell.is_mature.then_some(cell.retained_n))),
            ("retention_rate", Value::float(ratio(cell.retained_n, exposed_n))),
            ("retention_rate_low", Value::float(limits.map(|l| l.0))),
            ("retention_rate_high", Value::float(limits.map(|l| l.1))),
            ("low_n", Value::Bool(cohort.size_n < group.settings.rate_floor)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{check, orders, run, settings};
    use crate::time::Period;

    #[test]
    fn three_methods_tell_who_pauses_from_who_left() {
        // Of January's three, one comes again in March, one in February and April, one never.
        let found = [(1, 9, 5), (1, 65, 5), (2, 10, 5), (2, 40, 5), (2, 95, 5), (3, 11, 5)];
        // As of 15 May: ages 0 to 3 have ended; brackets 1, 2 to 3, 4 to 6.
        let relations = orders(&found, 134);
        let table = run(&METRIC, &relations, &[Period::Month], &settings(&["L"], 134));
        let at = |method| ["period=month", method];
        check(&table, &at("method=classic"), "retained_n", "3 1 1 1 -");
        // From February on: customers 1 and 2; from April on: customer 2 alone.
        check(&table, &at("method=rolling"), "retained_n", "3 2 2 1 -");
        check(&table, &at("method=rolling"), "last_age", "4 4 4 4 4");
        // In February customer 2; in March or April customers 1 and 2.
        check(&table, &at("method=bracketed"), "age", "1 2 4");
        check(&table, &at("method=bracketed"), "last_age", "1 3 6");
        check(&table, &at("method=bracketed"), "retained_n", "1 2 -");
        check(&table, &at("method=bracketed"), "exposed_n", "3 3 0");
        check(&table, &["period=all"], "age", "");
    }
}
