//! `cac`: what it costs to win a customer, blended and by channel, in all and by type of cost.
//!
//! Spend and new customers are added up separately and joined here, small: a join of their rows
//! would multiply the spend by the customers. Spend and customers without a channel have a row of
//! their own, so that the channels add up to the blended figures. It does not shift spend to the
//! customers it won later.
//!
//! Invariant: over the channels, and over the types of cost, spend adds up to its total.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Error;
use crate::metrics::{Absent, Group, Identity, Metric, NO_KEY, Rows, State, View, by_period};
use crate::money::mean;
use crate::relations::Relation;
use crate::table::{ColumnSpec, Value};
use crate::time::Day;

/// The metric.
pub static METRIC: Metric = Metric {
    name: "cac",
    question: "What does it cost to win a new customer, and through which channel?",
    grain: "one row per slice, period length, period, channel or all, and cost type or all",
    states: &[
        State {
            relation: Relation::Spend,
            sql: "SELECT spent_period AS period, channel AS acquisition_channel, \
                  cost_type AS spend_type, SUM(amount) AS spend_amount, \
                  SUM(CASE WHEN has_amount = 0 THEN 1 ELSE 0 END) AS null_amount_n \
                  FROM spend GROUP BY period, acquisition_channel, spend_type",
            absent: Absent::SkipTable,
        },
        State {
            relation: Relation::Customers,
            sql: "SELECT cohort_period AS period, channel AS acquisition_channel, \
                  COUNT(*) AS new_customers_n, \
                  SUM(CASE WHEN amount <= 0 AND orders_n > 1 THEN 1 ELSE 0 END) AS refunded_n \
                  FROM customers GROUP BY period, acquisition_channel",
            absent: Absent::SkipTable,
        },
    ],
    output: OUTPUT,
    view: View::Bars("cac_amount"),
    references: &["Farris, Bendle, Pfeifer and Reibstein, 2010, Marketing Metrics"],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::text("channel_scope", "blended: all channels together; channel: one channel.")
        .key(),
    ColumnSpec::text(
        "acquisition_channel",
        "The channel; null in blended, and in channel for what has no channel.",
    )
    .key()
    .nullable(),
    ColumnSpec::text("cost_scope", "all: every cost; cost_type: one type of cost.").key(),
    ColumnSpec::text(
        "cost_type",
        "The type of cost; null in all, and in cost_type for what has no type.",
    )
    .key()
    .nullable(),
    ColumnSpec::money("spend_amount", "Spend of the period."),
    ColumnSpec::count("null_amount_n", "rows", "Rows of spend without an amount."),
    ColumnSpec::count(
        "new_customers_n",
        "customers",
        "Customers whose first won deal with an amount, or with payments given whose first payment, \
         falls in the period.",
    ),
    ColumnSpec::count(
        "refunded_customers_n",
        "customers",
        "Of these, customers with several orders that come to nothing or less by as_of.",
    ),
    ColumnSpec::money(
        "cac_amount",
        "spend_amount / new_customers_n, half to even; null where there are no customers.",
    )
    .nullable(),
    ColumnSpec::flag("is_spend_without_customers", "There is spend but no new customer."),
    ColumnSpec::flag("is_complete_period", "The period has ended by as_of; never the whole."),
    ColumnSpec::flag("low_n", "new_customers_n is below the rate floor."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "cac_amount is null exactly where new_customers_n is 0",
        holds: |row| row.money("cac_amount").is_none() == (row.int("new_customers_n") == Some(0)),
    },
    Identity {
        claim: "refunded_customers_n ≤ new_customers_n",
        holds: |row| row.int("refunded_customers_n") <= row.int("new_customers_n"),
    },
];

/// Sums of one row.
#[derive(Debug, Default, Clone, Copy)]
struct Sums {
    spend_amount: i64,
    null_amount_n: i64,
    customers_n: i64,
    refunded_n: i64,
}

impl Sums {
    fn add_spend(&mut self, other: &Self) {
        self.spend_amount += other.spend_amount;
        self.null_amount_n += other.null_amount_n;
    }

    fn add_customers(&mut self, other: &Self) {
        self.customers_n += other.customers_n;
        self.refunded_n += other.refunded_n;
    }
}

/// One channel or all, one type of cost or all; `Some(NO_KEY)` is what has none.
type Scope = (Option<i64>, Option<i64>);

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [spend, customers] = group.states else {
        return Err(Error::Bug("CAC has two states".into()));
    };
    for (start, [spend, customers]) in by_period([spend, customers]) {
        let mut of: BTreeMap<Scope, Sums> = BTreeMap::new();
        let keys = spend.key("acquisition_channel")?.iter().zip(spend.key("spend_type")?);
        let values = spend.value("spend_amount")?.iter().zip(spend.value("null_amount_n")?);
        for ((channel, cost), (amount, nulls)) in keys.zip(values) {
            let own = Sums { spend_amount: *amount, null_amount_n: *nulls, ..Sums::default() };
            for channel in [None, Some(*channel)] {
                for cost in [None, Some(*cost)] {
                    of.entry((channel, cost)).or_default().add_spend(&own);
                }
            }
        }
        let channels = customers.key("acquisition_channel")?.iter();
        let values = customers.value("new_customers_n")?.iter().zip(customers.value("refunded_n")?);
        for (channel, (count, refunded)) in channels.zip(values) {
            let own = Sums { customers_n: *count, refunded_n: *refunded, ..Sums::default() };
            for channel in [None, Some(*channel)] {
                of.entry((channel, None)).or_default().add_customers(&own);
            }
        }
        check_sums(group, &of)?;
        share_customers(&mut of);
        for (scope, sums) in &of {
            push(group, rows, start, *scope, sums)?;
        }
    }
    Ok(())
}

/// Every type of cost of a channel is divided by all its customers, so that the costs per customer
/// of the types add up.
fn share_customers(of: &mut BTreeMap<Scope, Sums>) {
    let totals: BTreeMap<Option<i64>, Sums> =
        of.iter().filter(|((_, cost), _)| cost.is_none()).map(|((c, _), s)| (*c, *s)).collect();
    for ((channel, cost), sums) in of.iter_mut() {
        if let (Some(_), Some(total)) = (cost, totals.get(channel)) {
            sums.add_customers(total);
        }
    }
}

/// The blended figures are the channels' together: they are summed on another way.
fn check_sums(group: &Group<'_>, of: &BTreeMap<Scope, Sums>) -> Result<(), Error> {
    let costs: BTreeSet<Option<i64>> = of.keys().map(|(_, cost)| *cost).collect();
    for cost in costs {
        let mut channels = Sums::default();
        for (_, sums) in of.iter().filter(|((channel, c), _)| channel.is_some() && *c == cost) {
            channels.add_spend(sums);
            channels.add_customers(sums);
        }
        let blended = of.get(&(None, cost)).copied().unwrap_or_default();
        let holds = channels.spend_amount == blended.spend_amount
            && channels.customers_n == blended.customers_n;
        if !holds {
            return Err(Error::IdentityBroken {
                table: METRIC.name.into(),
                identity: "the channels add up to the blended row".into(),
                place: format!("period {}", group.period.name()),
            });
        }
    }
    Ok(())
}

fn push(
    group: &Group<'_>,
    rows: &mut Rows<'_>,
    start: Day,
    (channel, cost): Scope,
    sums: &Sums,
) -> Result<(), Error> {
    let settings = group.settings;
    let name = |dictionary: &str, code: Option<i64>| {
        let code = code.filter(|c| *c != NO_KEY);
        let name = code.and_then(|c| settings.dictionaries.name(dictionary, c));
        name.map_or(Value::Null, Value::Text)
    };
    let is_complete = settings.calendar.is_complete(group.period, start, settings.as_of);
    rows.push(
        start,
        &[
            ("channel_scope", Value::Text(if channel.is_none() { "blended" } else { "channel" })),
            ("acquisition_channel", name("channel", channel)),
            ("cost_scope", Value::Text(if cost.is_none() { "all" } else { "cost_type" })),
            ("cost_type", name("cost_type", cost)),
            ("spend_amount", Value::Money(sums.spend_amount)),
            ("null_amount_n", Value::Int(sums.null_amount_n)),
            ("new_customers_n", Value::Int(sums.customers_n)),
            ("refunded_customers_n", Value::Int(sums.refunded_n)),
            ("cac_amount", Value::money(mean(sums.spend_amount, sums.customers_n))),
            (
                "is_spend_without_customers",
                Value::Bool(sums.spend_amount != 0 && sums.customers_n == 0),
            ),
            ("is_complete_period", Value::Bool(is_complete)),
            ("low_n", Value::Bool(sums.customers_n < settings.rate_floor)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::{end_of, plan, settings, table};
    use crate::metrics::testing::check;
    use crate::relations::fixture::Fixture;
    use crate::table::Table;
    use crate::time::Period;

    fn of(fixture: Fixture, slices: &[&[&str]]) -> Table {
        let relations = fixture.build();
        let plan = plan(slices, &[Period::Month, Period::Year]);
        table(&relations, &METRIC, &plan, &settings(&relations, end_of("2024-02-15")))
    }

    fn spend(fixture: Fixture, text: &str) -> Fixture {
        fixture.line(Relation::Spend, &format!("has_amount=1 {text}"))
    }

    fn customers(fixture: Fixture, n: i64, text: &str) -> Fixture {
        (0..n).fold(fixture, |f, _| f.line(Relation::Customers, &format!("amount=1 {text}")))
    }

    const ALL: &[&str] = &["period=all", "cost_scope=all"];

    #[test]
    fn spend_and_customers_are_not_multiplied() {
        // 10,000 spent and 100 customers make 100 each; the fan-out join makes 10,000.
        let fixture = spend(Fixture::new(&[]), "spent_period=2024-01-01 amount=1000000 channel=a");
        let fixture = customers(fixture, 100, "cohort_period=2024-01-01 channel=a");
        let table = of(fixture, &[&[]]);
        check(&table, ALL, "channel_scope", "blended channel");
        check(&table, ALL, "cac_amount", "100.00 100.00");
        check(&table, ALL, "low_n", "false false");
    }

    fn mixed() -> Fixture {
        let fixture = Fixture::new(&[]).dimensions(&["channel"]);
        let fixture = spend(fixture, "spent_period=2024-01-01 amount=600 channel=a cost_type=ads");
        let fixture = spend(fixture, "spent_period=2024-01-01 amount=200 channel=a cost_type=fee");
        let fixture = spend(fixture, "spent_period=2024-02-01 amount=300 channel=b cost_type=ads");
        let fixture = spend(fixture, "spent_period=2024-01-01 amount=50");
        let fixture = customers(fixture, 4, "cohort_period=2024-01-01 channel=a");
        customers(fixture, 1, "cohort_period=2024-01-01")
    }

    #[test]
    fn unattributed_rows_make_channels_add_up() {
        let table = of(mixed(), &[&[]]);
        let january = ["period=month", "period_start=2024-01-01", "cost_scope=all"];
        check(&table, &january, "acquisition_channel", "- - a");
        check(&table, &january, "channel_scope", "blended channel channel");
        check(&table, &january, "spend_amount", "8.50 0.50 8.00");
        check(&table, &january, "new_customers_n", "5 1 4");
        check(&table, &january, "cac_amount", "1.70 0.50 2.00");
        check(&table, &january, "is_complete_period", "true true true");
    }

    #[test]
    fn spend_without_customers_has_no_cost_each() {
        let table = of(mixed(), &[&[]]);
        let february = ["period=month", "period_start=2024-02-01", "cost_scope=all"];
        check(&table, &february, "cac_amount", "- -");
        check(&table, &february, "is_spend_without_customers", "true true");
        check(&table, &february, "is_complete_period", "false false");
    }

    #[test]
    fn types_of_cost_add_up_per_customer() {
        let table = of(mixed(), &[&[]]);
        let a = ["period=year", "acquisition_channel=a"];
        check(&table, &a, "cost_type", "- ads fee");
        check(&table, &a, "cac_amount", "2.00 1.50 0.50");
    }

    #[test]
    fn channel_can_be_a_dimension_too() {
        let table = of(mixed(), &[&[], &["channel"]]);
        let at = ["slice=channel", "period=all", "channel_scope=channel", "cost_scope=all"];
        check(&table, &at, "channel", "- a b");
        check(&table, &at, "acquisition_channel", "- a b");
        check(&table, &at, "spend_amount", "0.50 8.00 3.00");
    }
}
