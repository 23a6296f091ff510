//! What share of deals is won within so many days of their start: the win rate that does not change
//! its meaning as deals grow older, and the one to plan by.

use super::{CYCLES, LATE_ENTRIES, Race};
use crate::error::Error;
use crate::metrics::{Absent, Group, Identity, Metric, Rows, State, View, by_period};
use crate::relations::Relation;
use crate::stats::Z_95;
use crate::stats::competing::{At, Cause};
use crate::table::{ColumnSpec, Value};

/// Definition: cumulative incidence of wins at the horizon, losses being final and open or deleted
/// deals censored; equal to the simple share where every deal was followed that long.
///
/// Edge cases: null where no deal of the period was followed that long and some are still open.
pub static METRIC: Metric = Metric {
    name: "win_horizons",
    question: "What share of deals is won within 30, 90, 180 days?",
    grain: "one row per slice, period of creation and horizon",
    states: &[
        State { relation: Relation::Deals, sql: CYCLES, absent: Absent::SkipTable },
        LATE_ENTRIES,
    ],
    output: OUTPUT,
    view: View::Bars("win_rate"),
    references: &[
        "Aalen and Johansen, 1978, An Empirical Transition Matrix for Non-homogeneous Markov \
         Chains Based on Censored Observations",
    ],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::count("horizon_days", "days", "Time since the start of the cycle.").key(),
    ColumnSpec::count("subjects_n", "deals", "Deals followed from their start."),
    ColumnSpec::count("won_n", "deals", "Deals seen to be won within the horizon."),
    ColumnSpec::count("lost_n", "deals", "Deals seen to be lost within the horizon."),
    ColumnSpec::count(
        "censored_n",
        "deals",
        "Deals whose end within the horizon is not known yet.",
    ),
    ColumnSpec::rate("win_rate", "Estimated share won within the horizon."),
    ColumnSpec::rate("win_rate_low", "Its lower log-log 95 % limit."),
    ColumnSpec::rate("win_rate_high", "Its upper log-log 95 % limit."),
    ColumnSpec::rate("loss_rate", "Estimated share lost within the horizon."),
    ColumnSpec::rate("open_rate", "Estimated share neither won nor lost within it."),
    ColumnSpec::rate("win_rate_naive", "1 − Kaplan–Meier with losses censored: too high."),
    ColumnSpec::flag("low_n", "Fewer deals followed than the rate floor."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "win_rate + loss_rate + open_rate = 1",
        holds: |row| match (row.float("win_rate"), row.float("loss_rate"), row.float("open_rate")) {
            (Some(won), Some(lost), Some(open)) => (won + lost + open - 1.0).abs() < 1e-9,
            (won, lost, open) => won.is_none() && lost.is_none() && open.is_none(),
        },
    },
    Identity {
        claim: "won_n + lost_n + censored_n ≤ subjects_n",
        holds: |row| {
            let ended = ["won_n", "lost_n", "censored_n"].iter().map(|n| row.int(n));
            ended.sum::<Option<i64>>() <= row.int("subjects_n")
        },
    },
];

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [state, late] = group.states else {
        return Err(Error::Bug("win rates by horizon have two states".into()));
    };
    let settings = group.settings;
    for (start, [of_period, late]) in by_period([state, late]) {
        let race = Race::read(&of_period, &late)?;
        let curve = race.incidence();
        for horizon_days in &settings.horizons_days {
            let horizon = horizon_days * settings.resolution.units_per_day();
            let within = race.tallies.iter().take_while(|tally| tally.duration <= horizon);
            let (mut won_n, mut lost_n, mut censored_n) = (0, 0, 0);
            for tally in within {
                let [won, lost] = tally.ended;
                won_n += won;
                lost_n += lost;
                // One last seen at the horizon itself was followed for all of it.
                censored_n += if tally.duration < horizon { tally.censored } else { 0 };
            }
            let mut values = vec![
                ("horizon_days", Value::Int(*horizon_days)),
                ("subjects_n", Value::Int(race.subjects())),
                ("won_n", Value::Int(won_n)),
                ("lost_n", Value::Int(lost_n)),
                ("censored_n", Value::Int(censored_n)),
            ];
            values.extend(rates(curve.at(horizon)));
            values.push(("low_n", Value::Bool(race.subjects() < settings.rate_floor)));
            rows.push(start, &values)?;
        }
    }
    Ok(())
}

fn rates(at: At<'_>) -> [(&'static str, Value<'static>); 6] {
    let (won, lost, open, naive, limits) = match at {
        At::Unknown => (None, None, None, None, None),
        At::Nothing => (Some(0.0), Some(0.0), Some(1.0), Some(0.0), None),
        At::Step(step) => (
            Some(step.share(Cause::First)),
            Some(step.share(Cause::Second)),
            Some(step.survival),
            Some(step.naive_share(Cause::First)),
            step.limits(Cause::First, Z_95),
        ),
    };
    [
        ("win_rate", Value::float(won)),
        ("win_rate_low", Value::float(limits.map(|(low, _)| low))),
        ("win_rate_high", Value::float(limits.map(|(_, high)| high))),
        ("loss_rate", Value::float(lost)),
        ("open_rate", Value::float(open)),
        ("win_rate_naive", Value::float(naive)),
    ]
}
