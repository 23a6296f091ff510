//! How satisfied customers are with a deal, by who owned it and in which stage it was when they said so.
//!
//! It tells where answers come from, not who is to blame: owners have different customers. Invariant:
//! every question is in one row by owner and in one by stage.

use std::collections::BTreeMap;

use super::satisfaction::nps;
use crate::error::Error;
use crate::metrics::{Absent, Group, Identity, Metric, Rows, State, StateView, View, by_period};
use crate::relations::Relation;
use crate::relations::surveys::KINDS;
use crate::stats::interval::wilson;
use crate::stats::{Z_95, ratio};
use crate::table::{ColumnSpec, Value};
use crate::time::Day;

/// Definition: questions by the owner and the stage of the deal that they name, as of the time of the
/// answer; NPS and the satisfied share as in `satisfaction`, but every answer counts, since a customer
/// may speak of several deals.
///
/// Edge cases: questions that name no deal, one that no history has, or one that began later are in
/// the row without a name. Response rates are null where every question of the kind was answered.
pub static METRIC: Metric = Metric {
    name: "satisfaction_by_deal",
    question: "How satisfied are customers by owner and stage of the deal they speak of?",
    grain: "one row per slice, period, kind of survey, and owner or stage (null for no known deal)",
    states: &[
        State {
            relation: Relation::Surveys,
            sql: "SELECT answered_period AS period, survey_kind, owner_at_answer, \
                  COUNT(*) AS asked_n, SUM(is_response) AS answer_n, \
                  SUM(is_promoter) AS promoter_n, SUM(is_detractor) AS detractor_n, \
                  SUM(is_satisfied) AS satisfied_answer_n FROM surveys \
                  GROUP BY period, survey_kind, owner_at_answer",
            absent: Absent::SkipTable,
        },
        State {
            relation: Relation::Surveys,
            sql: "SELECT answered_period AS period, survey_kind, stage_at_answer, \
                  COUNT(*) AS asked_n, SUM(is_response) AS answer_n, \
                  SUM(is_promoter) AS promoter_n, SUM(is_detractor) AS detractor_n, \
                  SUM(is_satisfied) AS satisfied_answer_n FROM surveys \
                  GROUP BY period, survey_kind, stage_at_answer",
            absent: Absent::SkipTable,
        },
    ],
    output: OUTPUT,
    view: View::Bars("nps"),
    references: &["Reichheld, 2003, The One Number You Need to Grow"],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::text("survey_kind", "nps, csat or ces.").key(),
    ColumnSpec::text("split_by", "owner or stage.").key(),
    ColumnSpec::text("name", "The owner or stage at the answer; null for no known deal.")
        .key()
        .nullable(),
    ColumnSpec::count("asked_n", "questions", "Questions, answered or not."),
    ColumnSpec::count("answers_n", "answers", "Questions that were answered."),
    ColumnSpec::rate(
        "response_rate",
        "answers_n / asked_n; null where the kind has no unanswered question in the period.",
    ),
    ColumnSpec::count("promoters_n", "answers", "NPS: promoters."),
    ColumnSpec::count("detractors_n", "answers", "NPS: detractors."),
    ColumnSpec::count("satisfied_n", "answers", "CSAT, CES: satisfied answers."),
    ColumnSpec::number("nps", "points", "100 (promoters_n − detractors_n) / answers_n.").nullable(),
    ColumnSpec::number("nps_low", "points", "Lower 95 % limit of nps.").nullable(),
    ColumnSpec::number("nps_high", "points", "Upper 95 % limit of nps.").nullable(),
    ColumnSpec::rate("satisfied_rate", "CSAT, CES: satisfied_n / answers_n."),
    ColumnSpec::rate("satisfied_rate_low", "Lower Wilson 95 % limit of satisfied_rate."),
    ColumnSpec::rate("satisfied_rate_high", "Upper Wilson 95 % limit of satisfied_rate."),
    ColumnSpec::flag("low_n", "answers_n is below the rate floor."),
];

const IDENTITIES: &[Identity] = &[Identity {
    claim: "promoters_n + detractors_n + satisfied_n ≤ answers_n ≤ asked_n",
    holds: |row| {
        let parts = ["promoters_n", "detractors_n", "satisfied_n"];
        let sum = parts.iter().map(|n| row.int(n)).sum::<Option<i64>>();
        sum <= row.int("answers_n") && row.int("answers_n") <= row.int("asked_n")
    },
}];

/// What was said of the deals of one owner, or in one stage.
#[derive(Debug, Clone, Copy)]
struct Said<'a> {
    kind: &'static str,
    split_by: &'static str,
    name: Option<&'a str>,
    asked_n: i64,
    answers_n: i64,
    promoters_n: i64,
    detractors_n: i64,
    satisfied_n: i64,
}

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [owners, stages] = group.states else {
        return Err(Error::Bug("satisfaction by deal has two states".into()));
    };
    for (start, [owners, stages]) in by_period([owners, stages]) {
        let mut all = said(group, &owners, ("owner", "owner_at_answer"))?;
        all.extend(said(group, &stages, ("stage", "stage_at_answer"))?);
        all.sort_by_key(|said| (said.kind, said.split_by, said.name));
        // By owner and by stage the questions are the same.
        let mut silent_n: BTreeMap<&str, i64> = BTreeMap::new();
        for said in &all {
            *silent_n.entry(said.kind).or_default() += said.asked_n - said.answers_n;
        }
        for said in &all {
            let is_silence_known = silent_n.get(said.kind) > Some(&0);
            push(rows, start, said, is_silence_known, group.settings.rate_floor)?;
        }
    }
    Ok(())
}

fn said<'a>(
    group: &Group<'a>,
    state: &StateView<'_>,
    (split_by, key): (&'static str, &str),
) -> Result<Vec<Said<'a>>, Error> {
    let keys = state.key("survey_kind")?.iter().zip(state.key(key)?);
    let counts = state.value("asked_n")?.iter().zip(state.value("answer_n")?);
    let sides = state.value("promoter_n")?.iter().zip(state.value("detractor_n")?);
    let sides = sides.zip(state.value("satisfied_answer_n")?);
    let mut all = Vec::with_capacity(state.rows());
    for ((kind, name), ((asked_n, answers_n), ((promoters, detractors), satisfied))) in
        keys.zip(counts.zip(sides))
    {
        let kind = usize::try_from(*kind).ok().and_then(|code| KINDS.get(code));
        all.push(Said {
            kind: kind.copied().unwrap_or_default(),
            split_by,
            name: group.settings.dictionaries.name(split_by, *name),
            asked_n: *asked_n,
            answers_n: *answers_n,
            promoters_n: *promoters,
            detractors_n: *detractors,
            satisfied_n: *satisfied,
        });
    }
    Ok(all)
}

fn push(
    rows: &mut Rows<'_>,
    start: Day,
    said: &Said<'_>,
    is_silence_known: bool,
    rate_floor: i64,
) -> Result<(), Error> {
    let is_nps = said.kind == "nps";
    let asked = if is_silence_known { said.asked_n } else { 0 };
    let nps = nps(said.promoters_n, said.detractors_n, said.answers_n).filter(|_| is_nps);
    let nps = |place: usize| Value::float(nps.and_then(|all| all.get(place).copied()));
    let of = if is_nps { 0 } else { said.answers_n };
    let limits = wilson(said.satisfied_n, of, Z_95);
    rows.push(
        start,
        &[
            ("survey_kind", Value::Text(said.kind)),
            ("split_by", Value::Text(said.split_by)),
            ("name", said.name.map_or(Value::Null, Value::Text)),
            ("asked_n", Value::Int(said.asked_n)),
            ("answers_n", Value::Int(said.answers_n)),
            ("response_rate", Value::float(ratio(said.answers_n, asked))),
            ("promoters_n", Value::Int(said.promoters_n)),
            ("detractors_n", Value::Int(said.detractors_n)),
            ("satisfied_n", Value::Int(said.satisfied_n)),
            ("nps", nps(0)),
            ("nps_low", nps(1)),
            ("nps_high", nps(2)),
            ("satisfied_rate", Value::float(ratio(said.satisfied_n, of))),
            ("satisfied_rate_low", Value::float(limits.map(|l| l.0))),
            ("satisfied_rate_high", Value::float(limits.map(|l| l.1))),
            ("low_n", Value::Bool(said.answers_n < rate_floor)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{check, run, settings};
    use crate::relations::fixture::Fixture;
    use crate::time::Period;

    #[test]
    fn every_question_is_by_owner_and_by_stage() {
        let rows = [
            "survey_kind=nps owner_at_answer=kim stage_at_answer=Won is_response=1 is_promoter=1",
            "survey_kind=nps owner_at_answer=kim stage_at_answer=Lost is_response=1 is_detractor=1",
            "survey_kind=nps owner_at_answer=lee stage_at_answer=Won",
            "survey_kind=csat is_response=1 is_satisfied=1",
        ];
        let line = |f: Fixture, row: &str| {
            f.line(Relation::Surveys, &format!("answered_period=1970-01-01 {row}"))
        };
        let fixture = Fixture::new(&["L", "Won", "Lost"]);
        let relations = rows.into_iter().fold(fixture, line).build();
        let table = run(&METRIC, &relations, &[Period::Month], &settings(&["L"], 50));
        let at = |split_by| ["period=all", "survey_kind=nps", split_by];
        check(&table, &at("split_by=owner"), "name", "kim lee");
        check(&table, &at("split_by=owner"), "asked_n", "2 1");
        check(&table, &at("split_by=owner"), "response_rate", "1.0 0.0");
        check(&table, &at("split_by=owner"), "nps", "0.0 -");
        check(&table, &at("split_by=stage"), "name", "Lost Won");
        check(&table, &at("split_by=stage"), "nps", "-100.0 100.0");
        let csat = ["period=all", "survey_kind=csat", "split_by=stage"];
        check(&table, &csat, "name", "-");
        check(&table, &csat, "response_rate", "-");
        check(&table, &csat, "satisfied_rate", "1.0");
    }
}
