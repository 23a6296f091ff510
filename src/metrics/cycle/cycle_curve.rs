//! The points of the curve behind the cycle length: what share of deals is still open after each
//! time, with the deals that have not closed yet censored.
//!
//! It is made for the whole history only, per slice: a curve per period has too few deals to read
//! and many points to store, and `cycle_length` gives its quartiles per period.

use super::{ALL_CYCLES, ALL_LATE_ENTRIES, read_cycles};
use crate::error::Error;
use crate::metrics::durations::days;
use crate::metrics::{Absent, Group, Identity, Metric, Rows, State, View};
use crate::relations::Relation;
use crate::stats::Z_95;
use crate::stats::survival::{Curve, Scale};
use crate::table::{ColumnSpec, Value};
use crate::time::NO_DAY;

/// Points kept of one curve at most. A screen is about as wide as twice this, and the step between
/// neighbours is then below half a percent of the points.
pub const POINTS_MAX: usize = 500;

/// Definition: Kaplan–Meier `S = Π (1 − d/n)` at every distinct duration; endpoint `any` counts
/// any close, endpoint `won` counts wins and censors losses.
///
/// Edge cases: a curve of more than [`POINTS_MAX`] durations keeps that many, evenly spread from
/// the first to the last; the values at the points kept do not change by it, because counts are
/// cumulative.
pub static METRIC: Metric = Metric {
    name: "cycle_curve",
    question: "What share of deals is still open after each length of time?",
    grain: "one row per slice, endpoint and time since the start, for the whole history",
    states: &[
        State { relation: Relation::Deals, sql: ALL_CYCLES, absent: Absent::SkipTable },
        ALL_LATE_ENTRIES,
    ],
    output: OUTPUT,
    view: View::Steps("survival_rate"),
    references: &[
        "Kaplan and Meier, 1958, Nonparametric Estimation from Incomplete Observations",
        "Greenwood, 1926, The Natural Duration of Cancer",
    ],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::text("endpoint", "What ends the wait: any (close) or won (losses censored).").key(),
    ColumnSpec::number("duration_days", "days", "Time since the start of the cycle.").key(),
    ColumnSpec::count("subjects_n", "deals", "Deals followed from the start."),
    ColumnSpec::count("at_risk_n", "deals", "Deals neither ended nor censored before this time."),
    ColumnSpec::count("observed_n", "deals", "Deals that ended by this time."),
    ColumnSpec::count("censored_n", "deals", "Deals censored by this time."),
    ColumnSpec::rate("survival_rate", "Estimated share that lasts longer than this time."),
    ColumnSpec::rate("survival_rate_low", "Lower log-log 95 % limit; null where the share is 0."),
    ColumnSpec::rate("survival_rate_high", "Upper log-log 95 % limit; null where the share is 0."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "observed_n + censored_n ≤ subjects_n and at_risk_n ≤ subjects_n",
        holds: |row| {
            let subjects = row.int("subjects_n");
            let ended = row.int("observed_n").zip(row.int("censored_n")).map(|(o, c)| o + c);
            ended <= subjects && row.int("at_risk_n") <= subjects
        },
    },
    Identity {
        claim: "survival_rate_low ≤ survival_rate ≤ survival_rate_high",
        holds: |row| {
            let limits = row.float("survival_rate_low").zip(row.float("survival_rate_high"));
            match (limits, row.float("survival_rate")) {
                (Some((low, high)), Some(rate)) => low <= rate && rate <= high,
                (None, Some(rate)) => rate <= 0.0,
                (_, None) => false,
            }
        },
    },
];

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [state, late] = group.states else {
        return Err(Error::Bug("the cycle curve has two states".into()));
    };
    let cycles = read_cycles(state, late)?;
    push_curve(group, rows, "any", &cycles.close_curve())?;
    push_curve(group, rows, "won", &cycles.win_curve())
}

fn push_curve(
    group: &Group<'_>,
    rows: &mut Rows<'_>,
    endpoint: &str,
    curve: &Curve,
) -> Result<(), Error> {
    let subjects_n = curve.subjects();
    let (mut observed_n, mut censored_n) = (0, 0);
    for (position, step) in curve.steps.iter().enumerate() {
        observed_n += step.observed;
        censored_n += step.censored;
        if !is_kept(position, curve.steps.len()) {
            continue;
        }
        let limits = step.limits(Scale::LogLog, Z_95);
        rows.push(
            NO_DAY,
            &[
                ("endpoint", Value::Text(endpoint)),
                ("duration_days", Value::Float(days(step.duration, group.settings.resolution))),
                ("subjects_n", Value::Int(subjects_n)),
                ("at_risk_n", Value::Int(step.at_risk)),
                ("observed_n", Value::Int(observed_n)),
                ("censored_n", Value::Int(censored_n)),
                ("survival_rate", Value::Float(step.survival)),
                ("survival_rate_low", Value::float(limits.map(|l| l.0))),
                ("survival_rate_high", Value::float(limits.map(|l| l.1))),
            ],
        )?;
    }
    Ok(())
}

/// Whether a point stays when a curve is thinned: the places `0, …, POINTS_MAX − 1` are stretched
/// over the points, so the first and the last stay and the rest are evenly spread.
pub(super) fn is_kept(position: usize, points: usize) -> bool {
    if points <= POINTS_MAX {
        return true;
    }
    let (places, span) = (POINTS_MAX - 1, points - 1);
    // The first place at or after this point, and whether it lands on it.
    let place = (position * places).div_ceil(span);
    place * span / places == position
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{
        FIXTURE_STAGES, cells, check, eight_deals, finish as finish_by_hand, run, settings, state,
    };
    use crate::time::Period;

    #[test]
    fn fixture_curves_are_reproduced() {
        let settings = settings(&FIXTURE_STAGES, 20);
        let table = run(&METRIC, &eight_deals(), &[Period::Month], &settings);
        let (any, won) = (["endpoint=any"], ["endpoint=won"]);
        check(&table, &any, "duration_days", "0.0 3.0 4.0 7.0 9.0 10.0 20.0");
        check(&table, &any, "survival_rate", "0.875 0.75 0.625 0.5 0.375 0.25 0.25");
        check(&table, &any, "at_risk_n", "8 7 6 5 4 3 2");
        check(&table, &any, "observed_n", "1 2 3 4 5 6 6");
        check(&table, &any, "censored_n", "0 0 0 0 0 0 2");
        // Published: 1 − S = .53125 from 9 on with losses censored.
        check(&table, &won, "survival_rate", "0.875 0.75 0.625 0.625 0.46875 0.46875 0.46875");
        check(&table, &won, "censored_n", "0 0 0 1 1 2 4");
    }

    #[test]
    fn long_curve_is_thinned_without_changing_the_points_kept() {
        // 2,000 deals won after 1, 2, … days: S(t) = (2000 − t)/2000.
        let rows: Vec<[i64; 3]> = (1..=2000).map(|day| [day, 1, 1]).collect();
        let rows: Vec<&[i64]> = rows.iter().map(|row| row.as_slice()).collect();
        let late = state(&["entry_age", "duration", "cycle_status"], &["deals_n"], &[]);
        let states = [state(&["duration", "cycle_status"], &["deals_n"], &rows), late];
        let table =
            finish_by_hand(&METRIC, &states, Period::All, &settings(&["L"], 20)).expect("a table");
        let number = |text: String| text.parse::<f64>().expect("a number");
        let days: Vec<f64> =
            cells(&table, &["endpoint=won"], "duration_days").into_iter().map(number).collect();
        let rates = cells(&table, &["endpoint=won"], "survival_rate").into_iter().map(number);
        assert_eq!(days.len(), POINTS_MAX);
        assert_eq!((days.first(), days.last()), (Some(&1.0), Some(&2000.0)));
        for (day, rate) in days.iter().zip(rates) {
            crate::stats::testdata::close(rate, (2000.0 - day) / 2000.0, 1e-12);
        }
        let gaps = days.iter().zip(days.iter().skip(1)).map(|(a, b)| b - a);
        assert!(
            gaps.clone().all(|gap| (4.0..=5.0).contains(&gap)),
            "{:?}",
            gaps.collect::<Vec<_>>()
        );
    }
}
