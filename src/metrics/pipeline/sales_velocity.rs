//! `sales_velocity`: what the pipeline earns a day if it goes on as it did in the period, and what made
//! that change.
//!
//! The velocity is a rule of thumb of four numbers, which are all here. Its cycle is that of won deals
//! only, which forgets those that are still open; beside it stands the same with the time that all
//! open deals spent per deal that ended. It is no forecast: nothing is known of stages and ages.
//!
//! Invariant: the four contributions add up to the change of the velocity.

use std::collections::BTreeMap;

use super::{is_complete, periods};
use crate::error::Error;
use crate::metrics::{Absent, Group, Identity, Metric, Rows, State, StateView, View, period_start};
use crate::relations::Relation;
use crate::stats::{float, ratio, shapley};
use crate::table::{ColumnSpec, Value};
use crate::time::Day;

/// Definition: `velocity = open_n · win_rate · avg_won / cycle_days` a day, with the deals open at the
/// end of the period and the rate, mean and cycle of the deals closed in it. With exposure, the rate
/// is that of the deals that left the pipeline in the period, and the cycle the days that all open
/// deals spent in it in the period per deal that left: right for open deals if the chance to close
/// does not change with time.
///
/// Edge cases: null where any of the four is, or the cycle is 0; a period without a win has none. The
/// change is from the period before, and null where either velocity is.
///
/// Source: the sales velocity equation of practice; exposure: Breslow and Day, 1987, Statistical
/// Methods in Cancer Research II (rates by person-time); contributions: Shapley, 1953.
pub static METRIC: Metric = Metric {
    name: "sales_velocity",
    question: "What does the pipeline earn a day, and what made that change?",
    grain: "one row per slice and period",
    states: &[
        State {
            relation: Relation::PipelineFlows,
            sql: "SELECT grain, period_start, \
                  SUM(CASE WHEN exit_kind = 'end' THEN 1 ELSE 0 END) AS end_n, \
                  SUM(CASE WHEN entry_kind = 'start' THEN 1 ELSE 0 END) AS start_n, \
                  SUM(CASE WHEN exit_kind = 'won' THEN 1 ELSE 0 END) AS left_won_n, \
                  SUM(CASE WHEN exit_kind = 'lost' THEN 1 ELSE 0 END) AS left_lost_n, \
                  SUM(absent_days) AS away_days \
                  FROM pipeline_flows WHERE flow_window = 'all' GROUP BY grain, period_start",
            absent: Absent::SkipTable,
        },
        State {
            relation: Relation::Deals,
            sql: "SELECT closed_period AS period, SUM(is_won) AS won_n, SUM(is_lost) AS lost_n, \
                  SUM(CASE WHEN is_won = 1 THEN amount ELSE 0 END) AS won_amount, \
                  SUM(CASE WHEN is_won = 1 THEN has_amount ELSE 0 END) AS known_n, \
                  SUM(CASE WHEN is_won = 1 AND is_negative_cycle = 0 THEN cycle ELSE 0 END) \
                  AS cycle_units, \
                  SUM(CASE WHEN is_won = 1 AND is_negative_cycle = 0 THEN 1 ELSE 0 END) \
                  AS cycled_n \
                  FROM deals WHERE is_won = 1 OR is_lost = 1 GROUP BY period",
            absent: Absent::SkipTable,
        },
    ],
    output: OUTPUT,
    view: View::Line("velocity_per_day"),
    references: &[
        "Shapley, 1953, A Value for n-Person Games",
        "Breslow and Day, 1987, Statistical Methods in Cancer Research, volume II",
    ],
    finish,
    identities: IDENTITIES,
};

const fn per_day(name: &'static str, meaning: &'static str) -> ColumnSpec {
    ColumnSpec::number(name, "currency/day", meaning).nullable()
}

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::count("open_n", "deals", "Deals open when the period ends, or at as_of."),
    ColumnSpec::count("won_n", "deals", "Deals closed in the period and won at as_of."),
    ColumnSpec::count("lost_n", "deals", "Deals closed in the period and lost at as_of."),
    ColumnSpec::money("won_amount", "Amount of the won ones; unknown amounts add nothing."),
    ColumnSpec::count("won_amounts_n", "deals", "Of the won ones, those of a known amount."),
    ColumnSpec::rate("win_rate", "won_n / (won_n + lost_n)."),
    ColumnSpec::number("avg_won", "currency", "won_amount / won_amounts_n; null without any.")
        .nullable(),
    ColumnSpec::days("cycle_days", "Mean cycle of the won ones, by the configured cycle."),
    per_day("velocity_per_day", "open_n · win_rate · avg_won / cycle_days; null where any is."),
    per_day("velocity_change_per_day", "Less that of the period before; null where either is."),
    per_day("open_n_contribution_per_day", "Of the change, what the number of open deals made."),
    per_day("win_rate_contribution_per_day", "Of the change, what the win rate made."),
    per_day("avg_won_contribution_per_day", "Of the change, what the mean amount made."),
    per_day("cycle_days_contribution_per_day", "Of the change, what the cycle made."),
    ColumnSpec::count("open_days", "deal days", "Days that deals were open in the period, in all."),
    ColumnSpec::count("left_won_n", "deals", "Deals that left the pipeline in it as won."),
    ColumnSpec::count("left_lost_n", "deals", "Deals that left the pipeline in it as lost."),
    ColumnSpec::rate("win_rate_exposure", "left_won_n / (left_won_n + left_lost_n)."),
    ColumnSpec::days(
        "cycle_days_exposure",
        "open_days / (left_won_n + left_lost_n): open deals count with the time they were open.",
    ),
    per_day(
        "velocity_exposure_per_day",
        "open_n · win_rate_exposure · avg_won / cycle_days_exposure; null where any is.",
    ),
    ColumnSpec::flag("is_complete_period", "The period has ended by as_of."),
    ColumnSpec::flag("low_n", "won_n + lost_n is below the rate floor."),
];

const CONTRIBUTIONS: [&str; 4] = [
    "open_n_contribution_per_day",
    "win_rate_contribution_per_day",
    "avg_won_contribution_per_day",
    "cycle_days_contribution_per_day",
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "the four contributions add up to velocity_change_per_day",
        holds: |row| {
            let parts: Option<Vec<f64>> = CONTRIBUTIONS.iter().map(|n| row.float(n)).collect();
            match (row.float("velocity_change_per_day"), parts) {
                (Some(change), Some(parts)) => {
                    let size: f64 = parts.iter().map(|part| part.abs()).sum();
                    let speed = row.float("velocity_per_day").unwrap_or(0.0).abs();
                    (parts.iter().sum::<f64>() - change).abs() <= 1e-9 * (1.0 + size + speed)
                }
                (None, None) => true,
                _ => false,
            }
        },
    },
    Identity {
        claim: "open_n and open_days are not below 0, and won_amounts_n ≤ won_n",
        holds: |row| {
            row.int("open_n") >= Some(0)
                && row.int("open_days") >= Some(0)
                && row.int("won_amounts_n") <= row.int("won_n")
        },
    },
];

/// What is told of one period.
#[derive(Debug, Default, Clone, Copy)]
struct Told {
    more_n: i64,
    left_won_n: i64,
    left_lost_n: i64,
    away_days: i64,
    won_n: i64,
    lost_n: i64,
    won_amount: i64,
    known_n: i64,
    cycle_units: i64,
    cycled_n: i64,
}

/// The four factors of a velocity, the last one cycles a day.
type Factors = Option<[f64; 4]>;

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let told = read(group)?;
    let mut open_n = 0;
    let mut before: Factors = None;
    for start in periods(group, told.keys().next().copied()) {
        let own = told.get(&start).copied().unwrap_or_default();
        open_n += own.more_n;
        before = push(group, rows, start, open_n, &own, before)?;
    }
    Ok(())
}

fn read(group: &Group<'_>) -> Result<BTreeMap<Day, Told>, Error> {
    let [flows, closed] = group.states else {
        return Err(Error::Bug("the velocity has two states".into()));
    };
    let mut told: BTreeMap<Day, Told> = BTreeMap::new();
    let mut add = |state: &StateView<'_>,
                   key: &str,
                   value: &str,
                   put: fn(&mut Told, i64)|
     -> Result<(), Error> {
        for (start, n) in state.key(key)?.iter().zip(state.value(value)?) {
            put(told.entry(period_start(*start)).or_default(), *n);
        }
        Ok(())
    };
    add(flows, "period_start", "end_n", |own, n| own.more_n += n)?;
    add(flows, "period_start", "start_n", |own, n| own.more_n -= n)?;
    add(flows, "period_start", "left_won_n", |own, n| own.left_won_n += n)?;
    add(flows, "period_start", "left_lost_n", |own, n| own.left_lost_n += n)?;
    add(flows, "period_start", "away_days", |own, n| own.away_days += n)?;
    add(closed, "period", "won_n", |own, n| own.won_n += n)?;
    add(closed, "period", "lost_n", |own, n| own.lost_n += n)?;
    add(closed, "period", "won_amount", |own, n| own.won_amount += n)?;
    add(closed, "period", "known_n", |own, n| own.known_n += n)?;
    add(closed, "period", "cycle_units", |own, n| own.cycle_units += n)?;
    add(closed, "period", "cycled_n", |own, n| own.cycled_n += n)?;
    Ok(told)
}

/// `1 / days`; nothing where that is no number.
fn a_day(days: Option<f64>) -> Option<f64> {
    days.filter(|days| *days > 0.0).map(f64::recip)
}

/// One row; with the factors of its velocity, for the next.
fn push(
    group: &Group<'_>,
    rows: &mut Rows<'_>,
    start: Day,
    open_n: i64,
    own: &Told,
    before: Factors,
) -> Result<Factors, Error> {
    let settings = group.settings;
    let win_rate = ratio(own.won_n, own.won_n + own.lost_n);
    // Amounts are in minor units.
    let scale = 10_f64.powi(i32::from(settings.money_scale));
    let avg_won = ratio(own.won_amount, own.known_n).map(|minor| minor / scale);
    let units_a_day = float(settings.resolution.units_per_day());
    let cycle_days = ratio(own.cycle_units, own.cycled_n).map(|units| units / units_a_day);
    let factors = |win_rate: Option<f64>, cycle: Option<f64>| -> Factors {
        Some([float(open_n), win_rate?, avg_won?, a_day(cycle)?])
    };
    let velocity = |factors: &Factors| factors.map(|factors| factors.iter().product::<f64>());
    let now = factors(win_rate, cycle_days);
    let both = before.zip(now);
    let parts = both.map(|(old, new)| shapley::of_product(&old, &new));
    let change = velocity(&now).zip(velocity(&before)).map(|(new, old)| new - old);
    let part = |place: usize| Value::float(parts.and_then(|p| p.get(place).copied()));
    let length = i64::from(super::last_day(group, start) - start) + 1;
    let open_days = open_n * length - own.away_days;
    let left_n = own.left_won_n + own.left_lost_n;
    let (rate, stay) = (ratio(own.left_won_n, left_n), ratio(open_days, left_n));
    let exposed = factors(rate, stay);
    rows.push(
        start,
        &[
            ("open_n", Value::Int(open_n)),
            ("won_n", Value::Int(own.won_n)),
            ("lost_n", Value::Int(own.lost_n)),
            ("won_amount", Value::Money(own.won_amount)),
            ("won_amounts_n", Value::Int(own.known_n)),
            ("win_rate", Value::float(win_rate)),
            ("avg_won", Value::float(avg_won)),
            ("cycle_days", Value::float(cycle_days)),
            ("velocity_per_day", Value::float(velocity(&now))),
            ("velocity_change_per_day", Value::float(change)),
            ("open_n_contribution_per_day", part(0)),
            ("win_rate_contribution_per_day", part(1)),
            ("avg_won_contribution_per_day", part(2)),
            ("cycle_days_contribution_per_day", part(3)),
            ("open_days", Value::Int(open_days)),
            ("left_won_n", Value::Int(own.left_won_n)),
            ("left_lost_n", Value::Int(own.left_lost_n)),
            ("win_rate_exposure", Value::float(rate)),
            ("cycle_days_exposure", Value::float(stay)),
            ("velocity_exposure_per_day", Value::float(velocity(&exposed))),
            ("is_complete_period", Value::Bool(is_complete(group, start))),
            ("low_n", Value::Bool(own.won_n + own.lost_n < settings.rate_floor)),
        ],
    )?;
    Ok(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{cells, check, run, settings};
    use crate::relations::fixture::Fixture;
    use crate::stats::testdata::close;
    use crate::table::Table;
    use crate::time::Period;

    /// January: 10 deals come on the 1st, 2 are won (100.00 each, 20 days) and 2 lost on the 21st, so
    /// 6 stay. February: 4 come on the 1st; 3 are won (120.00 each, 15 days) and 1 lost on the 11th.
    fn two_months() -> Table {
        let mut fixture = Fixture::new(&["L", "Won", "Lost"]);
        let mut flow = |line: &str, n: usize| {
            for _ in 0..n {
                let line = format!("grain=month flow_window=all {line}");
                fixture = std::mem::take(&mut fixture).line(Relation::PipelineFlows, &line);
            }
        };
        flow("period_start=0 entry_kind=new exit_kind=end", 6);
        flow("period_start=0 entry_kind=new exit_kind=won absent_days=-20 is_inside=1", 2);
        flow("period_start=0 entry_kind=new exit_kind=lost absent_days=-20 is_inside=1", 2);
        flow("period_start=31 entry_kind=new exit_kind=end", 4);
        flow("period_start=31 entry_kind=start exit_kind=won absent_days=-10", 3);
        flow("period_start=31 entry_kind=start exit_kind=lost absent_days=-10", 1);
        let mut deal = |line: &str, n: usize| {
            for _ in 0..n {
                fixture = std::mem::take(&mut fixture).line(Relation::Deals, line);
            }
        };
        deal("closed_period=0 is_won=1 amount=10000 has_amount=1 cycle=20", 2);
        deal("closed_period=0 is_lost=1 amount=77 has_amount=1 cycle=9", 2);
        deal("closed_period=31 is_won=1 amount=12000 has_amount=1 cycle=15", 3);
        deal("closed_period=31 is_lost=1 cycle=9", 1);
        run(&METRIC, &fixture.build(), &[Period::Month], &settings(&["L"], 58))
    }

    #[track_caller]
    fn check_floats(column: &str, expected: &[f64]) {
        let found = cells(&two_months(), &["period=month"], column);
        let found: Vec<f64> = found.iter().filter_map(|cell| cell.parse().ok()).collect();
        assert_eq!(found.len(), expected.len(), "{column}: {found:?}");
        for (found, expected) in found.iter().zip(expected) {
            close(*found, *expected, 1e-9);
        }
    }

    #[test]
    fn velocity_is_the_product_of_its_four_numbers() {
        let table = two_months();
        check(&table, &["period=month"], "open_n", "6 6");
        check_floats("win_rate", &[0.5, 0.75]);
        check_floats("avg_won", &[100.0, 120.0]);
        check_floats("cycle_days", &[20.0, 15.0]);
        // 6 · 0.5 · 100 / 20 = 15; 6 · 0.75 · 120 / 15 = 36.
        check_floats("velocity_per_day", &[15.0, 36.0]);
        check_floats("velocity_change_per_day", &[21.0]);
        check(&table, &["period=all"], "open_n", "");
    }

    #[test]
    fn change_is_made_by_rate_amount_and_cycle() {
        // The number of open deals is the same. With 6 before: the rate 0.5→0.75, amounts 100→120,
        // cycles a day 1/20→1/15, by all six orders of three factors:
        //   rate: 0.25·6·(2·5 + 6 + 20/3 + 2·8)/6 = 0.25·(10 + 6 + 6.6667 + 16) = 9.6667
        //   amount: 20·6·(2·0.025 + 0.0375 + 0.03333 + 2·0.05)/6 = 20·0.220833 = 4.416667
        //   cycle: 1/60·6·(2·50 + 75 + 60 + 2·90)/6 = 415/60 = 6.916667
        check_floats("open_n_contribution_per_day", &[0.0]);
        check_floats("win_rate_contribution_per_day", &[9.0 + 2.0 / 3.0]);
        check_floats("avg_won_contribution_per_day", &[4.416_666_666_666_667]);
        check_floats("cycle_days_contribution_per_day", &[6.916_666_666_666_667]);
    }

    #[test]
    fn open_deals_count_with_the_days_that_they_were_open() {
        let table = two_months();
        // January: 6·31 + 4·20 = 266 days by 4 that left; February: 6·28 + 4·10 = 208 by 4.
        check(&table, &["period=month"], "open_days", "266 208");
        check_floats("cycle_days_exposure", &[66.5, 52.0]);
        // 6 · 0.5 · 100 / 66.5; 6 · 0.75 · 120 / 52.
        check_floats("velocity_exposure_per_day", &[300.0 / 66.5, 540.0 / 52.0]);
        check(&table, &["period=month"], "low_n", "true true");
    }

    #[test]
    fn period_without_a_win_has_no_velocity() {
        let relations = Fixture::new(&["L", "Won", "Lost"])
            .line(
                Relation::PipelineFlows,
                "grain=month flow_window=all period_start=0 entry_kind=new exit_kind=end",
            )
            .line(Relation::Deals, "closed_period=0 is_lost=1 cycle=9")
            .build();
        let table = run(&METRIC, &relations, &[Period::Month], &settings(&["L"], 20));
        check(&table, &["period=month"], "open_n", "1");
        check(&table, &["period=month"], "win_rate", "0.0");
        check(&table, &["period=month"], "velocity_per_day", "-");
        check(&table, &["period=month"], "is_complete_period", "false");
    }
}
