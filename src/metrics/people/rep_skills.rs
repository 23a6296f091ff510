//! What owners and teams do better or worse than their peers beyond chance: win rate, moving deals on
//! from each stage, keeping close dates, not losing ground, deal size.
//!
//! Many people times many skills find "differences" by chance alone, few deals make extremes, and
//! who gets the better deals looks better. So a value is compared with what all achieve with alike
//! deals, shrunk towards it, and named a strength or a weakness only if few of those named are false.
//! It does not say why, and what no column tells of a deal is not adjusted for.
//!
//! Invariant: over all people what is expected adds up to what happened.

mod judging;
mod skills;

use self::judging::{Judged, judge};
use self::skills::read;
use crate::error::Error;
use crate::metrics::{Absent, Group, Identity, Metric, NO_VALUE, Rows, State, View};
use crate::relations::Relation;
use crate::stats::multiplicity::benjamini_hochberg;
use crate::table::{ColumnSpec, Value};
use crate::time::{NO_DAY, Period};

#[cfg(test)]
mod tests;

/// So few of those named are false on average.
const LEVEL: f64 = 0.05;

/// Definition: a skill is a share of cases, or the geometric mean of won amounts. Expected is what
/// everybody achieves in the same strata: pipeline, the first stage a deal was in, and the
/// dimensions of `[dimensions] strata` for `win_rate`; pipeline and those dimensions for
/// `push_rate`, `regress_rate` and `reopen_rate`; the stage for `stage_rate`. p-values are those of
/// Mantel and Haenszel over the strata, of `deal_size` those of a difference of means of logarithms,
/// corrected together over all people and skills of the slice.
///
/// Edge cases: people of fewer cases than the rate floor have values but no verdict and no rank;
/// deals of nobody (null) are among the peers only.
pub static METRIC: Metric = Metric {
    name: "rep_skills",
    question: "What does each owner or team do better or worse than their peers, beyond chance?",
    grain: "one row per slice of people, owner or team, skill and stage, for the whole history",
    states: &[
        State {
            relation: Relation::Deals,
            sql: "SELECT pipeline, first_level, stratum, COUNT(*) AS closed_n, \
                  SUM(is_won) AS won_n FROM deals WHERE is_won = 1 OR is_lost = 1 \
                  GROUP BY pipeline, first_level, stratum",
            absent: Absent::SkipTable,
        },
        State {
            relation: Relation::Deals,
            sql: "SELECT pipeline, stratum, COUNT(*) AS deals_n, \
                  SUM(CASE WHEN pushes_n > 0 THEN 1 ELSE 0 END) AS pushed_n, \
                  SUM(CASE WHEN regressions_n > 0 THEN 1 ELSE 0 END) AS regressed_n, \
                  SUM(CASE WHEN reopens_n > 0 THEN 1 ELSE 0 END) AS reopened_n, \
                  SUM(CASE WHEN is_first_won = 1 OR is_first_lost = 1 THEN 1 ELSE 0 END) \
                  AS ever_closed_n FROM deals GROUP BY pipeline, stratum",
            absent: Absent::SkipTable,
        },
        State {
            relation: Relation::Visits,
            sql: "SELECT stage, move, COUNT(*) AS exits_n FROM visits \
                  WHERE is_first_exit = 1 AND stage_order > 0 GROUP BY stage, move",
            absent: Absent::SkipTable,
        },
        State {
            relation: Relation::Deals,
            sql: "SELECT is_won, COUNT(*) AS sized_n, SUM(amount_ln_milli) AS ln_sum, \
                  SUM(amount_ln_milli * amount_ln_milli) AS ln_square FROM deals \
                  WHERE is_won = 1 AND amount > 1 GROUP BY is_won",
            absent: Absent::SkipTable,
        },
    ],
    output: OUTPUT,
    view: View::Table,
    references: &[
        "Mantel and Haenszel, 1959, Statistical Aspects of the Analysis of Data From Retrospective \
         Studies of Disease",
        "Efron and Morris, 1975, Data Analysis Using Stein's Estimator and its Generalizations",
        "Casella, 1985, An Introduction to Empirical Bayes Data Analysis",
        "Morris, 1983, Parametric Empirical Bayes Inference",
        "Benjamini and Hochberg, 1995, Controlling the False Discovery Rate",
        "Spiegelhalter, 2005, Funnel Plots for Comparing Institutional Performance",
    ],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::text(
        "skill",
        "win_rate: won of closed deals; stage_rate: first visits to the stage that moved forward \
         or were won, of those that ended; push_rate, regress_rate: deals with a later close date, \
         sent back; reopen_rate: re-opened of those ever closed; deal_size: geometric mean of won \
         amounts, to a thousandth.",
    )
    .key(),
    ColumnSpec::text("skill_pipeline", "Pipeline of the stage; null unless stage_rate.")
        .key()
        .nullable(),
    ColumnSpec::text("skill_stage", "Stage; null unless stage_rate.").key().nullable(),
    ColumnSpec::text("skill_better", "Which values are better: higher or lower."),
    ColumnSpec::count("cases_n", "cases", "Deals, or visits, that the value is of."),
    ColumnSpec::count("successes_n", "cases", "Of these, those counted; null for deal_size.")
        .nullable(),
    ColumnSpec::count("peer_cases_n", "cases", "Those of all others."),
    ColumnSpec::number(
        "skill_value",
        "share, or currency for deal_size",
        "successes_n / cases_n, or the geometric mean.",
    )
    .nullable(),
    ColumnSpec::number("peer_value", "share, or currency for deal_size", "That of all others.")
        .nullable(),
    ColumnSpec::number(
        "expected_value",
        "share",
        "What all achieve with the same mix of deals; null for deal_size.",
    )
    .nullable(),
    ColumnSpec::number(
        "ratio",
        "ratio",
        "skill_value / expected_value; for deal_size skill_value / peer_value.",
    )
    .nullable(),
    ColumnSpec::number("ratio_low", "ratio", "Its lower 95 % limit.").nullable(),
    ColumnSpec::number("ratio_high", "ratio", "Its upper 95 % limit.").nullable(),
    ColumnSpec::number(
        "shrunk_value",
        "share, or currency for deal_size",
        "skill_value drawn towards expected_value (deal_size: the mean of all) by as much as it \
         may be chance.",
    )
    .nullable(),
    ColumnSpec::number(
        "shrunk_value_low",
        "share, or currency for deal_size",
        "Its lower 95 % limit; null where people do not differ beyond chance.",
    )
    .nullable(),
    ColumnSpec::number("shrunk_value_high", "share, or currency for deal_size", "Its upper limit.")
        .nullable(),
    ColumnSpec::rate("p_value", "Chance of such a difference if there were none; null if low_n."),
    ColumnSpec::rate("p_value_bh", "Corrected for all people and skills of the slice."),
    ColumnSpec::count("tests_n", "tests", "p-values that were corrected together."),
    ColumnSpec::text("verdict", "strength or weakness; null where neither is certain enough.")
        .nullable(),
    ColumnSpec::text(
        "verdict_reason",
        "significant; not_significant; low_n: too few cases; no_peers: too few cases of others in \
         the same strata, or all are alike; no_name: deals of nobody.",
    ),
    ColumnSpec::count(
        "skill_rank",
        "rank",
        "1 is the best shrunk_value; equal ones share the better rank; null if low_n.",
    )
    .nullable(),
    ColumnSpec::count("ranked_n", "people", "People or teams ranked."),
    ColumnSpec::flag("low_n", "cases_n is below the rate floor."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "verdict is there exactly if p_value_bh is below 0.05",
        holds: |row| {
            let is_significant = row.float("p_value_bh").is_some_and(|p| p < LEVEL);
            row.text("verdict").is_some() == is_significant
                && (row.text("verdict_reason") == Some("significant")) == is_significant
        },
    },
    Identity {
        claim: "successes_n ≤ cases_n, and p_value ≤ p_value_bh",
        holds: |row| {
            let successes = row.int("successes_n");
            (successes.is_none() || successes <= row.int("cases_n"))
                && match (row.float("p_value"), row.float("p_value_bh")) {
                    (Some(p), Some(bh)) => p <= bh * (1.0 + 1e-12),
                    (p, bh) => p.is_none() && bh.is_none(),
                }
        },
    },
    Identity {
        claim: "a shrunk share lies between skill_value and expected_value",
        holds: |row| {
            let own = row.float("skill_value").zip(row.float("expected_value"));
            match (own, row.float("shrunk_value")) {
                (Some((own, expected)), Some(shrunk)) => {
                    own.min(expected) - 1e-9 <= shrunk && shrunk <= own.max(expected) + 1e-9
                }
                _ => true,
            }
        },
    },
];

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    if group.period != Period::All {
        return Ok(());
    }
    let has_name: Vec<bool> = group.segments.iter().map(|s| s.value != NO_VALUE).collect();
    let skills = read(group)?;
    let floor = group.settings.rate_floor;
    let judged: Vec<Vec<Judged>> = skills.iter().map(|s| judge(s, &has_name, floor)).collect();
    let p_values: Vec<Option<f64>> = judged.iter().flatten().map(|own| own.p_value).collect();
    let tests_n = p_values.iter().flatten().count() as i64;
    let mut adjusted = benjamini_hochberg(&p_values).into_iter();
    for (skill, people) in skills.iter().zip(&judged) {
        let values: Vec<Option<f64>> = people.iter().map(|own| own.rankable(skill)).collect();
        let ranks = super::ranks(&values);
        let ranked_n = values.iter().flatten().count() as i64;
        for (own, rank) in people.iter().zip(ranks) {
            let bh = adjusted.next().flatten();
            let mut row = vec![
                ("skill", Value::Text(skill.kind.name())),
                ("skill_pipeline", text(skill.pipeline)),
                ("skill_stage", text(skill.stage)),
                ("skill_better", Value::Text(skill.kind.better())),
            ];
            row.extend(measured(own, skill.unit(group)));
            row.push(("p_value", Value::float(own.p_value)));
            row.push(("p_value_bh", Value::float(bh)));
            row.push(("tests_n", Value::Int(tests_n)));
            let is_significant = bh.is_some_and(|p| p < LEVEL);
            let verdict = own.verdict(skill).filter(|_| is_significant);
            row.push(("verdict", text(verdict)));
            let reason = if is_significant { "significant" } else { own.reason() };
            row.push(("verdict_reason", Value::Text(reason)));
            row.push(("skill_rank", Value::int(rank)));
            row.push(("ranked_n", Value::Int(ranked_n)));
            row.push(("low_n", Value::Bool(own.cases_n < floor)));
            rows.turn_to(Some(own.place));
            rows.push(NO_DAY, &row)?;
        }
    }
    Ok(())
}

fn text(value: Option<&str>) -> Value<'_> {
    value.map_or(Value::Null, Value::Text)
}

/// What is measured of one skill of one person; values are divided by `unit`.
fn measured(own: &Judged, unit: f64) -> Vec<(&'static str, Value<'static>)> {
    let value = |value: Option<f64>| Value::float(value.map(|v| v / unit));
    let ratio = own.ratio;
    let limits = own.shrunk.and_then(|shrunk| shrunk.limits);
    vec![
        ("cases_n", Value::Int(own.cases_n)),
        ("successes_n", Value::int(own.successes_n)),
        ("peer_cases_n", Value::Int(own.peer_cases_n)),
        ("skill_value", value(own.value)),
        ("peer_value", value(own.peer_value)),
        ("expected_value", value(own.expected)),
        ("ratio", Value::float(ratio.map(|(ratio, _)| ratio))),
        ("ratio_low", Value::float(ratio.and_then(|(_, limits)| Some(limits?.0)))),
        ("ratio_high", Value::float(ratio.and_then(|(_, limits)| Some(limits?.1)))),
        ("shrunk_value", value(own.shrunk.map(|shrunk| shrunk.value))),
        ("shrunk_value_low", value(limits.map(|(low, _)| low))),
        ("shrunk_value_high", value(limits.map(|(_, high)| high))),
    ]
}
