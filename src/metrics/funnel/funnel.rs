//! How many deals come as far as each stage, by six meanings of "as far as".
//!
//! It does not say how long deals take or where they go instead; that is `stage_time` and
//! `stage_transitions`. Invariant: per stage, strict ≤ ordered ≤ fall_through ≤ touched ≤ reached.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::error::Error;
use crate::metrics::{
    Absent, Group, Identity, Metric, PIPELINE, Rows, State, StateView, View, by_period,
};
use crate::relations::Relation;
use crate::stats::interval::wilson;
use crate::stats::{Z_95, ratio};
use crate::table::{ColumnSpec, Value};
use crate::time::{Day, day_text};

/// Definition: of the deals of a population, how many count at each stage of the pipeline, for each
/// variant (touched, fall_through, ordered, strict, reached, furthest_final).
///
/// Edge cases: a skipped stage counts in reached and furthest_final only; a rate on a zero
/// denominator is null, not 100 %; the step rate of touched may exceed 1, which
/// `entered_here_first_n` explains; a deal counts in the pipeline that it is in at as_of, with its
/// visits to stages of that one.
pub static METRIC: Metric = Metric {
    name: "funnel",
    question: "How many deals come as far as each stage, and what share goes on to the next?",
    grain: "one row per slice, period, pipeline, variant, population and stage, with a last row for won",
    states: &[
        State {
            relation: Relation::Deals,
            sql: "SELECT created_period AS period, pipeline, reached_level, furthest_final_level, \
                  first_level, fall_through_level, ordered_level, strict_level, \
                  touched_stages, COUNT(*) AS deals_n FROM deals GROUP BY period, pipeline, reached_level, \
                  furthest_final_level, first_level, fall_through_level, ordered_level, \
                  strict_level, touched_stages",
            absent: Absent::SkipTable,
        },
        State {
            relation: Relation::Deals,
            sql: "SELECT entered_period AS period, pipeline, reached_level, furthest_final_level, \
                  first_level, fall_through_level, ordered_level, strict_level, \
                  touched_stages, COUNT(*) AS deals_n FROM deals WHERE entered_period IS NOT NULL \
                  GROUP BY period, pipeline, reached_level, furthest_final_level, first_level, \
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
    PIPELINE,
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

/// In the order of rows.
const VARIANTS: [&str; 6] =
    ["fall_through", "furthest_final", "ordered", "reached", "strict", "touched"];
/// Positions of those variants that contain one another, the innermost first.
const NESTED: [usize; 5] = [4, 2, 0, 5, 3];

/// A count per stage of the pipeline and one for won.
type PerStage = Vec<i64>;

/// The deals of one population and period.
#[derive(Debug)]
struct Population {
    deals_n: i64,
    /// Deals that count at each stage, by variant.
    entered: [PerStage; 6],
    /// Deals by their first stage.
    first: PerStage,
}

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [created, entered] = group.states else {
        return Err(Error::Bug("the funnel has two states".into()));
    };
    for (start, [created, entered]) in by_period([created, entered]) {
        for (pipeline, states) in by_pipeline([&created, &entered])? {
            let pipelines = &group.settings.pipelines;
            let pipeline = pipelines.name(pipeline, &group.settings.dictionaries);
            let stages = pipelines.open_stages(pipeline).iter().map(String::as_str);
            let stages: Vec<&str> = stages.chain(["won"]).collect();
            finish_pipeline(group, rows, (start, pipeline), &stages, &states)?;
        }
    }
    Ok(())
}

/// The rows of several states of one period by the code of their pipeline.
fn by_pipeline<'a, const N: usize>(
    states: [&StateView<'a>; N],
) -> Result<BTreeMap<i64, [StateView<'a>; N]>, Error> {
    let mut all: BTreeMap<i64, [StateView<'a>; N]> = BTreeMap::new();
    for (position, state) in states.into_iter().enumerate() {
        let codes = state.key("pipeline")?;
        for run in state.runs(2) {
            let code = codes.get(run.start).copied().unwrap_or_default();
            let own = all.entry(code).or_insert_with(|| states.map(|s| s.part(0..0)));
            if let Some(place) = own.get_mut(position) {
                *place = state.part(run);
            }
        }
    }
    Ok(all)
}

fn finish_pipeline(
    group: &Group<'_>,
    rows: &mut Rows<'_>,
    (start, pipeline): (Day, &str),
    stages: &[&str],
    [created, entered]: &[StateView<'_>; 2],
) -> Result<(), Error> {
    let populations = [
        ("created", read_population(created, stages.len())?),
        ("entered", read_population(entered, stages.len())?),
    ];
    for (_, population) in &populations {
        check_order(group, population, start)?;
    }
    for (variant, place) in VARIANTS.into_iter().zip(0..) {
        for (name, population) in populations.iter().filter(|(_, p)| p.deals_n > 0) {
            let of = (start, pipeline, variant, *name);
            let counts = population.entered.get(place).map_or(&[][..], Vec::as_slice);
            push_stages(group, rows, of, population, stages.iter().copied().zip(counts))?;
        }
    }
    Ok(())
}

fn read_population(state: &StateView<'_>, stages: usize) -> Result<Population, Error> {
    let counts = state.value("deals_n")?;
    let levels = |key: &str| -> Result<PerStage, Error> {
        let mut per_stage = vec![0; stages];
        for (level, count) in state.key(key)?.iter().zip(counts) {
            if let Some(place) = stage_at(&mut per_stage, *level) {
                *place += count;
            }
        }
        Ok(per_stage)
    };
    let mut touched = vec![0; stages];
    for (bits, count) in state.key("touched_stages")?.iter().zip(counts) {
        let mut left = *bits;
        while left > 0 {
            if let Some(place) = stage_at(&mut touched, i64::from(left.trailing_zeros()) + 1) {
                *place += count;
            }
            left &= left - 1;
        }
    }
    let reached = at_least(levels("reached_level")?);
    if let (Some(touched), Some(won)) = (touched.last_mut(), reached.last()) {
        *touched = *won;
    }
    Ok(Population {
        deals_n: counts.iter().sum(),
        entered: [
            at_least(levels("fall_through_level")?),
            at_least(levels("furthest_final_level")?),
            at_least(levels("ordered_level")?),
            reached,
            at_least(levels("strict_level")?),
            touched,
        ],
        first: levels("first_level")?,
    })
}

/// The place of a level, counted from 1.
fn stage_at(per_stage: &mut PerStage, level: i64) -> Option<&mut i64> {
    per_stage.get_mut(usize::try_from(level).ok()?.checked_sub(1)?)
}

/// From deals at each level to deals at or beyond it.
fn at_least(mut per_stage: PerStage) -> PerStage {
    let mut beyond = 0;
    for count in per_stage.iter_mut().rev() {
        beyond += *count;
        *count = beyond;
    }
    per_stage
}

/// The nested variants contain one another at every stage; they come from different columns.
fn check_order(group: &Group<'_>, population: &Population, start: Day) -> Result<(), Error> {
    let counts = |place: usize| population.entered.get(place).map_or(&[][..], Vec::as_slice);
    let name = |place: usize| VARIANTS.get(place).copied().unwrap_or_default();
    for (inner, outer) in NESTED.into_iter().zip(NESTED.into_iter().skip(1)) {
        for (order, (inner_n, outer_n)) in (1..).zip(counts(inner).iter().zip(counts(outer))) {
            if inner_n > outer_n {
                return Err(Error::IdentityBroken {
                    table: METRIC.name.into(),
                    identity: format!("{} ≤ {} at every stage", name(inner), name(outer)),
                    place: format!(
                        "stage {order}, {} {}: {inner_n} > {outer_n}",
                        group.period.name(),
                        day_text(start),
                    ),
                });
            }
        }
    }
    Ok(())
}

fn push_stages<'a>(
    group: &Group<'_>,
    rows: &mut Rows<'_>,
    (start, pipeline, variant, name): (Day, &str, &str, &str),
    population: &Population,
    stages: impl Iterator<Item = (&'a str, &'a i64)>,
) -> Result<(), Error> {
    // The counts at the first stage and at the stage before.
    let mut seen: Option<(i64, i64)> = None;
    for ((order, here_first_n), (stage, entered_n)) in (1..).zip(&population.first).zip(stages) {
        let previous_n = seen.map(|(_, previous)| previous);
        let first_n = seen.map_or(*entered_n, |(first, _)| first);
        seen = Some((first_n, *entered_n));
        let limits = previous_n.and_then(|n| wilson(*entered_n, n, Z_95));
        let base_n = previous_n.unwrap_or(population.deals_n);
        rows.push(
            start,
            &[
                ("pipeline", Value::Text(pipeline)),
                ("variant", Value::Text(variant)),
                ("population", Value::Text(name)),
                ("stage_order", Value::Int(order)),
                ("stage", Value::Text(stage)),
                ("population_n", Value::Int(population.deals_n)),
                ("entered_n", Value::Int(*entered_n)),
                ("previous_n", Value::int(previous_n)),
                ("first_n", Value::Int(first_n)),
                ("entered_here_first_n", Value::Int(*here_first_n)),
                ("step_rate", Value::float(previous_n.and_then(|n| ratio(*entered_n, n)))),
                ("step_rate_low", Value::float(limits.map(|l| l.0))),
                ("step_rate_high", Value::float(limits.map(|l| l.1))),
                ("overall_rate", Value::float(ratio(*entered_n, first_n))),
                ("low_n", Value::Bool(base_n < group.settings.rate_floor)),
            ],
        )?;
    }
    Ok(())
}
