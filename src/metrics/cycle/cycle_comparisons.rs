//! Which values of a slice have cycles that truly differ: tests between segments, corrected for how
//! many there are.
//!
//! A test tells only whether curves differ, not where; curves that cross can differ without being
//! told apart. Nothing is adjusted for: two regions may differ because they sell other products.
//!
//! Invariant: every value is compared with all the others together, so that each deal is on exactly
//! one side; the corrected p-values are not below the plain ones.

mod sides;

use rayon::prelude::*;

use self::sides::{Compared, DayGrid, PAIRED_VALUES_MAX, Sides};
use super::{ALL_CYCLES, ALL_LATE_ENTRIES};
use crate::error::Error;
use crate::metrics::{Absent, Group, Identity, Metric, Rows, State, View};
use crate::relations::Relation;
use crate::stats::multiplicity::{benjamini_hochberg, holm};
use crate::table::{ColumnSpec, Value};
use crate::time::{NO_DAY, Period};

#[cfg(test)]
mod tests;

/// False alarms are kept below this share.
const LEVEL: f64 = 0.05;

/// Definition: cycles in whole days from the configured start to the configured close, over the
/// whole history. `close_log_rank` compares the times to any close; `win_log_rank` the rates of wins
/// among deals still open (losses censored); `win_gray` the shares won by each time, losses being
/// final. The p-values of one slice, comparison and test are corrected together.
///
/// Edge cases: values of fewer deals than the quantile floor are in "the others" but not tested
/// themselves; of more than 32 values, all but the 31 largest are one group of the test of all
/// values together; pairs are compared where there are at most 6 values.
pub static METRIC: Metric = Metric {
    name: "cycle_comparisons",
    question: "Which segments close or win their deals at another pace than the others?",
    grain: "one row per slice, comparison (all values; a value and the others; two values) and test",
    states: &[
        State { relation: Relation::Deals, sql: ALL_CYCLES, absent: Absent::SkipTable },
        ALL_LATE_ENTRIES,
    ],
    output: OUTPUT,
    view: View::Table,
    references: &[
        "Peto and Peto, 1972, Asymptotically Efficient Rank Invariant Test Procedures",
        "Gray, 1988, A Class of K-sample Tests for Comparing the Cumulative Incidence of a \
         Competing Risk",
        "Berry, Kitchin and Mock, 1991, A Comparison of Two Simple Hazard Ratio Estimators Based \
         on the Logrank Test",
        "Holm, 1979, A Simple Sequentially Rejective Multiple Test Procedure",
        "Benjamini and Hochberg, 1995, Controlling the False Discovery Rate",
    ],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::text(
        "comparison",
        "all_values: all values of the slice at once; rest: the row's value against all others \
         together; pair: against other_value.",
    )
    .key(),
    ColumnSpec::text("other_value", "The second value of a pair, dimensions joined by +.")
        .key()
        .nullable(),
    ColumnSpec::text("test_kind", "close_log_rank, win_log_rank or win_gray.").key(),
    ColumnSpec::count("groups_n", "groups", "Groups compared: 2, or the values of the slice."),
    ColumnSpec::count("subjects_n", "deals", "Deals of the row's value; of all for all_values."),
    ColumnSpec::count("other_subjects_n", "deals", "Deals of the others; 0 for all_values."),
    ColumnSpec::count("observed_n", "deals", "Closes, or wins, among subjects_n."),
    ColumnSpec::count("other_observed_n", "deals", "Closes, or wins, among other_subjects_n."),
    ColumnSpec::number(
        "expected_n",
        "deals",
        "What observed_n would be if the groups were alike; null if not tested.",
    )
    .nullable(),
    ColumnSpec::number("chi_squared", "none", "The statistic; null if nothing can vary.")
        .nullable(),
    ColumnSpec::count("degrees", "none", "Its degrees of freedom."),
    ColumnSpec::rate("p_value", "Chance of such a statistic if the groups were alike."),
    ColumnSpec::rate("p_value_holm", "Corrected so that false alarms of any kind are rare."),
    ColumnSpec::rate("p_value_bh", "Corrected so that few of the alarms are false."),
    ColumnSpec::count("tests_n", "tests", "Tests that were corrected together."),
    ColumnSpec::flag("is_different", "p_value_bh is below 0.05; null if not tested.").nullable(),
    ColumnSpec::number(
        "hazard_ratio",
        "ratio",
        "Rate of closing, or winning, as a multiple of that of the others: above 1 is sooner; \
         only of log-rank tests.",
    )
    .nullable(),
    ColumnSpec::number("hazard_ratio_low", "ratio", "Its lower 95 % limit.").nullable(),
    ColumnSpec::number("hazard_ratio_high", "ratio", "Its upper 95 % limit.").nullable(),
    ColumnSpec::days("horizon_days", "Longest time that both sides were followed."),
    ColumnSpec::days(
        "close_days_p50",
        "Kaplan–Meier median time to close; null where it is not reached; only close_log_rank.",
    ),
    ColumnSpec::days("other_close_days_p50", "The same of the others."),
    ColumnSpec::days("close_days_p50_difference", "close_days_p50 − other_close_days_p50."),
    ColumnSpec::days(
        "close_days_restricted_mean",
        "Mean time to close within horizon_days; only close_log_rank.",
    ),
    ColumnSpec::days("other_close_days_restricted_mean", "The same of the others."),
    ColumnSpec::days("restricted_mean_difference", "The value's less that of the others."),
    ColumnSpec::days("restricted_mean_difference_low", "Its lower 95 % limit."),
    ColumnSpec::days("restricted_mean_difference_high", "Its upper 95 % limit."),
    ColumnSpec::rate("win_share", "Share won by horizon_days, losses being final; only win_gray."),
    ColumnSpec::rate("other_win_share", "The same of the others."),
    ColumnSpec::number("win_share_difference", "share", "win_share − other_win_share.").nullable(),
    ColumnSpec::number("win_share_difference_low", "share", "Its lower 95 % limit.").nullable(),
    ColumnSpec::number("win_share_difference_high", "share", "Its upper 95 % limit.").nullable(),
    ColumnSpec::flag("low_n", "Either side had fewer closes, or wins, than the rate floor."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "p_value ≤ p_value_bh ≤ p_value_holm",
        holds: |row| {
            let [plain, bh, holm] =
                ["p_value", "p_value_bh", "p_value_holm"].map(|name| row.float(name));
            // Up to rounding of products and quotients.
            let above = |a: Option<f64>, b: Option<f64>| match (a, b) {
                (Some(a), Some(b)) => a <= b * (1.0 + 1e-12),
                (a, b) => a.is_none() && b.is_none(),
            };
            above(plain, bh) && above(bh, holm)
        },
    },
    Identity {
        claim: "observed_n ≤ subjects_n and other_observed_n ≤ other_subjects_n",
        holds: |row| {
            row.int("observed_n") <= row.int("subjects_n")
                && row.int("other_observed_n") <= row.int("other_subjects_n")
        },
    },
];

/// What was compared, in the order of the rows.
struct Comparison {
    kind: &'static str,
    /// Places of the value and, of a pair, of the other one among the slice's values.
    value: Option<usize>,
    other: Option<usize>,
    outcomes: Vec<Compared>,
}

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    if group.period != Period::All {
        return Ok(());
    }
    let grid = DayGrid::read(group)?;
    let followed: Vec<usize> = grid.followed();
    if followed.len() < 2 {
        return Ok(());
    }
    let floor = group.settings.quantile_floor;
    let all = Comparison {
        kind: "all_values",
        value: None,
        other: None,
        outcomes: grid.all_values(&followed),
    };
    let pooled = grid.pooled();
    let rest = followed.par_iter().map(|value| Comparison {
        kind: "rest",
        value: Some(*value),
        other: None,
        outcomes: Sides::rest(&grid, *value, &pooled).compare(floor),
    });
    let mut comparisons = vec![all];
    comparisons.extend(rest.collect::<Vec<_>>());
    if followed.len() <= PAIRED_VALUES_MAX {
        let pairs = followed.iter().enumerate().flat_map(|(place, value)| {
            followed.iter().skip(place + 1).map(move |other| (*value, *other))
        });
        comparisons.extend(pairs.map(|(value, other)| Comparison {
            kind: "pair",
            value: Some(value),
            other: Some(other),
            outcomes: Sides::pair(&grid, value, other).compare(floor),
        }));
    }
    for kind in ["all_values", "pair", "rest"] {
        let own: Vec<&Comparison> = comparisons.iter().filter(|c| c.kind == kind).collect();
        push_family(group, rows, &own)?;
    }
    Ok(())
}

/// The rows of one kind of comparison; the p-values of each test are corrected together.
fn push_family(
    group: &Group<'_>,
    rows: &mut Rows<'_>,
    comparisons: &[&Comparison],
) -> Result<(), Error> {
    for test in sides::TESTS {
        let mut outcomes: Vec<Option<&Compared>> = Vec::with_capacity(comparisons.len());
        for comparison in comparisons {
            outcomes.push(comparison.outcomes.iter().find(|own| own.test == test.name()));
        }
        let p_values: Vec<Option<f64>> =
            outcomes.iter().map(|outcome| outcome.as_ref()?.outcome.as_ref()?.p_value()).collect();
        let tests_n = p_values.iter().flatten().count();
        let adjusted = holm(&p_values).into_iter().zip(benjamini_hochberg(&p_values));
        let cells = comparisons.iter().zip(outcomes).zip(p_values.iter().zip(adjusted));
        for ((comparison, outcome), (p_value, (holm, bh))) in cells {
            let Some(outcome) = outcome else { continue };
            rows.turn_to(comparison.value);
            let other = comparison.other.and_then(|place| group.segments.get(place));
            let mut values = vec![
                ("comparison", Value::Text(comparison.kind)),
                ("other_value", other.map_or(Value::Null, |s| Value::Text(&s.value))),
                ("test_kind", Value::Text(outcome.test)),
            ];
            values.extend(counted(outcome));
            values.push(("p_value", Value::float(*p_value)));
            values.push(("p_value_holm", Value::float(holm)));
            values.push(("p_value_bh", Value::float(bh)));
            values.push(("tests_n", Value::Int(i64::try_from(tests_n).unwrap_or(i64::MAX))));
            values.push(("is_different", bh.map_or(Value::Null, |p| Value::Bool(p < LEVEL))));
            values.extend(effects(outcome));
            let [events, other_events] = outcome.events;
            let least = if comparison.value.is_some() { events.min(other_events) } else { events };
            values.push(("low_n", Value::Bool(least < group.settings.rate_floor)));
            rows.push(NO_DAY, &values)?;
        }
    }
    Ok(())
}

type Values = Vec<(&'static str, Value<'static>)>;

fn counted(outcome: &Compared) -> Values {
    let ([own, other], [events, other_events]) = (outcome.subjects, outcome.events);
    let test = outcome.outcome.as_ref();
    let expected = test.and_then(|test| match test.expected.as_slice() {
        [own, _] => Some(*own),
        all => (outcome.groups_n > 2).then(|| all.iter().sum()),
    });
    vec![
        ("groups_n", Value::Int(outcome.groups_n)),
        ("subjects_n", Value::Int(own)),
        ("other_subjects_n", Value::Int(other)),
        ("observed_n", Value::Int(events)),
        ("other_observed_n", Value::Int(other_events)),
        ("expected_n", Value::float(expected)),
        ("chi_squared", Value::float(test.and_then(|test| test.chi_squared))),
        ("degrees", Value::Int(test.map_or(0, |test| test.degrees))),
    ]
}

fn effects(outcome: &Compared) -> Values {
    let effect = &outcome.effect;
    let float = Value::float;
    let hazard = effect.hazard_ratio;
    let [p50, other_p50] = effect.close_p50;
    let [mean, other_mean] = effect.restricted_mean;
    let [share, other_share] = effect.win_share;
    let difference = |own: Option<f64>, other: Option<f64>| own.zip(other).map(|(a, b)| a - b);
    let (mean_limits, share_limits) = (effect.mean_difference, effect.share_difference);
    vec![
        ("hazard_ratio", float(hazard.map(|(ratio, _, _)| ratio))),
        ("hazard_ratio_low", float(hazard.map(|(_, low, _)| low))),
        ("hazard_ratio_high", float(hazard.map(|(_, _, high)| high))),
        ("horizon_days", float(effect.horizon.map(crate::stats::float))),
        ("close_days_p50", float(p50)),
        ("other_close_days_p50", float(other_p50)),
        ("close_days_p50_difference", float(difference(p50, other_p50))),
        ("close_days_restricted_mean", float(mean)),
        ("other_close_days_restricted_mean", float(other_mean)),
        ("restricted_mean_difference", float(difference(mean, other_mean))),
        ("restricted_mean_difference_low", float(mean_limits.map(|(low, _)| low))),
        ("restricted_mean_difference_high", float(mean_limits.map(|(_, high)| high))),
        ("win_share", float(share)),
        ("other_win_share", float(other_share)),
        ("win_share_difference", float(difference(share, other_share))),
        ("win_share_difference_low", float(share_limits.map(|(low, _)| low))),
        ("win_share_difference_high", float(share_limits.map(|(_, high)| high))),
    ]
}
