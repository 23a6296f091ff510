//! How long deals take, once as most tools say it (won deals only) and once with the deals that
//! have not closed yet counted as what they are: censored.
//!
//! The win-only numbers are short whenever slow deals are still open; both stand side by side so
//! that the bias is seen. Time to a win is a Kaplan–Meier estimate with lost deals censored: read it
//! as "if deals were not lost"; the share that will ever be won needs competing risks.

use super::{Cycles, read_cycles};
use crate::error::Error;
use crate::metrics::durations::{curve_days, days, limits_days};
use crate::metrics::{Group, Identity, Metric, Rows, State, View, period_start};
use crate::relations::Relation;
use crate::stats::float;
use crate::stats::survival::{Curve, QuantileRule};
use crate::table::{ColumnSpec, Value};
use crate::time::Resolution;

/// Definition: duration of a deal from the configured start to the configured close, by the period
/// of creation; open and deleted deals are censored at as_of and at their deletion.
///
/// Edge cases: a cycle that ends before it begins is counted in `negative_n` and excluded, never
/// clipped to zero; a quantile that the curve does not reach is null.
pub static METRIC: Metric = Metric {
    name: "cycle_length",
    question: "How long do deals take to close, counting those that are still open?",
    grain: "one row per slice and period of creation",
    states: &[State {
        relation: Relation::Deals,
        sql: "SELECT created_period AS period, \
              CASE WHEN is_negative_cycle = 1 THEN -1 ELSE cycle END AS duration, cycle_status, \
              COUNT(*) AS deals_n FROM deals GROUP BY period, duration, cycle_status",
    }],
    output: OUTPUT,
    view: View::Line("close_days_km_p50"),
    references: &[
        "Kaplan and Meier, 1958, Nonparametric Estimation from Incomplete Observations",
        "Brookmeyer and Crowley, 1982, A Confidence Interval for the Median Survival Time",
        "Irwin, 1949, The Standard Error of an Estimate of Expectation of Life",
    ],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::count("deals_n", "deals", "Deals created in the period."),
    ColumnSpec::count("negative_n", "deals", "Of these, cycles that end before they begin."),
    ColumnSpec::count("at_risk_n", "deals", "Deals followed: all but the negative ones."),
    ColumnSpec::count("observed_n", "deals", "Deals followed to their close: won_n + lost_n."),
    ColumnSpec::count("won_n", "deals", "Deals whose cycle ended with a win."),
    ColumnSpec::count("lost_n", "deals", "Deals whose cycle ended with a loss."),
    ColumnSpec::count("censored_n", "deals", "Deals not closed by as_of, or deleted."),
    ColumnSpec::days("won_days_mean", "Mean cycle of won deals only; biased short."),
    ColumnSpec::days("won_days_p25", "0.25-quantile (type 7) of won deals only."),
    ColumnSpec::days("won_days_p50", "Median (type 7) of won deals only."),
    ColumnSpec::days("won_days_p75", "0.75-quantile (type 7) of won deals only."),
    ColumnSpec::days("won_days_p90", "0.9-quantile (type 7) of won deals only."),
    ColumnSpec::days(
        "close_days_km_p25",
        "Kaplan–Meier: the first time by which a quarter has closed, won or lost; null where it \
         is not reached.",
    ),
    ColumnSpec::days("close_days_km_p25_low", "Its lower log-log 95 % limit."),
    ColumnSpec::days("close_days_km_p25_high", "Its upper limit; null where not reached."),
    ColumnSpec::days("close_days_km_p50", "The first time by which half have closed."),
    ColumnSpec::days("close_days_km_p50_low", "Its lower log-log 95 % limit."),
    ColumnSpec::days("close_days_km_p50_high", "Its upper limit; null where not reached."),
    ColumnSpec::days("close_days_km_p75", "The first time by which three quarters have closed."),
    ColumnSpec::days("close_days_km_p75_low", "Its lower log-log 95 % limit."),
    ColumnSpec::days("close_days_km_p75_high", "Its upper limit; null where not reached."),
    ColumnSpec::days(
        "close_days_restricted_mean",
        "Mean time to close within the horizon: area under the curve from 0 to horizon_days.",
    ),
    ColumnSpec::days("horizon_days", "Longest time that any of the deals was followed."),
    ColumnSpec::days(
        "win_days_km_p50",
        "Kaplan–Meier median to a win with lost deals censored, as if deals were not lost; null \
         where it is not reached.",
    ),
    ColumnSpec::days("win_days_km_p50_low", "Its lower log-log 95 % limit."),
    ColumnSpec::days("win_days_km_p50_high", "Its upper limit; null where not reached."),
    ColumnSpec::flag("low_n", "Fewer closed deals than the quantile floor."),
    ColumnSpec::flag("won_low_n", "Fewer won deals than the quantile floor."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "deals_n = at_risk_n + negative_n and at_risk_n = won_n + lost_n + censored_n",
        holds: |row| {
            let sum = |names: &[&str]| names.iter().map(|n| row.int(n)).sum::<Option<i64>>();
            row.int("deals_n") == sum(&["at_risk_n", "negative_n"])
                && row.int("at_risk_n") == sum(&["won_n", "lost_n", "censored_n"])
                && row.int("observed_n") == sum(&["won_n", "lost_n"])
        },
    },
    Identity {
        claim: "close_days_restricted_mean ≤ horizon_days",
        holds: |row| match (row.float("close_days_restricted_mean"), row.float("horizon_days")) {
            (Some(mean), Some(horizon)) => mean <= horizon * (1.0 + 1e-12),
            (mean, horizon) => mean.is_none() && horizon.is_none(),
        },
    },
];

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [state] = group.states else {
        return Err(Error::Bug("the cycle length has one state".into()));
    };
    let periods = state.key("period")?;
    for run in state.runs(1) {
        let period = periods.get(run.start).copied().unwrap_or_default();
        let dims = state.dims(run.start);
        let cycles = read_cycles(state, run)?;
        let mut values = counted(&cycles);
        values.extend(won_only(&cycles, group.settings.resolution));
        values.extend(with_censoring(&cycles, group.settings.resolution));
        let floor = group.settings.quantile_floor;
        values.push(("low_n", Value::Bool(cycles.won_n + cycles.lost_n < floor)));
        values.push(("won_low_n", Value::Bool(cycles.won_n < floor)));
        rows.push(&dims, period_start(period), &values)?;
    }
    Ok(())
}

type Values = Vec<(&'static str, Value<'static>)>;

fn counted(cycles: &Cycles) -> Values {
    vec![
        ("deals_n", Value::Int(cycles.deals())),
        ("negative_n", Value::Int(cycles.negative_n)),
        ("at_risk_n", Value::Int(cycles.close_curve().subjects())),
        ("observed_n", Value::Int(cycles.close_curve().observed())),
        ("won_n", Value::Int(cycles.won_n)),
        ("lost_n", Value::Int(cycles.lost_n)),
        ("censored_n", Value::Int(cycles.censored_n)),
    ]
}

fn won_only(cycles: &Cycles, resolution: Resolution) -> Values {
    let quantile = |p| Value::float(cycles.won.quantile_days(p, resolution));
    vec![
        ("won_days_mean", Value::float(cycles.won.mean_days(resolution))),
        ("won_days_p25", quantile(0.25)),
        ("won_days_p50", quantile(0.5)),
        ("won_days_p75", quantile(0.75)),
        ("won_days_p90", quantile(0.9)),
    ]
}

fn with_censoring(cycles: &Cycles, resolution: Resolution) -> Values {
    let (close, win) = (cycles.close_curve(), cycles.win_curve());
    let mut values = Values::new();
    let mut push = |curve: &Curve, p: f64, [name, low_name, high_name]: [&'static str; 3]| {
        let (low, high) = limits_days(curve, p, resolution);
        values.push((name, Value::float(curve_days(curve, p, QuantileRule::First, resolution))));
        values.push((low_name, Value::float(low)));
        values.push((high_name, Value::float(high)));
    };
    let quartiles = [
        (0.25, ["close_days_km_p25", "close_days_km_p25_low", "close_days_km_p25_high"]),
        (0.5, ["close_days_km_p50", "close_days_km_p50_low", "close_days_km_p50_high"]),
        (0.75, ["close_days_km_p75", "close_days_km_p75_low", "close_days_km_p75_high"]),
    ];
    for (p, names) in quartiles {
        push(&close, p, names);
    }
    let win_names = ["win_days_km_p50", "win_days_km_p50_low", "win_days_km_p50_high"];
    push(&win, 0.5, win_names);
    let horizon = close.horizon();
    let unit = float(resolution.units_per_day());
    let mean = horizon.and_then(|h| close.restricted_mean(h)).map(|v| v / unit);
    let place = values.len() - win_names.len();
    values.insert(place, ("close_days_restricted_mean", Value::float(mean)));
    values.insert(place + 1, ("horizon_days", Value::float(horizon.map(|h| days(h, resolution)))));
    values
}
