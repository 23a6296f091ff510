//! The points of the curves behind `cycle_outcomes`: what share of deals is won, lost and still open
//! after each time.
//!
//! As `cycle_curve` it is made for the whole history only.

use super::cycle_curve::is_kept;
use super::{ALL_CYCLES, ALL_LATE_ENTRIES, Race};
use crate::error::Error;
use crate::metrics::durations::days;
use crate::metrics::{Absent, Group, Identity, Metric, Rows, State, View};
use crate::relations::Relation;
use crate::stats::Z_95;
use crate::stats::competing::Cause;
use crate::table::{ColumnSpec, Value};
use crate::time::NO_DAY;

/// Definition: cumulative incidence of Aalen and Johansen at every distinct duration.
///
/// Edge cases: a curve of more than [`super::cycle_curve::POINTS_MAX`] durations keeps that many,
/// evenly spread.
pub static METRIC: Metric = Metric {
    name: "outcome_curve",
    question: "What share of deals is won, lost and still open after each length of time?",
    grain: "one row per slice and time since the start, for the whole history",
    states: &[
        State { relation: Relation::Deals, sql: ALL_CYCLES, absent: Absent::SkipTable },
        ALL_LATE_ENTRIES,
    ],
    output: OUTPUT,
    view: View::Steps("win_share"),
    references: &[
        "Aalen and Johansen, 1978, An Empirical Transition Matrix for Non-homogeneous Markov \
         Chains Based on Censored Observations",
    ],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::number("duration_days", "days", "Time since the start of the cycle.").key(),
    ColumnSpec::count("subjects_n", "deals", "Deals followed from the start."),
    ColumnSpec::count("at_risk_n", "deals", "Deals neither closed nor censored before this time."),
    ColumnSpec::rate("win_share", "Estimated share won by this time."),
    ColumnSpec::rate("win_share_low", "Its lower log-log 95 % limit; null where it is 0 or 1."),
    ColumnSpec::rate("win_share_high", "Its upper log-log 95 % limit; null where it is 0 or 1."),
    ColumnSpec::rate("loss_share", "Estimated share lost by this time."),
    ColumnSpec::rate("open_share", "Estimated share neither won nor lost by this time."),
    ColumnSpec::rate("win_share_naive", "1 − Kaplan–Meier with losses censored: too high."),
];

const IDENTITIES: &[Identity] = &[Identity {
    claim: "win_share + loss_share + open_share = 1 and win_share ≤ win_share_naive",
    holds: |row| {
        let shares = ["win_share", "loss_share", "open_share"].map(|name| row.float(name));
        let sum = shares.into_iter().sum::<Option<f64>>();
        let naive = row.float("win_share_naive");
        sum.is_some_and(|sum| (sum - 1.0).abs() < 1e-9)
            && row.float("win_share").zip(naive).is_some_and(|(own, naive)| own <= naive + 1e-9)
    },
}];

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [state, late] = group.states else {
        return Err(Error::Bug("the curve of outcomes has two states".into()));
    };
    let race = Race::read(state, late)?;
    let curve = race.incidence();
    for (position, step) in curve.steps.iter().enumerate() {
        if !is_kept(position, curve.steps.len()) {
            continue;
        }
        let limits = step.limits(Cause::First, Z_95);
        rows.push(
            NO_DAY,
            &[
                ("duration_days", Value::Float(days(step.duration, group.settings.resolution))),
                ("subjects_n", Value::Int(curve.subjects())),
                ("at_risk_n", Value::Int(step.at_risk)),
                ("win_share", Value::Float(step.share(Cause::First))),
                ("win_share_low", Value::float(limits.map(|(low, _)| low))),
                ("win_share_high", Value::float(limits.map(|(_, high)| high))),
                ("loss_share", Value::Float(step.share(Cause::Second))),
                ("open_share", Value::Float(step.survival)),
                ("win_share_naive", Value::Float(step.naive_share(Cause::First))),
            ],
        )?;
    }
    Ok(())
}
