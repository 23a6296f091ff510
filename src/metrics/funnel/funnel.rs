//! How many deals come as far as each stage, by six meanings of "as far as".
//!
//! It does not say how long deals take or where they go instead; that is `stage_time` and
//! `stage_transitions`. Invariant: per stage, strict ≤ ordered ≤ fall_through ≤ touched ≤ reached.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Range;

use crate::error::Error;
use crate::metrics::{
    Absent, Dims, Gathered, Group, Identity, Metric, NO_KEY, Rows, State, StateRows, View,
    period_start,
};
use crate::relations::Relation;
use crate::stats::interval::wilson;
use crate::stats::{Z_95, ratio};
use crate::table::{ColumnSpec, Value};
use crate::time::day_text;

/// Definition: of the deals of a population, how many count at each stage of the pipeline, for each
/// variant (touched, fall_through, ordered, strict, reached, furthest_final).
///
/// Edge cases: a skipped stage counts in reached and furthest_final only; a rate on a zero
/// denominator is null, not 100 %; the step rate of touched may exceed 1, which
/// `entered_here_first_n` explains.
pub static METRIC: Metric = Metric {
    name: "funnel",
    question: "How many deals come as far as each stage, and what share goes on to the next?",
    grain: "one row per slice, period, variant, population and stage, with a last row for won",
    states: &[
        State {
            relation: Relation::Deals,
            sql: "SELECT created_period AS period, reached_level, furthest_final_level, \
                  first_level, fall_through_level, ordered_level, strict_level, \
                  touched_stages, COUNT(*) AS deals_n FROM deals GROUP BY period, reached_level, \
                  furthest_final_level, first_level, fall_through_level, ordered_level, \
                  strict_level, touched_stages",
            absent: Absent::SkipTable,
        },
        State {
            relation: Relation::Deals,
            sql: "SELECT entered_period AS period, reached_level, furthest_final_level, \
                  first_level, fall_through_level, ordered_level, strict_level, \
                  touched_stages, COUNT(*) AS deals_n FROM deals WHERE entered_period IS NOT NULL \
                  GROUP BY period, reached_level, furthest_final_level, first_level, \
                  fall_through_level, ordered_level, strict_level, touched_stages",
            absent: Absent::SkipTable,
        },
    ],
    output: OUTPUT,
    view: View::Funnel("entered_n"),
    references: &[
        "Stage funnels as CRMs draw them differ by what a skipped stage and a lost deal count as; \
         the six variants name each meaning",
        "Wilson, 1927, Probable Inference, the Law of Succession, and Statistical Inference",
    ],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::text(
        "variant",
        "What counts as having come to a stage: touched (visited it), fall_through (visited it and \
         every one before), ordered (in order of time), strict (with no other stage between), \
         reached (went as far or further, or was ever won), furthest_final (the current or last \
         open stage is it or a later one, or is won now).",
    )
    .key(),
    ColumnSpec::text(
        "population",
        "Which deals: created (in the period) or entered (came to the first stage in the period).",
    )
    .key(),
    ColumnSpec::count(
        "stage_order",
        "place",
        "Place of the stage in the pipeline, from 1; won comes last.",
    )
    .key(),
    ColumnSpec::text("stage", "Name of the stage; won in the last row.").key(),
    ColumnSpec::count("population_n", "deals", "Deals of the population."),
    ColumnSpec::count("entered_n", "deals", "Deals that count at this stage."),
    ColumnSpec::count(
        "previous_n",
        "deals",
        "Deals that count at the stage before; null at the first stage.",
    )
    .nullable(),
    ColumnSpec::count("first_n", "deals", "Deals that count at the first stage."),
    ColumnSpec::count(
        "entered_here_first_n",
        "deals",
        "Deals of the population whose first stage of the pipeline was this one; in the last row \
         deals won without any.",
    ),
    ColumnSpec::rate(
        "step_rate",
        "entered_n / previous_n; null at the first stage or on zero; above 1 in the variant \
         touched where deals begin in the middle.",
    ),
    ColumnSpec::rate("step_rate_low", "Lower Wilson 95 % limit of step_rate; null above 1."),
    ColumnSpec::rate("step_rate_high", "Upper Wilson 95 % limit of step_rate; null above 1."),
    ColumnSpec::rate("overall_rate", "entered_n / first_n; null on zero."),
    ColumnSpec::flag(
        "low_n",
        "The denominator of the step (the population at the first stage) is below the rate floor.",
    ),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "entered_n ≤ previous_n, except in the variant touched",
        holds: |row| {
            let is_exempt = row.text("variant") == Some("touched");
            let (entered, previous) = (row.int("entered_n"), row.int("previous_n"));
            is_exempt || previous.is_none() || entered <= previous
        },
    },
    Identity {
        claim: "entered_n ≤ population_n and entered_here_first_n ≤ population_n",
        holds: |row| {
            let population = row.int("population_n");
            row.int("entered_n") <= population && row.int("entered_here_first_n") <= population
        },
    },
];

/// Deals per level or stage order.
type Histogram = BTreeMap<i64, i64>;

/// What the states know of the deals of one population and period.
#[derive(Debug, Default)]
struct Tallies {
    deals_n: i64,
    touched: Histogram,
    fall_through: Histogram,
    ordered: Histogram,
    strict: Histogram,
    reached: Histogram,
    furthest_final: Histogram,
    first: Histogram,
}

/// Per dimensions and period.
type Populations = Gathered<i64, Tallies>;

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [created, entered] = group.states else {
        return Err(Error::Bug("the funnel has two states".into()));
    };
    let (created, entered) = (populations(created)?, populations(entered)?);
    for (population, found) in [("created", &created), ("entered", &entered)] {
        for ((dims, period), tallies) in found {
            check_order(group, tallies, *period)?;
            push_population(group, rows, (population, dims, *period), tallies)?;
        }
    }
    Ok(())
}

fn populations(state: &StateRows) -> Result<Populations, Error> {
    let mut found = Populations::new();
    let (periods, counts) = (state.key("period")?, state.value("deals_n")?);
    let touched = state.key("touched_stages")?;
    for run in state.runs(1) {
        let period = periods.get(run.start).copied().unwrap_or(NO_KEY);
        let tallies = found.entry((state.dims(run.start), period)).or_default();
        fn own<'a>(keys: &'a [i64], run: &Range<usize>) -> impl Iterator<Item = &'a i64> {
            keys.iter().skip(run.start).take(run.len())
        }
        for (name, pick) in LEVELS {
            let histogram = pick(tallies);
            for (level, count) in own(state.key(name)?, &run).zip(own(counts, &run)) {
                *histogram.entry(*level).or_default() += count;
            }
        }
        for (stages, count) in own(touched, &run).zip(own(counts, &run)) {
            for order in (1..64).filter(|order| stages >> (order - 1) & 1 == 1) {
                *tallies.touched.entry(order).or_default() += count;
            }
        }
        tallies.deals_n = tallies.reached.values().sum();
    }
    Ok(found)
}

/// A level's key, and the histogram it is counted in.
type Level = (&'static str, fn(&mut Tallies) -> &mut Histogram);

const LEVELS: &[Level] = &[
    ("reached_level", |t| &mut t.reached),
    ("furthest_final_level", |t| &mut t.furthest_final),
    ("first_level", |t| &mut t.first),
    ("fall_through_level", |t| &mut t.fall_through),
    ("ordered_level", |t| &mut t.ordered),
    ("strict_level", |t| &mut t.strict),
];

/// Deals at or beyond a level.
fn at_least(histogram: &Histogram, level: i64) -> i64 {
    histogram.range(level..).map(|(_, n)| n).sum()
}

/// Deals that count at a stage (`won` is one more than the number of stages), by variant.
fn counts(tallies: &Tallies, order: i64, won: i64) -> [(&'static str, i64); 6] {
    let touched = if order == won {
        at_least(&tallies.reached, won)
    } else {
        tallies.touched.get(&order).copied().unwrap_or(0)
    };
    [
        ("strict", at_least(&tallies.strict, order)),
        ("ordered", at_least(&tallies.ordered, order)),
        ("fall_through", at_least(&tallies.fall_through, order)),
        ("touched", touched),
        ("reached", at_least(&tallies.reached, order)),
        ("furthest_final", at_least(&tallies.furthest_final, order)),
    ]
}

fn won_order(group: &Group<'_>) -> i64 {
    i64::try_from(group.settings.stages.len()).unwrap_or(i64::MAX - 1) + 1
}

/// The first five variants contain one another at every stage; they come from different columns
/// and, for touched, from another relation.
fn check_order(group: &Group<'_>, tallies: &Tallies, period: i64) -> Result<(), Error> {
    let won = won_order(group);
    for order in 1..=won {
        let counts = counts(tallies, order, won);
        let nested = counts.iter().zip(counts.iter().skip(1)).take(4);
        for ((inner, inner_n), (outer, outer_n)) in nested {
            if inner_n > outer_n {
                return Err(Error::IdentityBroken {
                    table: METRIC.name.into(),
                    identity: format!("{inner} ≤ {outer} at every stage"),
                    place: format!(
                        "stage {order}, {} {}: {inner_n} > {outer_n}",
                        group.period.name(),
                        day_text(period_start(period)),
                    ),
                });
            }
        }
    }
    Ok(())
}

fn push_population(
    group: &Group<'_>,
    rows: &mut Rows<'_>,
    (population, dims, period): (&str, &Dims, i64),
    tallies: &Tallies,
) -> Result<(), Error> {
    let won = won_order(group);
    let mut before: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    let names = group.settings.stages.iter().map(String::as_str).chain(["won"]);
    for (order, stage) in (1..).zip(names) {
        for (variant, entered_n) in counts(tallies, order, won) {
            let seen = before.get(variant).copied();
            let previous_n = seen.map(|(_, previous)| previous);
            let first_n = seen.map_or(entered_n, |(first, _)| first);
            let limits = previous_n.and_then(|n| wilson(entered_n, n, Z_95));
            let base_n = previous_n.unwrap_or(tallies.deals_n);
            let here_first_n = tallies.first.get(&order).copied().unwrap_or(0);
            before.insert(variant, (first_n, entered_n));
            rows.push(
                dims,
                period_start(period),
                &[
                    ("variant", Value::Text(variant)),
                    ("population", Value::Text(population)),
                    ("stage_order", Value::Int(order)),
                    ("stage", Value::Text(stage)),
                    ("population_n", Value::Int(tallies.deals_n)),
                    ("entered_n", Value::Int(entered_n)),
                    ("previous_n", Value::int(previous_n)),
                    ("first_n", Value::Int(first_n)),
                    ("entered_here_first_n", Value::Int(here_first_n)),
                    ("step_rate", Value::float(previous_n.and_then(|n| ratio(entered_n, n)))),
                    ("step_rate_low", Value::float(limits.map(|l| l.0))),
                    ("step_rate_high", Value::float(limits.map(|l| l.1))),
                    ("overall_rate", Value::float(ratio(entered_n, first_n))),
                    ("low_n", Value::Bool(base_n < group.settings.rate_floor)),
                ],
            )?;
        }
    }
    Ok(())
}
