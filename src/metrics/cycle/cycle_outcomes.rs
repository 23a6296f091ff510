//! How many deals are won in the end and how soon, with a loss taken as what it is: the end of the
//! chance to win, not a deal that could still be won.
//!
//! The naive numbers stand beside, so that their bias is seen: the share of closed deals that are
//! won leaves out those still open, which are mostly slow ones; a Kaplan–Meier curve that censors
//! losses says what would be won if deals were not lost.

use super::{CYCLES, LATE_ENTRIES, Race};
use crate::error::Error;
use crate::metrics::durations::days;
use crate::metrics::{Absent, Group, Identity, Metric, Rows, Settings, State, View, by_period};
use crate::relations::Relation;
use crate::stats::competing::{Cause, Incidence, Step};
use crate::stats::{Z_95, ratio};
use crate::table::{ColumnSpec, Value};

/// Definition: cumulative incidence of Aalen and Johansen over the deals created in the period,
/// from the configured start to the configured close; open and deleted deals are censored.
///
/// Edge cases: "eventual" is as far as the longest cycle followed, `followed_days`; what is not
/// decided by then is `open_share_eventual`.
pub static METRIC: Metric = Metric {
    name: "cycle_outcomes",
    question: "What share of deals is won in the end, and how soon?",
    grain: "one row per slice and period of creation",
    states: &[
        State { relation: Relation::Deals, sql: CYCLES, absent: Absent::SkipTable },
        LATE_ENTRIES,
    ],
    output: OUTPUT,
    view: View::Line("win_share_eventual"),
    references: &[
        "Aalen and Johansen, 1978, An Empirical Transition Matrix for Non-homogeneous Markov \
         Chains Based on Censored Observations",
        "Choudhury, 2002, Non-parametric Confidence Interval Estimation for Competing Risks \
         Analysis",
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
    ColumnSpec::count("won_n", "deals", "Deals whose cycle ended with a win."),
    ColumnSpec::count("lost_n", "deals", "Deals whose cycle ended with a loss."),
    ColumnSpec::count("censored_n", "deals", "Deals not closed by as_of, or deleted."),
    ColumnSpec::days("followed_days", "Longest time that any of the deals was followed."),
    ColumnSpec::rate("win_share_eventual", "Share won by followed_days, losses being final."),
    ColumnSpec::rate("win_share_eventual_low", "Its lower log-log 95 % limit."),
    ColumnSpec::rate("win_share_eventual_high", "Its upper log-log 95 % limit."),
    ColumnSpec::rate("loss_share_eventual", "Share lost by followed_days."),
    ColumnSpec::rate("open_share_eventual", "Share neither won nor lost by followed_days."),
    ColumnSpec::rate(
        "win_share_naive",
        "1 − Kaplan–Meier with losses censored: too high wherever deals are lost.",
    ),
    ColumnSpec::rate(
        "win_share_closed",
        "won_n / (won_n + lost_n): leaves out what is still open.",
    ),
    ColumnSpec::days(
        "win_days_p25",
        "The first time by which a quarter of all deals are won; null where fewer ever are.",
    ),
    ColumnSpec::days("win_days_p50", "The first time by which half of all deals are won."),
    ColumnSpec::days("win_days_p50_low", "Its lower log-log 95 % limit."),
    ColumnSpec::days("win_days_p50_high", "Its upper limit; null where not reached."),
    ColumnSpec::days("win_days_p75", "The first time by which three quarters are won."),
    ColumnSpec::days(
        "winner_days_p25",
        "The first time by which a quarter of the deals that are won in the end are won.",
    ),
    ColumnSpec::days("winner_days_p50", "The same for half of them: their median time to a win."),
    ColumnSpec::days("winner_days_p75", "The same for three quarters of them."),
    ColumnSpec::flag("low_n", "Fewer deals followed than the rate floor."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "deals_n = at_risk_n + negative_n + unseen_n and at_risk_n = won_n + lost_n + censored_n",
        holds: |row| {
            let sum = |names: &[&str]| names.iter().map(|n| row.int(n)).sum::<Option<i64>>();
            row.int("deals_n") == sum(&["at_risk_n", "negative_n", "unseen_n"])
                && row.int("at_risk_n") == sum(&["won_n", "lost_n", "censored_n"])
        },
    },
    Identity {
        claim: "win_share_eventual + loss_share_eventual + open_share_eventual = 1",
        holds: |row| {
            let share = |name: &str| row.float(&format!("{name}_share_eventual"));
            match (share("win"), share("loss"), share("open")) {
                (Some(won), Some(lost), Some(open)) => (won + lost + open - 1.0).abs() < 1e-9,
                (won, lost, open) => won.is_none() && lost.is_none() && open.is_none(),
            }
        },
    },
    Identity {
        claim: "win_share_eventual ≤ win_share_naive",
        holds: |row| match (row.float("win_share_eventual"), row.float("win_share_naive")) {
            (Some(share), Some(naive)) => share <= naive + 1e-9,
            (share, naive) => share.is_none() && naive.is_none(),
        },
    },
];

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [state, late] = group.states else {
        return Err(Error::Bug("the outcomes of cycles have two states".into()));
    };
    for (start, [of_period, late]) in by_period([state, late]) {
        let race = Race::read(&of_period, &late)?;
        let curve = race.incidence();
        let mut values = counted(&race, group.settings);
        values.extend(shares(&curve, &race));
        values.extend(times(&curve, group.settings));
        values.push(("low_n", Value::Bool(race.subjects() < group.settings.rate_floor)));
        rows.push(start, &values)?;
    }
    Ok(())
}

type Values = Vec<(&'static str, Value<'static>)>;

fn counted(race: &Race, settings: &Settings) -> Values {
    let followed = race.tallies.last().map(|tally| days(tally.duration, settings.resolution));
    vec![
        ("deals_n", Value::Int(race.subjects() + race.negative_n + race.late.unseen_n)),
        ("negative_n", Value::Int(race.negative_n)),
        ("unseen_n", Value::Int(race.late.unseen_n)),
        ("at_risk_n", Value::Int(race.subjects())),
        ("late_n", Value::Int(race.late.seen())),
        ("won_n", Value::Int(race.won_n)),
        ("lost_n", Value::Int(race.lost_n)),
        ("censored_n", Value::Int(race.censored_n)),
        ("followed_days", Value::float(followed)),
    ]
}

fn shares(curve: &Incidence, race: &Race) -> Values {
    let last = curve.last();
    let limits = last.and_then(|step| step.limits(Cause::First, Z_95));
    let of = |pick: &dyn Fn(&Step) -> f64| Value::float(last.map(pick));
    vec![
        ("win_share_eventual", of(&|step| step.share(Cause::First))),
        ("win_share_eventual_low", Value::float(limits.map(|(low, _)| low))),
        ("win_share_eventual_high", Value::float(limits.map(|(_, high)| high))),
        ("loss_share_eventual", of(&|step| step.share(Cause::Second))),
        ("open_share_eventual", of(&|step| step.survival)),
        ("win_share_naive", of(&|step| step.naive_share(Cause::First))),
        ("win_share_closed", Value::float(ratio(race.won_n, race.won_n + race.lost_n))),
    ]
}

fn times(curve: &Incidence, settings: &Settings) -> Values {
    let in_days = |d: Option<i64>| Value::float(d.map(|d| days(d, settings.resolution)));
    let of_all = |p| in_days(curve.quantile(Cause::First, p));
    let (low, high) = curve.quantile_limits(Cause::First, 0.5, Z_95);
    let of_winners = |p| in_days(curve.conditional_quantile(Cause::First, p));
    vec![
        ("win_days_p25", of_all(0.25)),
        ("win_days_p50", of_all(0.5)),
        ("win_days_p50_low", in_days(low)),
        ("win_days_p50_high", in_days(high)),
        ("win_days_p75", of_all(0.75)),
        ("winner_days_p25", of_winners(0.25)),
        ("winner_days_p50", of_winners(0.5)),
        ("winner_days_p75", of_winners(0.75)),
    ]
}
