//! How far deals come in funnels of the user's own, within a window.
//!
//! The walk over a deal's visits is the fold's; here attempts are counted. The funnel of a pipeline
//! without windows is the table `funnel`. An attempt that has not had its whole window yet is
//! immature: the rates of mature attempts alone do not rise as time goes by.
//! Invariant: attempts = those that came no further, over all steps.

use crate::error::Error;
use crate::metrics::durations::Counted;
use crate::metrics::{
    Absent, FunnelNames, Group, Identity, Metric, Rows, State, StateView, View, by_period,
};
use crate::relations::Relation;
use crate::stats::interval::wilson;
use crate::stats::{Z_95, ratio};
use crate::table::{ColumnSpec, Value};
use crate::time::Day;

/// Definition: attempts by the step that they took, in the period in which they were entered. Which
/// visits are entries, which steps are taken and what ends an attempt says `[funnels.NAME]`; the
/// window includes its edge.
///
/// Edge cases: with `order = "any"` the k-th row counts attempts that took k of the steps; a step
/// that may be left out counts only those that took it, and the step after it is compared with the
/// last one that may not be left out.
pub static METRIC: Metric = Metric {
    name: "windowed_funnel",
    question: "How far do deals come in a funnel of my own, within its window?",
    grain: "one row per slice, period of entry, funnel and step",
    states: &[
        State {
            relation: Relation::FunnelSteps,
            sql: "SELECT attempt_period AS period, funnel, step, COUNT(*) AS attempts_n, \
                  SUM(CASE WHEN attempt_no = 1 THEN 1 ELSE 0 END) AS deals_n, \
                  SUM(is_mature) AS mature_n, SUM(is_furthest) AS stopped_n, \
                  SUM(is_excluded) AS excluded_n, SUM(amount) AS attempts_amount \
                  FROM funnel_steps GROUP BY period, funnel, step",
            absent: Absent::SkipTable,
        },
        State {
            relation: Relation::FunnelSteps,
            sql: "SELECT attempt_period AS period, funnel, step, elapsed, COUNT(*) AS steps_n \
                  FROM funnel_steps WHERE step > 1 GROUP BY period, funnel, step, elapsed",
            absent: Absent::SkipTable,
        },
    ],
    output: OUTPUT,
    view: View::Funnel("attempts_n"),
    references: &[
        "Wilson, 1927, Probable Inference, the Law of Succession, and Statistical Inference",
    ],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::text("funnel", "Name of the funnel.").key(),
    ColumnSpec::count("funnel_step", "place", "Number of the step, from 1.").key(),
    ColumnSpec::text("funnel_step_name", "Name of the step; \"k steps\" where any order counts.")
        .key(),
    ColumnSpec::count("entered_n", "attempts", "Attempts entered in the period."),
    ColumnSpec::count("attempts_n", "attempts", "Of these, attempts that took the step."),
    ColumnSpec::count("deals_n", "deals", "Of these, first attempts of a deal."),
    ColumnSpec::count("stopped_n", "attempts", "Of attempts_n, those that came no further."),
    ColumnSpec::count("excluded_n", "attempts", "Of these, ended by an excluded stage."),
    ColumnSpec::count("immature_n", "attempts", "Of entered_n, not through their window by as_of."),
    ColumnSpec::rate("entry_rate", "attempts_n / entered_n."),
    ColumnSpec::rate("entry_rate_low", "Lower Wilson 95 % limit of entry_rate."),
    ColumnSpec::rate("entry_rate_high", "Upper Wilson 95 % limit of entry_rate."),
    ColumnSpec::rate("step_rate", "attempts_n / those of the step before; null for the first."),
    ColumnSpec::rate("mature_rate", "The same as entry_rate, of the mature attempts alone."),
    ColumnSpec::rate("mature_rate_low", "Lower Wilson 95 % limit of mature_rate."),
    ColumnSpec::rate("mature_rate_high", "Upper Wilson 95 % limit of mature_rate."),
    ColumnSpec::money("attempts_amount", "Amount at entry of attempts_n; unknown adds nothing."),
    ColumnSpec::days("elapsed_days_p50", "Median time (type 7) from entry; null for the first."),
    ColumnSpec::days("elapsed_days_p90", "0.9-quantile (type 7) of it; null for the first."),
    ColumnSpec::flag("is_complete_period", "The period has ended by as_of; never the whole."),
    ColumnSpec::flag("low_n", "entered_n is below the rate floor."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "excluded_n ≤ stopped_n ≤ attempts_n ≤ entered_n and deals_n ≤ attempts_n",
        holds: |row| {
            let chain = ["excluded_n", "stopped_n", "attempts_n", "entered_n"];
            chain.map(|name| row.int(name)).is_sorted()
                && row.int("deals_n") <= row.int("attempts_n")
        },
    },
    Identity {
        claim: "entry_rate lies inside its limits",
        holds: |row| {
            let limits = ["entry_rate_low", "entry_rate", "entry_rate_high"];
            limits.map(|name| row.float(name)).is_sorted()
        },
    },
];

/// The sums of one step.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    attempts_n: i64,
    deals_n: i64,
    mature_n: i64,
    stopped_n: i64,
    excluded_n: i64,
    amount: i64,
}

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [steps, elapsed] = group.states else {
        return Err(Error::Bug("the windowed funnel has two states".into()));
    };
    for (start, [steps, elapsed]) in by_period([steps, elapsed]) {
        let funnels = steps.key("funnel")?;
        for run in steps.runs(2) {
            let code = funnels.get(run.start).copied().unwrap_or(-1);
            let names =
                usize::try_from(code).ok().and_then(|code| group.settings.funnels.get(code));
            let names =
                names.ok_or_else(|| Error::Bug(format!("there is no funnel of code {code}")))?;
            let sums = read(&steps.part(run), names.steps.len())?;
            push(group, rows, start, (code, names), (&sums, &elapsed))?;
        }
    }
    Ok(())
}

/// The sums of every step of a funnel; of one that no attempt took, none.
fn read(state: &StateView<'_>, steps: usize) -> Result<Vec<Sums>, Error> {
    let mut all = vec![Sums::default(); steps];
    let value = |name| state.value(name);
    let (attempts, deals, mature) = (value("attempts_n")?, value("deals_n")?, value("mature_n")?);
    let (stopped, excluded) = (value("stopped_n")?, value("excluded_n")?);
    let amounts = value("attempts_amount")?;
    for (row, step) in state.key("step")?.iter().enumerate() {
        let at = |column: &[i64]| column.get(row).copied().unwrap_or(0);
        let place = usize::try_from(*step - 1).ok().and_then(|step| all.get_mut(step));
        if let Some(sums) = place {
            *sums = Sums {
                attempts_n: at(attempts),
                deals_n: at(deals),
                mature_n: at(mature),
                stopped_n: at(stopped),
                excluded_n: at(excluded),
                amount: at(amounts),
            };
        }
    }
    Ok(all)
}

fn push(
    group: &Group<'_>,
    rows: &mut Rows<'_>,
    start: Day,
    (code, names): (i64, &FunnelNames),
    (sums, elapsed): (&[Sums], &StateView<'_>),
) -> Result<(), Error> {
    let settings = group.settings;
    let entered = sums.first().copied().unwrap_or_default();
    let (of_funnel, of_step) = (elapsed.key("funnel")?, elapsed.key("step")?);
    let (lengths, counts) = (elapsed.key("elapsed")?, elapsed.value("steps_n")?);
    let is_complete = settings.calendar.is_complete(group.period, start, settings.as_of);
    let stopped: i64 = sums.iter().map(|own| own.stopped_n).sum();
    if stopped != entered.attempts_n {
        let claim = format!("attempts at {:?} = those that came no further", names.name);
        return Err(Error::Bug(format!("{claim}: {} and {stopped}", entered.attempts_n)));
    }
    let mut before = None;
    for ((number, own), name) in (1_i64..).zip(sums).zip(&names.steps) {
        let run = elapsed.runs(3).into_iter().find(|run| {
            let at = |column: &[i64]| column.get(run.start).copied();
            at(of_funnel) == Some(code) && at(of_step) == Some(number)
        });
        let own_times = run.map(|run| Counted::of(lengths, counts, run)).unwrap_or_default();
        let limits = wilson(own.attempts_n, entered.attempts_n, Z_95);
        let mature = wilson(own.mature_n, entered.mature_n, Z_95);
        let step_rate = before.and_then(|before| ratio(own.attempts_n, before));
        rows.push(
            start,
            &[
                ("funnel", Value::Text(&names.name)),
                ("funnel_step", Value::Int(number)),
                ("funnel_step_name", Value::Text(name)),
                ("entered_n", Value::Int(entered.attempts_n)),
                ("attempts_n", Value::Int(own.attempts_n)),
                ("deals_n", Value::Int(own.deals_n)),
                ("stopped_n", Value::Int(own.stopped_n)),
                ("excluded_n", Value::Int(own.excluded_n)),
                ("immature_n", Value::Int(entered.attempts_n - entered.mature_n)),
                ("entry_rate", Value::float(ratio(own.attempts_n, entered.attempts_n))),
                ("entry_rate_low", Value::float(limits.map(|l| l.0))),
                ("entry_rate_high", Value::float(limits.map(|l| l.1))),
                ("step_rate", Value::float(step_rate)),
                ("mature_rate", Value::float(ratio(own.mature_n, entered.mature_n))),
                ("mature_rate_low", Value::float(mature.map(|l| l.0))),
                ("mature_rate_high", Value::float(mature.map(|l| l.1))),
                ("attempts_amount", Value::Money(own.amount)),
                (
                    "elapsed_days_p50",
                    Value::float(own_times.quantile_days(0.5, settings.resolution)),
                ),
                (
                    "elapsed_days_p90",
                    Value::float(own_times.quantile_days(0.9, settings.resolution)),
                ),
                ("is_complete_period", Value::Bool(is_complete)),
                ("low_n", Value::Bool(entered.attempts_n < settings.rate_floor)),
            ],
        )?;
        if !names.optional.contains(&number) {
            before = Some(own.attempts_n);
        }
    }
    Ok(())
}
