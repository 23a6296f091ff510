//! What customers answer when they are asked: NPS, CSAT and CES with limits and response rate.
//!
//! Only those who answer are heard: the response rate says how many, not who. Invariant: of each
//! customer one answer counts, the last one to a kind in the period.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Error;
use crate::metrics::{Absent, Group, Identity, Metric, Rows, State, StateView, View};
use crate::relations::Relation;
use crate::relations::surveys::KINDS;
use crate::stats::interval::wilson;
use crate::stats::{Z_95, float, ratio};
use crate::table::{ColumnSpec, Value};
use crate::time::{Day, NO_DAY, Period};

/// Definition: NPS = 100 (promoters − detractors) / answers, with limits from the multinomial variance
/// (p + d − (p − d)²) / n; the satisfied share of CSAT (four fifths of the scale or more) and of CES
/// (five sevenths or more); the mean score with limits ±1.96 s/√n. The wave is the period: of the
/// answers of a customer to a kind in it the last one counts; of nobody known every answer does.
///
/// Edge cases: response rates are null where no question of the kind without an answer is among the
/// rows of any period, since nobody knows then how many were asked; they count every question and
/// answer, not only the last.
/// Scores on different scales have no mean. The period that has not ended is as it is.
///
/// Source: Rocks, 2016, Interval Estimation for the Net Promoter Score (the Wald interval).
pub static METRIC: Metric = Metric {
    name: "satisfaction",
    question: "How satisfied are customers, and how many of those asked answer?",
    grain: "one row per slice, period and kind of survey",
    states: &[
        State {
            relation: Relation::SurveyWaves,
            sql: "SELECT grain, period_start, survey_kind, COUNT(*) AS asked_n, \
                  SUM(is_response) AS response_n, SUM(is_last_of_wave) AS answer_n, \
                  SUM(is_last_of_wave * is_promoter) AS promoter_n, \
                  SUM(is_last_of_wave * is_passive) AS passive_n, \
                  SUM(is_last_of_wave * is_detractor) AS detractor_n, \
                  SUM(is_last_of_wave * is_satisfied) AS satisfied_answer_n, \
                  SUM(is_last_of_wave * score_thousandths) AS score_sum, \
                  SUM(is_last_of_wave * score_thousandths * score_thousandths) AS square_sum, \
                  MIN(scale_max) AS scale_least, MAX(scale_max) AS scale_most \
                  FROM survey_waves GROUP BY grain, period_start, survey_kind",
            absent: Absent::SkipTable,
        },
        State {
            relation: Relation::Surveys,
            sql: "SELECT survey_kind, COUNT(*) AS asked_n, SUM(is_response) AS response_n, \
                  SUM(is_latest) AS answer_n, SUM(is_latest * is_promoter) AS promoter_n, \
                  SUM(is_latest * is_passive) AS passive_n, \
                  SUM(is_latest * is_detractor) AS detractor_n, \
                  SUM(is_latest * is_satisfied) AS satisfied_answer_n, \
                  SUM(is_latest * score_thousandths) AS score_sum, \
                  SUM(is_latest * score_thousandths * score_thousandths) AS square_sum, \
                  MIN(scale_max) AS scale_least, MAX(scale_max) AS scale_most \
                  FROM surveys GROUP BY survey_kind",
            absent: Absent::SkipTable,
        },
    ],
    output: OUTPUT,
    view: View::Line("nps"),
    references: &[
        "Reichheld, 2003, The One Number You Need to Grow",
        "Rocks, 2016, Interval Estimation for the Net Promoter Score",
        "Wilson, 1927, Probable Inference, the Law of Succession, and Statistical Inference",
    ],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::text("survey_kind", "nps, csat or ces.").key(),
    ColumnSpec::count("asked_n", "questions", "Questions, answered or not."),
    ColumnSpec::count("responses_n", "answers", "Questions that were answered."),
    ColumnSpec::rate(
        "response_rate",
        "responses_n / asked_n; null where the inputs have answers to this kind only.",
    ),
    ColumnSpec::rate("response_rate_low", "Lower Wilson 95 % limit of response_rate."),
    ColumnSpec::rate("response_rate_high", "Upper Wilson 95 % limit of response_rate."),
    ColumnSpec::count("answers_n", "answers", "The last answer of each customer: what counts."),
    ColumnSpec::count("promoters_n", "answers", "NPS: nine tenths of the scale or more."),
    ColumnSpec::count("passives_n", "answers", "NPS: between the others."),
    ColumnSpec::count("detractors_n", "answers", "NPS: six tenths of the scale or less."),
    ColumnSpec::count("satisfied_n", "answers", "CSAT, CES: satisfied answers."),
    ColumnSpec::number("nps", "points", "100 (promoters_n − detractors_n) / answers_n.").nullable(),
    ColumnSpec::number("nps_low", "points", "Lower 95 % limit of nps.").nullable(),
    ColumnSpec::number("nps_high", "points", "Upper 95 % limit of nps.").nullable(),
    ColumnSpec::rate("satisfied_rate", "CSAT, CES: satisfied_n / answers_n."),
    ColumnSpec::rate("satisfied_rate_low", "Lower Wilson 95 % limit of satisfied_rate."),
    ColumnSpec::rate("satisfied_rate_high", "Upper Wilson 95 % limit of satisfied_rate."),
    ColumnSpec::number("score_mean", "points", "Mean score; null where the scales differ.")
        .nullable(),
    ColumnSpec::number("score_mean_low", "points", "Lower 95 % limit; null below two answers.")
        .nullable(),
    ColumnSpec::number("score_mean_high", "points", "Upper 95 % limit; null below two answers.")
        .nullable(),
    ColumnSpec::flag("is_complete_period", "The period has ended by as_of."),
    ColumnSpec::flag("low_n", "answers_n is below the rate floor."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "answers_n ≤ responses_n ≤ asked_n",
        holds: |row| {
            row.int("answers_n") <= row.int("responses_n")
                && row.int("responses_n") <= row.int("asked_n")
        },
    },
    Identity {
        claim: "of NPS answers_n = promoters_n + passives_n + detractors_n; else satisfied_n ≤ \
                answers_n",
        holds: |row| {
            let parts = ["promoters_n", "passives_n", "detractors_n"];
            let sum = parts.iter().map(|n| row.int(n)).sum::<Option<i64>>();
            match row.text("survey_kind") {
                Some("nps") => row.int("answers_n") == sum,
                _ => sum == Some(0) && row.int("satisfied_n") <= row.int("answers_n"),
            }
        },
    },
];

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [waves, whole] = group.states else {
        return Err(Error::Bug("satisfaction has two states".into()));
    };
    if group.period == Period::All {
        return push_all(group, rows, (NO_DAY, &silent(whole)?), whole);
    }
    let silent = silent(waves)?;
    for (start, of_period) in waves.by_period() {
        push_all(group, rows, (start, &silent), &of_period)?;
    }
    Ok(())
}

/// The codes of the kinds of which some questions were not answered.
fn silent(state: &StateView<'_>) -> Result<BTreeSet<i64>, Error> {
    let counts = state.value("asked_n")?.iter().zip(state.value("response_n")?);
    let kinds = state.key("survey_kind")?.iter().zip(counts);
    Ok(kinds.filter(|(_, (asked, answered))| asked > answered).map(|(kind, _)| *kind).collect())
}

/// The values of one kind, by name.
type Answers<'a> = BTreeMap<&'a str, i64>;

fn push_all(
    group: &Group<'_>,
    rows: &mut Rows<'_>,
    (start, silent): (Day, &BTreeSet<i64>),
    state: &StateView<'_>,
) -> Result<(), Error> {
    let mut kinds: BTreeMap<(&str, i64), Answers<'_>> = BTreeMap::new();
    for (name, column) in state.values() {
        for (code, value) in state.key("survey_kind")?.iter().zip(column) {
            let kind = usize::try_from(*code).ok().and_then(|place| KINDS.get(place));
            let key = (kind.copied().unwrap_or_default(), *code);
            kinds.entry(key).or_default().insert(name, *value);
        }
    }
    for ((kind, code), answers) in &kinds {
        push(group, rows, (start, kind, silent.contains(code)), answers)?;
    }
    Ok(())
}

/// NPS in points with its limits.
pub(super) fn nps(promoters_n: i64, detractors_n: i64, answers_n: i64) -> Option<[f64; 3]> {
    let net = ratio(promoters_n - detractors_n, answers_n)?;
    let extreme = ratio(promoters_n + detractors_n, answers_n)?;
    let half = Z_95 * ((extreme - net * net).max(0.0) / float(answers_n)).sqrt();
    Some([net, net - half, net + half].map(|share| 100.0 * share.clamp(-1.0, 1.0)))
}

/// The mean score with its limits, from sums of thousandths.
fn score(sum: i64, squares: i64, n: i64) -> Option<(f64, Option<[f64; 2]>)> {
    let mean = ratio(sum, n)?;
    let limits = (n > 1).then(|| {
        let variance = (float(squares) - mean * float(sum)).max(0.0) / float(n - 1);
        let half = Z_95 * (variance / float(n)).sqrt();
        [mean - half, mean + half].map(|limit| limit / 1_000.0)
    });
    Some((mean / 1_000.0, limits))
}

fn push(
    group: &Group<'_>,
    rows: &mut Rows<'_>,
    (start, kind, is_silence_known): (Day, &str, bool),
    answers: &Answers<'_>,
) -> Result<(), Error> {
    let settings = group.settings;
    let own = |name| answers.get(name).copied().unwrap_or(0);
    let count = |name| Value::Int(own(name));
    let (asked_n, responses_n, answers_n) = (own("asked_n"), own("response_n"), own("answer_n"));
    let is_nps = kind == "nps";
    let asked = if is_silence_known { asked_n } else { 0 };
    let response = wilson(responses_n, asked, Z_95);
    let nps = nps(own("promoter_n"), own("detractor_n"), answers_n).filter(|_| is_nps);
    let nps = |place: usize| Value::float(nps.and_then(|all| all.get(place).copied()));
    let satisfied_of = if is_nps { 0 } else { answers_n };
    let satisfied = wilson(own("satisfied_answer_n"), satisfied_of, Z_95);
    let score = score(own("score_sum"), own("square_sum"), answers_n)
        .filter(|_| own("scale_least") == own("scale_most"));
    let limits = score.and_then(|(_, limits)| limits);
    let is_complete =
        start != NO_DAY && settings.calendar.is_complete(group.period, start, settings.as_of);
    rows.push(
        start,
        &[
            ("survey_kind", Value::Text(kind)),
            ("asked_n", Value::Int(asked_n)),
            ("responses_n", Value::Int(responses_n)),
            ("response_rate", Value::float(ratio(responses_n, asked))),
            ("response_rate_low", Value::float(response.map(|l| l.0))),
            ("response_rate_high", Value::float(response.map(|l| l.1))),
            ("answers_n", Value::Int(answers_n)),
            ("promoters_n", count("promoter_n")),
            ("passives_n", count("passive_n")),
            ("detractors_n", count("detractor_n")),
            ("satisfied_n", count("satisfied_answer_n")),
            ("nps", nps(0)),
            ("nps_low", nps(1)),
            ("nps_high", nps(2)),
            ("satisfied_rate", Value::float(ratio(own("satisfied_answer_n"), satisfied_of))),
            ("satisfied_rate_low", Value::float(satisfied.map(|l| l.0))),
            ("satisfied_rate_high", Value::float(satisfied.map(|l| l.1))),
            ("score_mean", Value::float(score.map(|(mean, _)| mean))),
            ("score_mean_low", Value::float(limits.map(|[low, _]| low))),
            ("score_mean_high", Value::float(limits.map(|[_, high]| high))),
            ("is_complete_period", Value::Bool(is_complete)),
            ("low_n", Value::Bool(answers_n < settings.rate_floor)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{check, run, settings};
    use crate::relations::fixture::Fixture;
    use crate::stats::testdata::close;

    #[test]
    fn limits_of_nps_are_of_the_multinomial() {
        // 60 promoters, 20 passives, 20 detractors of 100: NPS 40; variance (0.8 − 0.16)/100, so half
        // the width is 1.959964 · 0.08 = 15.6797 points.
        let [nps, low, high] = nps(60, 20, 100).unwrap();
        close(nps, 40.0, 1e-12);
        close(low, 24.320288, 1e-6);
        close(high, 55.679712, 1e-6);
        // All of one kind vary in nothing that the sample can tell; no limit leaves the scale.
        assert_eq!(super::nps(7, 0, 7), Some([100.0; 3]));
        assert_eq!(super::nps(0, 0, 0), None);
    }

    #[test]
    fn a_mean_score_has_the_limits_of_its_standard_error() {
        // 3, 4 and 5: mean 4, s = 1, so half the width is 1.959964/√3 = 1.131586.
        let (mean, limits) = score(12_000, 50_000_000, 3).unwrap();
        close(mean, 4.0, 1e-12);
        let [low, high] = limits.unwrap();
        close(low, 2.868414, 1e-6);
        close(high, 5.131586, 1e-6);
        assert_eq!(score(4_000, 16_000_000, 1), Some((4.0, None)));
    }

    #[test]
    fn only_the_last_answer_of_a_wave_counts_and_silence_only_in_the_response_rate() {
        let rows = [
            "survey_kind=nps is_response=1 score_thousandths=2000 is_detractor=1",
            "survey_kind=nps is_response=1 score_thousandths=9000 is_promoter=1 is_last_of_wave=1",
            "survey_kind=nps is_response=1 score_thousandths=7000 is_passive=1 is_last_of_wave=1",
            "survey_kind=nps",
            "survey_kind=csat is_response=1 score_thousandths=4000 is_satisfied=1 is_last_of_wave=1",
        ];
        let line = |f: Fixture, row: &str| {
            let row = format!("grain=month period_start=1970-01-01 scale_max=10 {row}");
            f.line(Relation::SurveyWaves, &row)
        };
        let fixture = rows.into_iter().fold(Fixture::new(&[]), line);
        let relations = fixture.relation(Relation::Surveys).build();
        let table = run(&METRIC, &relations, &[Period::Month], &settings(&["L"], 50));
        let nps = &["survey_kind=nps"][..];
        check(&table, nps, "asked_n", "4");
        check(&table, nps, "response_rate", "0.75");
        check(&table, nps, "answers_n", "2");
        check(&table, nps, "nps", "50.0");
        check(&table, nps, "score_mean", "8.0");
        check(&table, nps, "satisfied_rate", "-");
        let csat = &["survey_kind=csat"][..];
        // Nobody knows how many were asked.
        check(&table, csat, "response_rate", "-");
        check(&table, csat, "satisfied_rate", "1.0");
        check(&table, csat, "score_mean_low", "-");
    }
}
