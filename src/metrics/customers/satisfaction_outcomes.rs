//! Whether what customers say foretells what they do: who buys again after an answer, the satisfied
//! beside the others.
//!
//! It tells that two things go together, not that one is why. Invariant: only answers that have been
//! followed for the whole time count, so that young answers do not look like churn.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::metrics::{Absent, Group, Identity, Metric, Rows, State, StateView, View, by_period};
use crate::relations::Relation;
use crate::relations::surveys::{CLASSES, KINDS};
use crate::stats::interval::{newcombe, wilson};
use crate::stats::{Z_95, float, ratio};
use crate::table::{ColumnSpec, Value};
use crate::time::Day;

/// Definition: answers of customers of the deals that are at least `[customers] survey_days` old, by
/// the period of the answer; bought again are those whose customer has a purchase day within so many
/// days after the day of the answer, gone those without. Favourable are promoters and satisfied
/// answers, unfavourable detractors and unsatisfied ones. The difference of the two shares has limits
/// by Newcombe, the odds ratio by Woolf.
///
/// Edge cases: every answer counts, so a customer who answers often weighs more; answers of nobody
/// known are left out. The odds ratio is null where one of the four numbers is 0.
pub static METRIC: Metric = Metric {
    name: "satisfaction_outcomes",
    question: "Do satisfied customers buy again more often than the others?",
    grain: "one row per slice, period and kind of survey",
    states: &[State {
        relation: Relation::Surveys,
        sql: "SELECT answered_period AS period, survey_kind, score_class, \
              COUNT(*) AS answers_n, SUM(is_bought_again) AS again_n FROM surveys \
              WHERE is_followed = 1 GROUP BY period, survey_kind, score_class",
        absent: Absent::SkipTable,
    }],
    output: OUTPUT,
    view: View::Bars("difference"),
    references: &[
        "Newcombe, 1998, Interval Estimation for the Difference Between Independent Proportions",
        "Woolf, 1955, On Estimating the Relation Between Blood Group and Disease",
        "Wilson, 1927, Probable Inference, the Law of Succession, and Statistical Inference",
    ],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::text("survey_kind", "nps, csat or ces.").key(),
    ColumnSpec::count("within_days", "days", "Days after the answer that were looked at."),
    ColumnSpec::count("favourable_n", "answers", "Promoters and satisfied answers."),
    ColumnSpec::count("favourable_again_n", "answers", "Of these, those who bought again."),
    ColumnSpec::count("favourable_gone_n", "answers", "Of these, those who did not."),
    ColumnSpec::rate("favourable_again_rate", "favourable_again_n / favourable_n."),
    ColumnSpec::rate("favourable_again_rate_low", "Lower Wilson 95 % limit of it."),
    ColumnSpec::rate("favourable_again_rate_high", "Upper Wilson 95 % limit of it."),
    ColumnSpec::count("unfavourable_n", "answers", "Detractors and unsatisfied answers."),
    ColumnSpec::count("unfavourable_again_n", "answers", "Of these, those who bought again."),
    ColumnSpec::count("unfavourable_gone_n", "answers", "Of these, those who did not."),
    ColumnSpec::rate("unfavourable_again_rate", "unfavourable_again_n / unfavourable_n."),
    ColumnSpec::rate("unfavourable_again_rate_low", "Lower Wilson 95 % limit of it."),
    ColumnSpec::rate("unfavourable_again_rate_high", "Upper Wilson 95 % limit of it."),
    ColumnSpec::count("neutral_n", "answers", "Answers to NPS that are neither."),
    ColumnSpec::count("neutral_again_n", "answers", "Of these, those who bought again."),
    ColumnSpec::number("difference", "share", "favourable_again_rate − unfavourable_again_rate.")
        .nullable(),
    ColumnSpec::number("difference_low", "share", "Lower Newcombe 95 % limit of it.").nullable(),
    ColumnSpec::number("difference_high", "share", "Upper Newcombe 95 % limit of it.").nullable(),
    ColumnSpec::number(
        "odds_ratio",
        "ratio",
        "Odds of buying again of the favourable over those of the unfavourable.",
    )
    .nullable(),
    ColumnSpec::number("odds_ratio_low", "ratio", "Lower 95 % limit of it.").nullable(),
    ColumnSpec::number("odds_ratio_high", "ratio", "Upper 95 % limit of it.").nullable(),
    ColumnSpec::flag("low_n", "Either side has fewer answers than the rate floor."),
];

const IDENTITIES: &[Identity] = &[Identity {
    claim: "favourable_n = favourable_again_n + favourable_gone_n, and so of the unfavourable",
    holds: |row| {
        [
            ["favourable_n", "favourable_again_n", "favourable_gone_n"],
            ["unfavourable_n", "unfavourable_again_n", "unfavourable_gone_n"],
        ]
        .iter()
        .all(|[all, again, gone]| {
            let parts = row.int(again).zip(row.int(gone));
            row.int(all) == parts.map(|(again, gone)| again + gone)
        })
    },
}];

/// Answers, and how many of their customers bought again.
#[derive(Debug, Default, Clone, Copy)]
struct Side {
    n: i64,
    again_n: i64,
}

/// The favourable, the unfavourable and the neutral ones.
type Sides = [Side; 3];

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [state] = group.states else {
        return Err(Error::Bug("the outcomes have one state".into()));
    };
    for (start, [of_period]) in by_period([state]) {
        for (kind, sides) in kinds(&of_period)? {
            push(group, rows, (start, kind), sides)?;
        }
    }
    Ok(())
}

fn kinds(state: &StateView<'_>) -> Result<BTreeMap<&'static str, Sides>, Error> {
    let mut kinds: BTreeMap<&'static str, Sides> = BTreeMap::new();
    let keys = state.key("survey_kind")?.iter().zip(state.key("score_class")?);
    let values = state.value("answers_n")?.iter().zip(state.value("again_n")?);
    for ((kind, class), (n, again_n)) in keys.zip(values) {
        let name = |names: &'static [&'static str], code: &i64| {
            usize::try_from(*code).ok().and_then(|code| names.get(code)).copied().unwrap_or("")
        };
        let [favourable, unfavourable, neutral] = kinds.entry(name(KINDS, kind)).or_default();
        let side = match name(CLASSES, class) {
            "promoter" | "satisfied" => favourable,
            "detractor" | "unsatisfied" => unfavourable,
            _ => neutral,
        };
        side.n += n;
        side.again_n += again_n;
    }
    Ok(kinds)
}

/// The ratio of the odds of two sides with its limits.
fn odds(one: Side, other: Side) -> Option<[f64; 3]> {
    let cells = [one.again_n, one.n - one.again_n, other.again_n, other.n - other.again_n];
    let [a, b, c, d] = cells.map(float);
    if cells.contains(&0) {
        return None;
    }
    let (log, half) =
        ((a * d / (b * c)).ln(), Z_95 * (1.0 / a + 1.0 / b + 1.0 / c + 1.0 / d).sqrt());
    Some([log, log - half, log + half].map(f64::exp))
}

fn push(
    group: &Group<'_>,
    rows: &mut Rows<'_>,
    (start, kind): (Day, &str),
    [favourable, unfavourable, neutral]: Sides,
) -> Result<(), Error> {
    let settings = group.settings;
    let limits = |side: Side| wilson(side.again_n, side.n, Z_95);
    let (of_one, of_other) = (limits(favourable), limits(unfavourable));
    let rate = |side: Side| ratio(side.again_n, side.n);
    let difference = rate(favourable).zip(rate(unfavourable)).map(|(one, other)| one - other);
    let pair = |side: Side| (side.again_n, side.n);
    let bounds = newcombe(pair(favourable), pair(unfavourable), Z_95);
    let odds = odds(favourable, unfavourable);
    let odds = |place: usize| Value::float(odds.and_then(|all| all.get(place).copied()));
    let least = favourable.n.min(unfavourable.n);
    rows.push(
        start,
        &[
            ("survey_kind", Value::Text(kind)),
            ("within_days", Value::Int(settings.customers.survey_days)),
            ("favourable_n", Value::Int(favourable.n)),
            ("favourable_again_n", Value::Int(favourable.again_n)),
            ("favourable_gone_n", Value::Int(favourable.n - favourable.again_n)),
            ("favourable_again_rate", Value::float(rate(favourable))),
            ("favourable_again_rate_low", Value::float(of_one.map(|l| l.0))),
            ("favourable_again_rate_high", Value::float(of_one.map(|l| l.1))),
            ("unfavourable_n", Value::Int(unfavourable.n)),
            ("unfavourable_again_n", Value::Int(unfavourable.again_n)),
            ("unfavourable_gone_n", Value::Int(unfavourable.n - unfavourable.again_n)),
            ("unfavourable_again_rate", Value::float(rate(unfavourable))),
            ("unfavourable_again_rate_low", Value::float(of_other.map(|l| l.0))),
            ("unfavourable_again_rate_high", Value::float(of_other.map(|l| l.1))),
            ("neutral_n", Value::Int(neutral.n)),
            ("neutral_again_n", Value::Int(neutral.again_n)),
            ("difference", Value::float(difference)),
            ("difference_low", Value::float(bounds.map(|l| l.0))),
            ("difference_high", Value::float(bounds.map(|l| l.1))),
            ("odds_ratio", odds(0)),
            ("odds_ratio_low", odds(1)),
            ("odds_ratio_high", odds(2)),
            ("low_n", Value::Bool(least < settings.rate_floor)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{check, run, settings};
    use crate::relations::fixture::Fixture;
    use crate::stats::testdata::close;
    use crate::time::Period;

    #[test]
    fn odds_are_compared_on_the_scale_of_their_logarithm() {
        // 20 of 30 beside 10 of 30: odds 2 and 1/2, ratio 4; the logarithm's standard error is
        // √(1/20 + 1/10 + 1/10 + 1/20) = 0.547723, so the limits are 4·e^(∓1.073517).
        let side = |again_n, n| Side { n, again_n };
        let [ratio, low, high] = odds(side(20, 30), side(10, 30)).unwrap();
        close(ratio, 4.0, 1e-12);
        close(low, 4.0 * (-1.073_517_f64).exp(), 1e-5);
        close(high, 4.0 * 1.073_517_f64.exp(), 1e-5);
        assert_eq!(odds(side(30, 30), side(10, 30)), None);
    }

    #[test]
    fn answers_are_sides_by_what_they_mean() {
        let rows = [
            "survey_kind=nps score_class=promoter is_followed=1 is_bought_again=1",
            "survey_kind=nps score_class=promoter is_followed=1",
            "survey_kind=nps score_class=passive is_followed=1 is_bought_again=1",
            "survey_kind=nps score_class=detractor is_followed=1",
            // Not long enough ago.
            "survey_kind=nps score_class=detractor",
            "survey_kind=csat score_class=satisfied is_followed=1 is_bought_again=1",
        ];
        let line = |f: Fixture, row: &str| {
            f.line(Relation::Surveys, &format!("answered_period=1970-01-01 {row}"))
        };
        let relations = rows.into_iter().fold(Fixture::new(&[]), line).build();
        let table = run(&METRIC, &relations, &[Period::Month], &settings(&["L"], 200));
        let nps = &["period=all", "survey_kind=nps"][..];
        check(&table, nps, "favourable_again_rate", "0.5");
        check(&table, nps, "unfavourable_again_rate", "0.0");
        check(&table, nps, "unfavourable_gone_n", "1");
        check(&table, nps, "neutral_again_n", "1");
        check(&table, nps, "difference", "0.5");
        check(&table, &["period=all", "survey_kind=csat"], "difference", "-");
    }
}
