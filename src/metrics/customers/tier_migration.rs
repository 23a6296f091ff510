//! Who moved from which tier to which since the end of the last period.
//!
//! The earlier tiers are not read from an earlier run but worked out again, by replay: from what the
//! inputs say today of everything up to that day, by the rules of today and with models fitted to that
//! time. So the table is the same whether a run was missed, repeated or never made; what an earlier run
//! printed may differ where inputs or rules were changed since. Invariant: every customer of today is
//! in one row.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::metrics::lifetime::customer_value::{CUSTOMERS, Customer, judge, read};
use crate::metrics::lifetime::tiers::Tier;
use crate::metrics::{Absent, Group, Identity, Metric, Rows, State, View};
use crate::relations::Relation;
use crate::stats::{float, ratio};
use crate::table::{ColumnSpec, Value};
use crate::time::{NO_DAY, Period};

/// Definition: customers by the tier that they had at the end of `compared_on`, the last day before
/// the period of as_of (of the length `[tiers] previous`), and by the tier that they have at as_of.
///
/// Edge cases: no earlier tier is that of customers who had not bought by then or could not be ranked;
/// no tier now, likewise. Only pairs that somebody is in have a row.
pub static METRIC: Metric = Metric {
    name: "tier_migration",
    question: "Which customers have risen or fallen between the tiers since the last period?",
    grain: "one row per earlier tier and tier of today (null for none)",
    states: &[
        CUSTOMERS,
        State {
            relation: Relation::CustomerIds,
            sql: "SELECT id_high, id_low, SUM(previous_purchase_days_n) AS purchase_day_n, \
                  SUM(previous_recency_days) AS recency, SUM(previous_age_days) AS age, \
                  SUM(previous_amount) AS net_amount, \
                  SUM(previous_repeat_amount) AS repeat_net_amount \
                  FROM customer_ids GROUP BY id_high, id_low",
            absent: Absent::SkipTable,
        },
    ],
    output: OUTPUT,
    view: View::Heatmap("share_of_earlier"),
    references: &["Pfeifer and Carraway, 2000, Modeling Customer Relationships as Markov Chains"],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::text("earlier_tier", "Tier at the end of compared_on; null for none.")
        .key()
        .nullable(),
    ColumnSpec::text("tier", "Tier at as_of; null for none.").key().nullable(),
    ColumnSpec::date("compared_on", "The last day of the last period."),
    ColumnSpec::text("direction", "up, down, same, new (none before) or out (none now)."),
    ColumnSpec::count("customers_n", "customers", "Customers who made this move."),
    ColumnSpec::count("earlier_n", "customers", "All customers of the earlier tier."),
    ColumnSpec::rate("share_of_earlier", "customers_n / earlier_n."),
    ColumnSpec::money("amount", "Net amount of all their orders up to as_of."),
    ColumnSpec::money("amount_since", "Of this, what came after compared_on."),
    ColumnSpec::flag("low_n", "earlier_n is below the rate floor."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "0 < customers_n ≤ earlier_n",
        holds: |row| {
            row.int("customers_n") > Some(0) && row.int("customers_n") <= row.int("earlier_n")
        },
    },
    Identity {
        claim: "direction is same exactly where the tiers are equal",
        holds: |row| {
            let is_same = row.text("direction") == Some("same");
            is_same == (row.text("earlier_tier") == row.text("tier"))
        },
    },
];

/// Customers who made one move, and what they brought in all and since.
type Moves = BTreeMap<(Option<Tier>, Option<Tier>), (i64, i64, i64)>;

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [now, before] = group.states else {
        return Err(Error::Bug("the migration has two states".into()));
    };
    if group.period != Period::All || now.rows() == 0 {
        return Ok(());
    }
    let settings = group.settings;
    let (clv, tiering) = (&settings.clv, &settings.customers.tiers);
    let customers = read(now)?;
    // Both states have a row for every customer, in the same order.
    let earlier = earlier(&customers, before)?;
    let (now, then) =
        rayon::join(|| judge(&customers, clv, tiering), || judge(&earlier, clv, tiering));
    let mut moves = Moves::new();
    for ((customer, now), (past, then)) in customers.iter().zip(&now).zip(earlier.iter().zip(&then))
    {
        let sum = moves.entry((then.tier, now.tier)).or_default();
        sum.0 += 1;
        sum.1 += customer.amount;
        sum.2 += customer.amount - past.amount;
    }
    push_all(group, rows, &moves)
}

/// The same customers as they were.
fn earlier(
    customers: &[Customer],
    state: &crate::metrics::StateView<'_>,
) -> Result<Vec<Customer>, Error> {
    let (days, recency) = (state.value("purchase_day_n")?, state.value("recency")?);
    let (age, amount) = (state.value("age")?, state.value("net_amount")?);
    let rows = days.iter().zip(recency).zip(age).zip(amount).zip(state.value("repeat_net_amount")?);
    let earlier = customers.iter().zip(rows).map(
        |(customer, ((((days_n, recency), age), amount), repeat_amount))| Customer {
            purchase_days_n: *days_n,
            repeats_n: (days_n - 1).max(0),
            recency: *recency,
            age: *age,
            amount: *amount,
            repeat_amount: *repeat_amount,
            ..*customer
        },
    );
    Ok(earlier.collect())
}

fn push_all(group: &Group<'_>, rows: &mut Rows<'_>, moves: &Moves) -> Result<(), Error> {
    let settings = group.settings;
    let calendar = &settings.calendar;
    let today = calendar.day(settings.as_of);
    let compared_on = calendar.start(settings.customers.tiers.previous, today).saturating_sub(1);
    let name = |tier: Option<Tier>| tier.map_or(Value::Null, |tier| Value::Text(tier.name()));
    // In the order of the names; none before all.
    let mut sorted: Vec<_> = moves.iter().collect();
    sorted.sort_by_key(|((from, to), _)| [from, to].map(|tier| tier.map(Tier::name)));
    for ((from, to), (customers_n, amount, since)) in sorted {
        let own = moves.iter().filter(|((earlier, _), _)| earlier == from);
        let earlier_n: i64 = own.map(|(_, (n, _, _))| n).sum();
        rows.push(
            NO_DAY,
            &[
                ("earlier_tier", name(*from)),
                ("tier", name(*to)),
                ("compared_on", Value::Date(compared_on)),
                ("direction", Value::Text(direction(*from, *to))),
                ("customers_n", Value::Int(*customers_n)),
                ("earlier_n", Value::Int(earlier_n)),
                ("share_of_earlier", Value::float(ratio(*customers_n, earlier_n))),
                ("amount", Value::Money(*amount)),
                ("amount_since", Value::Money(*since)),
                ("low_n", Value::Bool(float(earlier_n) < float(settings.rate_floor))),
            ],
        )?;
    }
    Ok(())
}

fn direction(from: Option<Tier>, to: Option<Tier>) -> &'static str {
    match (from, to) {
        (None, None) => "same",
        (None, _) => "new",
        (_, None) => "out",
        // The best tier is the least.
        (Some(from), Some(to)) => match to.cmp(&from) {
            std::cmp::Ordering::Less => "up",
            std::cmp::Ordering::Equal => "same",
            std::cmp::Ordering::Greater => "down",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{check, run, settings};
    use crate::metrics::{TierBy, TierRule};
    use crate::relations::fixture::Fixture;

    #[test]
    fn customers_move_between_then_and_now() {
        // VIPs have brought 50, regular customers bought on two days. As of day 100 (11 April).
        let rows = [
            // 50 now, 20 before: potential to vip.
            "id_low=1 purchase_days_n=1 amount=5000 previous_purchase_days_n=1 previous_amount=2000",
            // Two days now, one before: potential to regular.
            "id_low=2 purchase_days_n=2 amount=900 previous_purchase_days_n=1 previous_amount=700",
            // A refund since: vip to regular.
            "id_low=3 purchase_days_n=2 amount=4900 previous_purchase_days_n=2 previous_amount=6000",
            // New, and never bought.
            "id_low=4 purchase_days_n=1 amount=100",
            "id_low=5",
        ];
        let relation = Relation::CustomerIds;
        let line = |f: Fixture, row: &str| f.line(relation, &format!("id_high=1 {row}"));
        let relations = rows.into_iter().fold(Fixture::new(&[]), line).build();
        let mut settings = settings(&["L"], 100);
        let vip = TierRule { amount_min: Some(5_000), ..TierRule::default() };
        let regular = TierRule { purchase_days_min: Some(2), ..TierRule::default() };
        settings.customers.tiers.by = TierBy::Rules(vip, regular);
        let table = run(&METRIC, &relations, &[Period::Month], &settings);
        check(&table, &[], "earlier_tier", "- - potential potential vip");
        check(&table, &[], "tier", "- potential regular vip regular");
        check(&table, &[], "direction", "same new up up down");
        check(&table, &[], "customers_n", "1 1 1 1 1");
        check(&table, &[], "earlier_n", "2 2 2 2 1");
        check(&table, &[], "amount_since", "0.00 1.00 2.00 30.00 -11.00");
        check(&table, &["direction=down"], "compared_on", "1970-03-31");
    }
}
