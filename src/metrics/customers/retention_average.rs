//! Retention over all cohorts that are old enough: one curve instead of a triangle.
//!
//! The weighted mean is of customers, the other one of cohorts; they differ where large cohorts come
//! back more or less often than small ones. Invariant: only mature cells count, zeros among them, so
//! that neither young cohorts nor those without anybody left bend the curve.

use std::collections::BTreeMap;

use super::cells::{self, Method, cohorts};
use crate::error::Error;
use crate::metrics::{Group, Identity, Metric, Rows, View};
use crate::stats::interval::wilson;
use crate::stats::{Z_95, float, ratio};
use crate::table::{ColumnSpec, Value};
use crate::time::NO_DAY;

/// Definition: over the cohorts whose cell of `cohort_retention` is mature, Σ retained_n / Σ exposed_n, and
/// the mean of the cohorts' rates. `period` is the length of the cohorts and ages; `period_start` is
/// null, for a row is about cohorts of all periods.
///
/// Edge cases: an age that no cohort has completed has no row. The cohorts behind neighbouring ages
/// differ, so the curve may rise.
pub static METRIC: Metric = Metric {
    name: "retention_average",
    question: "What share of customers comes back at each age, over all cohorts?",
    grain: "one row per slice, period length, method and age in periods",
    states: cells::STATES,
    output: OUTPUT,
    view: View::Line("retention_rate_weighted"),
    references: &[
        "Wilson, 1927, Probable Inference, the Law of Succession, and Statistical Inference",
    ],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::text("method", "bracketed, classic or rolling, as in cohort_retention.").key(),
    ColumnSpec::count("age", "periods", "Periods since the cohort's; the first of a bracket.")
        .key(),
    ColumnSpec::count("cohorts_n", "cohorts", "Cohorts whose cell is mature."),
    ColumnSpec::count("exposed_n", "customers", "Customers of these cohorts."),
    ColumnSpec::count("retained_n", "customers", "Customers of these who came back."),
    ColumnSpec::rate("retention_rate_weighted", "retained_n / exposed_n."),
    ColumnSpec::rate("retention_rate_weighted_low", "Lower Wilson 95 % limit of it."),
    ColumnSpec::rate("retention_rate_weighted_high", "Upper Wilson 95 % limit of it."),
    ColumnSpec::rate("retention_rate_unweighted", "Mean of the rates of the cohorts."),
    ColumnSpec::rate("retention_rate_min", "The lowest rate of a cohort."),
    ColumnSpec::rate("retention_rate_max", "The highest rate of a cohort."),
    ColumnSpec::flag("low_n", "exposed_n is below the rate floor."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "retained_n ≤ exposed_n and cohorts_n ≤ exposed_n",
        holds: |row| {
            row.int("retained_n") <= row.int("exposed_n")
                && row.int("cohorts_n") <= row.int("exposed_n")
        },
    },
    Identity {
        claim: "both means lie between the lowest and the highest rate",
        holds: |row| {
            let (low, high) = (row.float("retention_rate_min"), row.float("retention_rate_max"));
            ["retention_rate_weighted", "retention_rate_unweighted"].iter().all(|name| {
                let mean = row.float(name);
                low <= mean.map(|m| m + 1e-12) && mean.map(|m| m - 1e-12) <= high
            })
        },
    },
];

/// What the cohorts of one method and age add up to.
#[derive(Debug, Clone, Copy)]
struct Sum {
    cohorts_n: i64,
    exposed_n: i64,
    retained_n: i64,
    rates: f64,
    least: f64,
    most: f64,
}

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let mut sums: BTreeMap<(Method, i64), Sum> = BTreeMap::new();
    for cohort in cohorts(group)? {
        for cell in cohort.cells.iter().filter(|cell| cell.is_mature) {
            let Some(rate) = ratio(cell.retained_n, cohort.size_n) else { continue };
            let none = Sum {
                cohorts_n: 0,
                exposed_n: 0,
                retained_n: 0,
                rates: 0.0,
                least: f64::INFINITY,
                most: f64::NEG_INFINITY,
            };
            let sum = sums.entry((cell.method, cell.age)).or_insert(none);
            sum.cohorts_n += 1;
            sum.exposed_n += cohort.size_n;
            sum.retained_n += cell.retained_n;
            sum.rates += rate;
            sum.least = sum.least.min(rate);
            sum.most = sum.most.max(rate);
        }
    }
    for ((method, age), sum) in sums {
        let limits = wilson(sum.retained_n, sum.exposed_n, Z_95);
        rows.push(
            NO_DAY,
            &[
                ("method", Value::Text(method.name())),
                ("age", Value::Int(age)),
                ("cohorts_n", Value::Int(sum.cohorts_n)),
                ("exposed_n", Value::Int(sum.exposed_n)),
                ("retained_n", Value::Int(sum.retained_n)),
                ("retention_rate_weighted", Value::float(ratio(sum.retained_n, sum.exposed_n))),
                ("retention_rate_weighted_low", Value::float(limits.map(|l| l.0))),
                ("retention_rate_weighted_high", Value::float(limits.map(|l| l.1))),
                ("retention_rate_unweighted", Value::Float(sum.rates / float(sum.cohorts_n))),
                ("retention_rate_min", Value::Float(sum.least)),
                ("retention_rate_max", Value::Float(sum.most)),
                ("low_n", Value::Bool(sum.exposed_n < group.settings.rate_floor)),
            ],
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{cdnow_sample, cells, check, orders, run, settings};
    use crate::time::{Period, from_date};

    #[test]
    fn a_cohort_nobody_came_back_of_counts_with_zero() {
        // January: 1 and 2, of whom 1 comes again in February; February: 3, who does not.
        let relations = orders(&[(1, 9, 5), (1, 40, 5), (2, 10, 5), (3, 41, 5)], 95);
        let table = run(&METRIC, &relations, &[Period::Month], &settings(&["L"], 95));
        let one = &["method=classic", "age=1"][..];
        check(&table, one, "cohorts_n", "2");
        check(&table, one, "retained_n", "1");
        // 1 of 3 customers; the mean of 1/2 and 0.
        check(&table, one, "retention_rate_weighted", "0.3333333333333333");
        check(&table, one, "retention_rate_unweighted", "0.25");
        // March is over for January's customers only as their age 2.
        check(&table, &["method=classic"], "age", "0 1 2");
        check(&table, &["method=classic", "age=2"], "cohorts_n", "1");
    }

    #[test]
    fn cdnow_averages_follow_from_the_printed_cohorts() {
        let Some(relations) = cdnow_sample() else { return };
        let as_of = from_date("1998-07-01".parse().unwrap());
        let table = run(&METRIC, &relations, &[Period::Month], &settings(&["L"], as_of.into()));
        // Printed, month 1: 124 of 781, 134 of 857, 87 of 719; month 12: 45, 59, 78.
        for (age, retained) in [("age=1", [124, 134, 87]), ("age=12", [45, 59, 78])] {
            let at = &["method=classic", age][..];
            check(&table, at, "exposed_n", "2357");
            check(&table, at, "retained_n", &retained.iter().sum::<i32>().to_string());
            let rates =
                retained.iter().zip([781.0, 857.0, 719.0]).map(|(n, of)| f64::from(*n) / of);
            let found: f64 = cells(&table, at, "retention_rate_unweighted")[0].parse().unwrap();
            assert!((found - rates.sum::<f64>() / 3.0).abs() < 1e-12);
        }
    }
}
