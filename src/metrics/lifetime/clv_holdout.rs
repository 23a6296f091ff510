//! Whether the models foretell: each is fitted to what was known before the hold-out, the last days
//! before as_of, and what it expects of them stands beside what came.
//!
//! Customers are those who had bought before the hold-out; new ones are nobody's to foretell. The
//! parameters are not those of `clv_models`, which know everything.

use rayon::prelude::*;

use super::valuation::{self, InDays, Known, Outcome, Valuation, decimals};
use crate::error::Error;
use crate::metrics::{Absent, Group, Identity, Metric, Rows, Settings, State, StateView, View};
use crate::relations::Relation;
use crate::stats::btyd::{Model, Purchases};
use crate::stats::float;
use crate::table::{ColumnSpec, Value};
use crate::time::{NO_DAY, Period};

/// Customers with so many repeats or more are one bin.
const LAST_BIN: i64 = 7;

/// Definition: purchase days in the hold-out, expected by each model fitted to the time before it
/// and actual, by repeats before the hold-out.
///
/// Edge cases: with fewer than 20 customers with a repeat before the hold-out nothing is expected;
/// a bin without customers is left out.
pub static METRIC: Metric = Metric {
    name: "clv_holdout",
    question: "How well does each model foretell what customers did in the hold-out?",
    grain: "one row per slice, model and repeats before the hold-out (null for all customers)",
    states: &[State {
        relation: Relation::Customers,
        sql: "SELECT calibration_repeats_n, calibration_age_days, calibration_recency_days, \
              COUNT(*) AS buyers_n, SUM(holdout_days_n) AS held_out_n FROM customers \
              WHERE is_calibrated = 1 \
              GROUP BY calibration_repeats_n, calibration_age_days, calibration_recency_days",
        absent: Absent::SkipTable,
    }],
    output: OUTPUT,
    view: View::Bars("expected_purchases_mean"),
    references: &["Fader, Hardie and Lee, 2005, Counting Your Customers the Easy Way"],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::text("clv_model", "bg_nbd, mbg_nbd or pareto_nbd.").key(),
    ColumnSpec::count(
        "calibration_repeats_n",
        "purchase days",
        "Repeats before the hold-out; 7 is 7 or more, null is all customers.",
    )
    .key()
    .nullable(),
    ColumnSpec::text(
        "fit_status",
        "Of the model before the hold-out: converged, boundary, not_converged or too_few.",
    ),
    ColumnSpec::count("holdout_days", "days", "Length of the hold-out."),
    ColumnSpec::count("customers_n", "customers", "Customers who bought before the hold-out."),
    ColumnSpec::count("purchases_n", "purchase days", "Their purchase days in the hold-out."),
    ColumnSpec::number(
        "expected_purchases",
        "purchase days",
        "What the model expects of them; null where it has no usable fit.",
    )
    .nullable(),
    ColumnSpec::number("purchases_mean", "purchase days", "purchases_n / customers_n."),
    ColumnSpec::number(
        "expected_purchases_mean",
        "purchase days",
        "expected_purchases / customers_n; null where it has no usable fit.",
    )
    .nullable(),
    ColumnSpec::number(
        "bias_rate",
        "share",
        "expected_purchases / purchases_n − 1: above 0 the model promises too much; null without \
         purchases or a usable fit.",
    )
    .nullable(),
    ColumnSpec::flag("low_n", "Fewer customers than the rate floor."),
];

const IDENTITIES: &[Identity] = &[Identity {
    claim: "nothing expected is below 0",
    holds: |row| row.float("expected_purchases").is_none_or(|expected| expected >= 0.0),
}];

/// The customers of one bin.
#[derive(Debug, Clone, Copy, Default)]
struct Bin {
    customers_n: i64,
    purchases_n: i64,
    expected: f64,
}

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [state] = group.states else {
        return Err(Error::Bug("the hold-out has one state".into()));
    };
    if group.period != Period::All || state.rows() == 0 {
        return Ok(());
    }
    let valuation = &group.settings.clv;
    let known = Known::new(read(state)?.map(|(row, _)| row), valuation);
    let of_model = |model: &Model| -> Result<_, Error> {
        let outcome = known.fit(*model);
        let fitted = outcome.usable().map(|parameters| model.with(parameters));
        Ok((*model, outcome, bins(state, fitted, valuation)?))
    };
    let all = Model::EVERY.par_iter().map(of_model).collect::<Result<Vec<_>, Error>>()?;
    for (model, outcome, bins) in all {
        push_model(rows, model, &outcome, &bins, group.settings)?;
    }
    Ok(())
}

/// Repeats, recency, age and customers before the hold-out, and their purchase days in it.
fn read<'a>(state: &StateView<'a>) -> Result<impl Iterator<Item = (InDays, i64)> + use<'a>, Error> {
    let columns =
        ["calibration_repeats_n", "calibration_recency_days", "calibration_age_days", "buyers_n"];
    let held_out = state.value("held_out_n")?.iter().copied();
    Ok(valuation::histories(state, columns)?.zip(held_out))
}

/// What came and what is expected, bin by bin. Rows come by repeats, then age, so that what depends
/// on these alone is computed once.
fn bins(
    state: &StateView<'_>,
    model: Option<Purchases>,
    valuation: &Valuation,
) -> Result<Vec<Bin>, Error> {
    let horizon = valuation.units(f64::from(valuation.holdout_days));
    let mut bins = vec![Bin::default(); LAST_BIN as usize + 1];
    let mut last: Option<(i64, i64, f64)> = None;
    for ((repeats_n, recency, age, customers_n), purchases_n) in read(state)? {
        let Some(bin) = bins.get_mut(repeats_n.clamp(0, LAST_BIN) as usize) else { continue };
        bin.customers_n += customers_n;
        bin.purchases_n += purchases_n;
        let Some(model) = model else { continue };
        let h = valuation.history(repeats_n, recency, age, customers_n);
        let if_alive = match last {
            Some((x, t, known)) if (x, t) == (repeats_n, age) => known,
            _ => model.expected_if_alive(h.repeats, h.age, horizon),
        };
        last = Some((repeats_n, age, if_alive));
        bin.expected += h.customers * model.alive(h.repeats, h.recency, h.age) * if_alive;
    }
    Ok(bins)
}

fn push_model(
    rows: &mut Rows<'_>,
    model: Model,
    outcome: &Outcome<4>,
    bins: &[Bin],
    settings: &Settings,
) -> Result<(), Error> {
    let total = bins.iter().fold(Bin::default(), |sum, bin| Bin {
        customers_n: sum.customers_n + bin.customers_n,
        purchases_n: sum.purchases_n + bin.purchases_n,
        expected: sum.expected + bin.expected,
    });
    let each = bins.iter().zip(0..).map(|(bin, repeats_n)| (Some(repeats_n), bin));
    let with_total = std::iter::once((None, &total)).chain(each);
    for (repeats_n, bin) in with_total.filter(|(_, bin)| bin.customers_n > 0) {
        let expected = outcome.usable().map(|_| bin.expected).filter(|e| e.is_finite());
        let customers = float(bin.customers_n);
        let bias = expected.filter(|_| bin.purchases_n > 0);
        let bias = bias.map(|expected| expected / float(bin.purchases_n) - 1.0);
        rows.push(
            NO_DAY,
            &[
                ("clv_model", Value::Text(model.name())),
                ("calibration_repeats_n", Value::int(repeats_n)),
                ("fit_status", Value::Text(outcome.status())),
                ("holdout_days", Value::Int(i64::from(settings.clv.holdout_days))),
                ("customers_n", Value::Int(bin.customers_n)),
                ("purchases_n", Value::Int(bin.purchases_n)),
                ("expected_purchases", Value::float(expected.map(|e| decimals(e, 4)))),
                ("purchases_mean", Value::Float(float(bin.purchases_n) / customers)),
                (
                    "expected_purchases_mean",
                    Value::float(expected.map(|e| decimals(e / customers, 6))),
                ),
                ("bias_rate", Value::float(bias.map(|bias| decimals(bias, 6)))),
                ("low_n", Value::Bool(bin.customers_n < settings.rate_floor)),
            ],
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{cells, check, finish as table, settings, state};
    use crate::stats::btyd::testing::cdnow;

    const KEYS: [&str; 3] =
        ["calibration_repeats_n", "calibration_age_days", "calibration_recency_days"];

    #[track_caller]
    fn check_means(table: &crate::table::Table, model: &str, expected: [f64; 8], tolerance: f64) {
        let found = cells(table, &[&format!("clv_model={model}")], "expected_purchases_mean");
        // The first row is of all customers.
        assert_eq!(found.len(), 9);
        for (found, expected) in found.iter().skip(1).zip(expected) {
            let found: f64 = found.parse().unwrap();
            assert!((found - expected).abs() < tolerance, "{model}: {found}, printed {expected}");
        }
    }

    #[test]
    fn cdnow_hold_out_is_as_published() {
        let Some(customers) = cdnow() else { return };
        let days = |weeks: f64| (weeks * 7.0).round() as i64;
        let rows: Vec<[i64; 5]> = customers
            .iter()
            .map(|c| {
                let h = c.history;
                [h.repeats as i64, days(h.age), days(h.recency), 1, c.held_out as i64]
            })
            .collect();
        let rows: Vec<&[i64]> = rows.iter().map(|row| &row[..]).collect();
        let states = [state(&KEYS, &["buyers_n", "held_out_n"], &rows)];
        let mut settings = settings(&["L"], 10_408);
        settings.clv.holdout_days = 273;
        let table = table(&METRIC, &states, Period::All, &settings).unwrap();
        for model in ["bg_nbd", "mbg_nbd", "pareto_nbd"] {
            let at = [&format!("clv_model={model}")[..]];
            check(&table, &at, "customers_n", "2357 1411 439 214 100 62 38 29 64");
            let first = cells(&table, &at, "purchases_n");
            assert_eq!(first.first().map(String::as_str), Some("1882"));
        }
        let bg = [0.225, 0.523, 1.044, 1.520, 2.164, 2.654, 3.504, 6.157];
        check_means(&table, "bg_nbd", bg, 1.1e-3);
        let pareto = [0.138, 0.600, 1.196, 1.714, 2.399, 2.907, 3.819, 6.403];
        check_means(&table, "pareto_nbd", pareto, 1.1e-3);
        for (model, total) in [("bg_nbd", 1653.409), ("pareto_nbd", 1665.513)] {
            let at = [&format!("clv_model={model}")[..]];
            let found: f64 = cells(&table, &at, "expected_purchases")[0].parse().unwrap();
            assert!((found - total).abs() < 0.1, "{found}, printed {total}");
        }
    }

    #[test]
    fn few_customers_have_actual_numbers_only() {
        let states = [state(&KEYS, &["buyers_n", "held_out_n"], &[&[0, 9, 0, 4, 1]])];
        let table = table(&METRIC, &states, Period::All, &settings(&["L"], 100)).unwrap();
        check(&table, &["clv_model=bg_nbd"], "expected_purchases", "- -");
        check(&table, &["clv_model=bg_nbd"], "purchases_mean", "0.25 0.25");
        check(&table, &["clv_model=bg_nbd"], "fit_status", "too_few too_few");
    }
}
