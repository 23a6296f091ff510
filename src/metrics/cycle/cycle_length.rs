//! How long deals take, once as most tools say it (won deals only) and once with the deals that
//! have not closed yet counted as what they are: censored.
//!
//! The win-only numbers are short whenever slow deals are still open; both stand side by side so
//! that the bias is seen. Time to a win is a Kaplan–Meier estimate with lost deals censored: read it
//! as "if deals were not lost"; the share that will ever be won needs competing risks.

use super::{CYCLES, Cycles, LATE_ENTRIES, read_cycles};
use crate::error::Error;
use crate::metrics::durations::{curve_days, days, limits_days};
use crate::metrics::{
    Absent, Group, Identity, Metric, Rows, Settings, State, StateView, View, by_period,
};
use crate::relations::Relation;
use crate::stats::survival::{Curve, QuantileRule, Scale};
use crate::stats::{Z_95, float};
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
    states: &[
        State { relation: Relation::Deals, sql: CYCLES, absent: Absent::SkipTable },
        LATE_ENTRIES,
    ],
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
    ColumnSpec::count("unseen_n", "deals", "Of these, ended before the history begins."),
    ColumnSpec::count("at_risk_n", "deals", "Deals followed: all but those two."),
    ColumnSpec::count("late_n", "deals", "Of these, begun before the history and followed later."),
    ColumnSpec::count("observed_n", "deals", "Deals followed to their close: won_n + lost_n."),
    ColumnSpec::count("won_n", "deals", "Deals whose cycle ended with a win."),
    ColumnSpec::count("lost_n", "deals", "Deals whose cycle ended with a loss."),
    ColumnSpec::count("censored_n", "deals", "Deals not closed by as_of, or deleted."),
    ColumnSpec::days("won_days_mean", "Mean cycle of won deals only; biased short."),
    ColumnSpec::days("won_days_p25", "0.25-quantile (type 7) of won deals only."),
    ColumnSpec::days("won_days_p50", "Median (type 7) of won deals only."),
    ColumnSpec::days("won_days_p75", "0.75-quantile (type 7) of won deals only."),
    ColumnSpec::days("won_days_p90", "0.9-quantile (type 7) of won deals only."),
    ColumnSpec::days("closed_days_mean", "Mean cycle of closed deals, won or lost; biased short."),
    ColumnSpec::days("closed_days_p50", "Median (type 7) of closed deals; biased short."),
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
    ColumnSpec::days(
        "close_days_km_p50_midpoint",
        "The same, but the middle where exactly half have closed for a while, as R says it.",
    ),
    ColumnSpec::days("close_days_km_p50_log_low", "Lower 95 % limit on the scale of logarithms."),
    ColumnSpec::days("close_days_km_p50_log_high", "Its upper limit, R's default; null likewise."),
    ColumnSpec::days("close_days_km_p75", "The first time by which three quarters have closed."),
    ColumnSpec::days("close_days_km_p75_low", "Its lower log-log 95 % limit."),
    ColumnSpec::days("close_days_km_p75_high", "Its upper limit; null where not reached."),
    ColumnSpec::days(
        "close_days_restricted_mean",
        "Mean time to close within the horizon: area under the curve from 0 to horizon_days.",
    ),
    ColumnSpec::days("close_days_restricted_mean_low", "Its lower 95 % limit."),
    ColumnSpec::days("close_days_restricted_mean_high", "Its upper 95 % limit."),
    ColumnSpec::days("horizon_days", "Longest time that any of the deals was followed."),
    ColumnSpec::days(
        "win_days_km_p25",
        "Kaplan–Meier: the first time by which a quarter is won if deals were not lost (losses \
         are censored); null where it is not reached.",
    ),
    ColumnSpec::days("win_days_km_p25_low", "Its lower log-log 95 % limit."),
    ColumnSpec::days("win_days_km_p25_high", "Its upper limit; null where not reached."),
    ColumnSpec::days("win_days_km_p50", "The first time by which half are won, so read."),
    ColumnSpec::days("win_days_km_p50_low", "Its lower log-log 95 % limit."),
    ColumnSpec::days("win_days_km_p50_high", "Its upper limit; null where not reached."),
    ColumnSpec::days("win_days_km_p75", "The first time by which three quarters are won, so read."),
    ColumnSpec::days("win_days_km_p75_low", "Its lower log-log 95 % limit."),
    ColumnSpec::days("win_days_km_p75_high", "Its upper limit; null where not reached."),
    ColumnSpec::flag("low_n", "Fewer closed deals than the quantile floor."),
    ColumnSpec::flag("won_low_n", "Fewer won deals than the quantile floor."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "deals_n = at_risk_n + negative_n + unseen_n and at_risk_n = won_n + lost_n + censored_n",
        holds: |row| {
            let sum = |names: &[&str]| names.iter().map(|n| row.int(n)).sum::<Option<i64>>();
            row.int("deals_n") == sum(&["at_risk_n", "negative_n", "unseen_n"])
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
    let [state, late] = group.states else {
        return Err(Error::Bug("the cycle length has two states".into()));
    };
    for (start, [of_period, late]) in by_period([state, late]) {
        rows.push(start, &values_of(&of_period, &late, group.settings)?)?;
    }
    Ok(())
}

fn values_of(
    state: &StateView<'_>,
    late: &StateView<'_>,
    settings: &Settings,
) -> Result<Values, Error> {
    let cycles = read_cycles(state, late)?;
    let close = cycles.close_curve();
    let mut values = counted(&cycles, &close);
    values.extend(ended_only(&cycles, settings.resolution));
    values.extend(with_censoring(&close, &cycles.win_curve(), settings.resolution));
    let floor = settings.quantile_floor;
    values.push(("low_n", Value::Bool(cycles.won_n + cycles.lost_n < floor)));
    values.push(("won_low_n", Value::Bool(cycles.won_n < floor)));
    Ok(values)
}

type Values = Vec<(&'static str, Value<'static>)>;

fn counted(cycles: &Cycles, close: &Curve) -> Values {
    vec![
        ("deals_n", Value::Int(cycles.deals())),
        ("negative_n", Value::Int(cycles.negative_n)),
        ("unseen_n", Value::Int(cycles.late.unseen_n)),
        ("at_risk_n", Value::Int(close.subjects())),
        ("late_n", Value::Int(cycles.late.seen())),
        ("observed_n", Value::Int(close.observed())),
        ("won_n", Value::Int(cycles.won_n)),
        ("lost_n", Value::Int(cycles.lost_n)),
        ("censored_n", Value::Int(cycles.censored_n)),
    ]
}

fn ended_only(cycles: &Cycles, resolution: Resolution) -> Values {
    let quantile = |p| Value::float(cycles.won.counted().quantile_days(p, resolution));
    vec![
        ("won_days_mean", Value::float(cycles.won.counted().mean_days(resolution))),
        ("won_days_p25", quantile(0.25)),
        ("won_days_p50", quantile(0.5)),
        ("won_days_p75", quantile(0.75)),
        ("won_days_p90", quantile(0.9)),
        ("closed_days_mean", Value::float(cycles.closed.counted().mean_days(resolution))),
        ("closed_days_p50", Value::float(cycles.closed.counted().quantile_days(0.5, resolution))),
    ]
}

fn with_censoring(close: &Curve, win: &Curve, resolution: Resolution) -> Values {
    let horizon = close.horizon();
    let unit = float(resolution.units_per_day());
    let mean = horizon.and_then(|h| close.restricted_mean_error(h));
    let mean = mean.map(|(mean, error)| (mean / unit, Z_95 * error / unit));
    let mut values = quartiles(close, resolution, CLOSE_NAMES);
    // Beside the median, before the third quartile.
    values.splice(6..6, other_medians(close, resolution));
    values.push(("close_days_restricted_mean", Value::float(mean.map(|(mean, _)| mean))));
    let limit = |limit: fn((f64, f64)) -> f64| Value::float(mean.map(limit));
    values.push(("close_days_restricted_mean_low", limit(|(mean, half)| (mean - half).max(0.0))));
    values.push(("close_days_restricted_mean_high", limit(|(mean, half)| mean + half)));
    values.push(("horizon_days", Value::float(horizon.map(|h| days(h, resolution)))));
    values.extend(quartiles(win, resolution, WIN_NAMES));
    values
}

/// The median by the other rule, and its limits on the other scale.
fn other_medians(curve: &Curve, resolution: Resolution) -> Values {
    let (low, high) = curve.quantile_limits(0.5, Scale::Log, Z_95);
    let in_days = |limit: Option<i64>| Value::float(limit.map(|v| days(v, resolution)));
    let midpoint = curve_days(curve, 0.5, QuantileRule::Midpoint, resolution);
    vec![
        ("close_days_km_p50_midpoint", Value::float(midpoint)),
        ("close_days_km_p50_log_low", in_days(low)),
        ("close_days_km_p50_log_high", in_days(high)),
    ]
}

/// Names of a quantile, its lower and its upper limit, per quartile.
type QuartileNames = [[&'static str; 3]; 3];

const CLOSE_NAMES: QuartileNames = [
    ["close_days_km_p25", "close_days_km_p25_low", "close_days_km_p25_high"],
    ["close_days_km_p50", "close_days_km_p50_low", "close_days_km_p50_high"],
    ["close_days_km_p75", "close_days_km_p75_low", "close_days_km_p75_high"],
];

const WIN_NAMES: QuartileNames = [
    ["win_days_km_p25", "win_days_km_p25_low", "win_days_km_p25_high"],
    ["win_days_km_p50", "win_days_km_p50_low", "win_days_km_p50_high"],
    ["win_days_km_p75", "win_days_km_p75_low", "win_days_km_p75_high"],
];

fn quartiles(curve: &Curve, resolution: Resolution, names: QuartileNames) -> Values {
    let shares = [0.25, 0.5, 0.75];
    let columns = shares.into_iter().zip(names).flat_map(|(p, [name, low_name, high_name])| {
        let (low, high) = limits_days(curve, p, resolution);
        let quantile = curve_days(curve, p, QuantileRule::First, resolution);
        [(name, quantile), (low_name, low), (high_name, high)]
    });
    columns.map(|(name, value)| (name, Value::float(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{
        FIXTURE_STAGES, check, eight_deals, eight_deals_fixture, run, settings,
    };
    use crate::time::Period;

    #[track_caller]
    fn check_all(column: &str, expected: &str) {
        let settings = settings(&FIXTURE_STAGES, 20);
        let table = run(&METRIC, &eight_deals(), &[Period::Month], &settings);
        check(&table, &["period=all"], column, expected);
        check(&table, &["period=month"], column, expected);
    }

    #[test]
    fn fixture_won_only_numbers_are_reproduced() {
        // First closes that are wins: 0 3 4 9.
        check_all("won_days_mean", "4.0");
        check_all("won_days_p25", "2.25");
        check_all("won_days_p50", "3.5");
        check_all("won_days_p75", "5.25");
        check_all("won_n", "4");
        check_all("lost_n", "2");
        check_all("censored_n", "2");
        check_all("observed_n", "6");
        check_all("won_low_n", "true");
        check_all("low_n", "false");
    }

    #[test]
    fn fixture_curve_with_open_deals_censored_is_reproduced() {
        // Closes at 0 3 4 7 9 10, two open at 20: S = 7/8 6/8 5/8 4/8 3/8 2/8.
        check_all("close_days_km_p25", "3.0");
        check_all("close_days_km_p50", "7.0");
        check_all("close_days_km_p75", "10.0");
        // To a win, losses at 7 and 10 censored: S(4) = 5/8, S(9) = 5/8 · 3/4 = .46875.
        check_all("win_days_km_p50", "9.0");
        // 3·7/8 + 1·6/8 + 3·5/8 + 2·4/8 + 1·3/8 + 10·2/8.
        check_all("close_days_restricted_mean", "9.125");
        check_all("horizon_days", "20.0");
    }

    #[test]
    fn lung_median_has_both_printed_limits() {
        // R's survival: median 310, limits 285 and 363 by logarithms, 284 and 361 by log(−log);
        // restricted mean to 1022 days 376.3, standard error 19.7.
        let Some(text) = crate::stats::testdata::shared("survival/lung.csv") else { return };
        let mut fixture = crate::relations::fixture::Fixture::new(&["L", "Won", "Lost"]);
        for row in crate::stats::testdata::csv(&text) {
            let status = if row[2] == "1" { "lost" } else { "open" };
            let line = format!("created_period=0 cycle={} cycle_status={status}", row[1]);
            fixture = fixture.line(Relation::Deals, &line);
        }
        let table = run(&METRIC, &fixture.build(), &[], &settings(&["L"], 2_000));
        let check_whole = |column: &str, expected: &str| check(&table, &[], column, expected);
        check_whole("close_days_km_p50_midpoint", "310.0");
        check_whole("close_days_km_p50_low", "284.0");
        check_whole("close_days_km_p50_high", "361.0");
        check_whole("close_days_km_p50_log_low", "285.0");
        check_whole("close_days_km_p50_log_high", "363.0");
        let found = |column: &str| -> f64 {
            crate::metrics::testing::cells(&table, &[], column)[0].parse().expect("days")
        };
        let half = found("close_days_restricted_mean_high") - found("close_days_restricted_mean");
        assert!((half / Z_95 - 19.7).abs() < 0.05, "{half}");
    }

    #[test]
    fn maven_medians_with_and_without_open_deals_are_reproduced() {
        let Some(text) = crate::stats::testdata::shared("maven_crm/sales_pipeline.csv") else {
            return;
        };
        let day = |text: &str| text.parse().ok().map(crate::time::from_date);
        let as_of = day("2017-12-31").expect("a date");
        let mut fixture = crate::relations::fixture::Fixture::new(&["L", "Won", "Lost"]);
        for row in crate::stats::testdata::csv(&text) {
            // The 500 deals that are only being prospected have no date at all.
            let Some(engaged) = day(row[5]) else { continue };
            let (cycle, status) = match day(row[6]) {
                Some(closed) => (closed - engaged, row[4].to_lowercase()),
                None => (as_of - engaged, "open".to_owned()),
            };
            let line = format!("created_period={engaged} cycle={cycle} cycle_status={status}");
            fixture = fixture.line(Relation::Deals, &line);
        }
        let settings = settings(&["L"], i64::from(as_of) + 1);
        let table = run(&METRIC, &fixture.build(), &[], &settings);
        let check_whole = |column: &str, expected: &str| check(&table, &[], column, expected);
        check_whole("won_n", "4238");
        check_whole("lost_n", "2473");
        check_whole("censored_n", "1589");
        check_whole("closed_days_p50", "45.0");
        check_whole("close_days_km_p25", "10.0");
        check_whole("close_days_km_p50", "69.0");
        check_whole("close_days_km_p50_low", "67.0");
        check_whole("close_days_km_p50_high", "70.0");
        check_whole("close_days_km_p75", "107.0");
        check_whole("win_days_km_p25", "39.0");
        check_whole("win_days_km_p50", "93.0");
        check_whole("win_days_km_p50_low", "92.0");
        check_whole("win_days_km_p50_high", "94.0");
        check_whole("win_days_km_p75", "-");
    }

    #[test]
    fn negative_cycle_is_counted_and_excluded() {
        let row = "created_period=0 cycle=-4 cycle_status=won is_negative_cycle=1";
        let relations = eight_deals_fixture().line(Relation::Deals, row).build();
        let table = run(&METRIC, &relations, &[], &settings(&FIXTURE_STAGES, 20));
        check(&table, &[], "deals_n", "9");
        check(&table, &[], "negative_n", "1");
        check(&table, &[], "at_risk_n", "8");
        check(&table, &[], "won_days_mean", "4.0");
    }

    #[test]
    fn nothing_closed_has_no_median_but_a_horizon() {
        let row = "created_period=0 cycle=5 cycle_status=open";
        let relations = crate::relations::fixture::Fixture::new(&["L", "Won", "Lost"])
            .line(Relation::Deals, row)
            .line(Relation::Deals, "created_period=0 cycle=8 cycle_status=deleted")
            .build();
        let table = run(&METRIC, &relations, &[], &settings(&["L"], 20));
        check(&table, &[], "close_days_km_p50", "-");
        check(&table, &[], "close_days_km_p50_high", "-");
        check(&table, &[], "won_days_mean", "-");
        check(&table, &[], "close_days_restricted_mean", "8.0");
        check(&table, &[], "censored_n", "2");
    }

    #[test]
    fn units_of_the_resolution_come_out_as_days() {
        let row = "created_period=0 cycle=36 cycle_status=won";
        let relations = crate::relations::fixture::Fixture::new(&["L", "Won", "Lost"])
            .line(Relation::Deals, row)
            .build();
        let mut settings = settings(&["L"], 20);
        settings.resolution = Resolution::Hour;
        let table = run(&METRIC, &relations, &[], &settings);
        for column in ["won_days_mean", "won_days_p90", "close_days_km_p50", "horizon_days"] {
            check(&table, &[], column, "1.5");
        }
    }
}
