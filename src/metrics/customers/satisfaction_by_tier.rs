//! How satisfied the customers of each tier are: whether those who matter most are content.
//!
//! Who is in which tier is decided as in `customer_value`; a customer's last answer to a kind counts,
//! whenever it was. Invariant: every last answer of a customer is in one row of its kind.

use std::collections::BTreeMap;

use super::satisfaction::nps;
use crate::error::Error;
use crate::metrics::lifetime::customer_value::{CUSTOMERS, judge, read};
use crate::metrics::lifetime::tiers::Tier;
use crate::metrics::{Absent, Group, Identity, Metric, Rows, State, StateView, View};
use crate::relations::Relation;
use crate::relations::surveys::KINDS;
use crate::stats::interval::wilson;
use crate::stats::{Z_95, ratio};
use crate::table::{ColumnSpec, Value};
use crate::time::{NO_DAY, Period};

/// Definition: the last answer of each customer to a kind of survey, by the customer's `tier` at
/// as_of; NPS and the satisfied share as in `satisfaction`.
///
/// Edge cases: answers of customers without an order, or who cannot be ranked, are in the row without a
/// tier; answers of nobody known are left out.
pub static METRIC: Metric = Metric {
    name: "satisfaction_by_tier",
    question: "How satisfied are the customers of each tier?",
    grain: "one row per kind of survey and tier (null for none)",
    states: &[
        CUSTOMERS,
        State {
            relation: Relation::Surveys,
            sql: "SELECT id_high, id_low, survey_kind, SUM(is_latest) AS answer_n, \
                  SUM(is_latest * is_promoter) AS promoter_n, \
                  SUM(is_latest * is_detractor) AS detractor_n, \
                  SUM(is_latest * is_satisfied) AS satisfied_answer_n FROM surveys \
                  WHERE has_customer = 1 GROUP BY id_high, id_low, survey_kind",
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
    ColumnSpec::text("tier", "vip, regular or potential; null for none.").key().nullable(),
    ColumnSpec::count("asked_n", "customers", "Customers of the tier who were asked."),
    ColumnSpec::count("answers_n", "customers", "Of these, those who ever answered."),
    ColumnSpec::count("promoters_n", "customers", "NPS: promoters by their last answer."),
    ColumnSpec::count("detractors_n", "customers", "NPS: detractors by their last answer."),
    ColumnSpec::count("satisfied_n", "customers", "CSAT, CES: satisfied by their last answer."),
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

/// What the customers of a tier said.
#[derive(Debug, Default, Clone, Copy)]
struct Said {
    asked_n: i64,
    answers_n: i64,
    promoters_n: i64,
    detractors_n: i64,
    satisfied_n: i64,
}

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [customers, answers] = group.states else {
        return Err(Error::Bug("satisfaction by tier has two states".into()));
    };
    if group.period != Period::All || answers.rows() == 0 {
        return Ok(());
    }
    let settings = group.settings;
    let customers = read(customers)?;
    let judged = judge(&customers, &settings.clv, &settings.customers.tiers);
    let tiers = customers.iter().zip(&judged).map(|(c, judged)| (c.id, judged.tier));
    let mut tiers: Vec<((i64, i64), Option<Tier>)> = tiers.collect();
    tiers.sort_unstable_by_key(|(id, _)| *id);
    let tier = |id: (i64, i64)| {
        let place = tiers.binary_search_by_key(&id, |(id, _)| *id).ok();
        place.and_then(|place| tiers.get(place)).and_then(|(_, tier)| *tier)
    };
    for ((kind, tier), said) in said(answers, tier)? {
        push(rows, (kind, tier), said, settings.rate_floor)?;
    }
    Ok(())
}

/// By kind and name of the tier.
type Sums = BTreeMap<(&'static str, Option<&'static str>), Said>;

fn said(answers: &StateView<'_>, tier: impl Fn((i64, i64)) -> Option<Tier>) -> Result<Sums, Error> {
    let ids = answers.key("id_high")?.iter().zip(answers.key("id_low")?);
    let kinds = answers.key("survey_kind")?;
    let counts = answers.value("answer_n")?.iter().zip(answers.value("promoter_n")?);
    let counts = counts.zip(answers.value("detractor_n")?);
    let counts = counts.zip(answers.value("satisfied_answer_n")?);
    let mut sums = Sums::new();
    for (((high, low), kind), (((n, promoters), detractors), satisfied)) in
        ids.zip(kinds).zip(counts)
    {
        let kind = usize::try_from(*kind).ok().and_then(|code| KINDS.get(code)).copied();
        let key = (kind.unwrap_or_default(), tier((*high, *low)).map(Tier::name));
        let sum = sums.entry(key).or_default();
        sum.asked_n += 1;
        sum.answers_n += n;
        sum.promoters_n += promoters;
        sum.detractors_n += detractors;
        sum.satisfied_n += satisfied;
    }
    Ok(sums)
}

fn push(
    rows: &mut Rows<'_>,
    (kind, tier): (&str, Option<&str>),
    said: Said,
    rate_floor: i64,
) -> Result<(), Error> {
    let is_nps = kind == "nps";
    let nps = nps(said.promoters_n, said.detractors_n, said.answers_n).filter(|_| is_nps);
    let nps = |place: usize| Value::float(nps.and_then(|all| all.get(place).copied()));
    let of = if is_nps { 0 } else { said.answers_n };
    let limits = wilson(said.satisfied_n, of, Z_95);
    rows.push(
        NO_DAY,
        &[
            ("survey_kind", Value::Text(kind)),
            ("tier", tier.map_or(Value::Null, Value::Text)),
            ("asked_n", Value::Int(said.asked_n)),
            ("answers_n", Value::Int(said.answers_n)),
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
    use crate::metrics::TierBy;
    use crate::metrics::testing::{check, run, settings};
    use crate::relations::fixture::Fixture;

    #[test]
    fn answers_are_those_of_the_customers_tier() {
        // Of four buyers one quarter is above the second: 9 is a VIP, 8 regular, 7 and 6 potential.
        let mut fixture = Fixture::new(&[]);
        for (id, amount) in [(1, 9), (2, 8), (3, 7), (4, 6)] {
            let line =
                format!("id_high=1 id_low={id} purchase_days_n=1 orders_n=1 amount={amount}");
            fixture = fixture.line(Relation::CustomerIds, &line);
        }
        for line in [
            "id_low=1 survey_kind=nps is_latest=1 is_detractor=1",
            "id_low=3 survey_kind=nps",
            "id_low=3 survey_kind=nps is_latest=1 is_promoter=1",
            "id_low=4 survey_kind=nps is_latest=1 is_promoter=1",
            // Asked and silent; and one without any order.
            "id_low=2 survey_kind=nps",
            "id_low=9 survey_kind=csat is_latest=1 is_satisfied=1",
        ] {
            let line = format!("id_high=1 has_customer=1 customer=1 {line}");
            fixture = fixture.line(Relation::Surveys, &line);
        }
        let mut settings = settings(&["L"], 100);
        settings.customers.tiers.by = TierBy::Amount;
        let table = run(&METRIC, &fixture.build(), &[Period::Month], &settings);
        let nps = &["survey_kind=nps"][..];
        check(&table, nps, "tier", "potential regular vip");
        check(&table, nps, "asked_n", "2 1 1");
        check(&table, nps, "answers_n", "2 0 1");
        check(&table, nps, "nps", "100.0 - -100.0");
        check(&table, &["survey_kind=csat"], "tier", "-");
        check(&table, &["survey_kind=csat"], "satisfied_rate", "1.0");
    }
}
