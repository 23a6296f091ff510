//! `commission`: what owners earn for what they win, by tiers of their targets, and what is taken
//! back when a win is undone.
//!
//! It is of the ledger, so that a month that has ended does not change: a win earns when it is
//! booked, and its reversal or a lower amount takes back in its own month what it earned at the
//! margin. It does not divide shared deals, which the ledger books to the owner at the close, and
//! pays nobody for a team.
//!
//! Invariant: over a plan period the commissions of the months add up to what the whole amount earns.

use std::collections::BTreeMap;

use super::plans::{self, Plans, Target, Whose};
use super::tiers::CommissionPlan;
use crate::error::Error;
use crate::metrics::{
    Absent, Group, Identity, Metric, NO_KEY, Rows, Settings, State, View, period_start,
};
use crate::relations::Relation;
use crate::stats::ratio;
use crate::table::{ColumnSpec, Value};
use crate::time::{Day, NO_DAY, Period};

/// Definition: C(x) is what an amount x of the plan period earns by its tiers. In a month with
/// bookings b above zero and reversals r below, after an amount x before it: earned = C(x + b) − C(x),
/// clawback = C(x + b + r) − C(x + b).
///
/// Edge cases: without a target above zero everything is of the first tier. A reversal in a later
/// plan period is taken back there, at its tiers, of the first one where it outweighs what is won.
pub static METRIC: Metric = Metric {
    name: "commission",
    question: "What does each owner earn by the tiers of the target, and what is taken back?",
    grain: "one row per owner, plan period and month with an entry in the ledger",
    states: &[
        State {
            relation: Relation::Bookings,
            sql: "SELECT booked_on, owner AS booked_owner, \
                  SUM(CASE WHEN amount > 0 THEN amount ELSE 0 END) AS booked_amount, \
                  SUM(CASE WHEN amount < 0 THEN amount ELSE 0 END) AS reversed_amount \
                  FROM bookings WHERE booking_kind <> 'transfer' GROUP BY booked_on, booked_owner",
            absent: Absent::SkipTable,
        },
        State { relation: Relation::Targets, sql: plans::SQL, absent: Absent::SkipTable },
    ],
    output: OUTPUT,
    view: View::Bars("commission_amount"),
    references: &[
        "Zoltners, Sinha and Lorimer, 2006, The Complete Guide to Sales Force Incentive Compensation",
    ],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::text("booked_owner", "The owner when the deal was booked; null without one.")
        .key()
        .nullable(),
    ColumnSpec::date("plan_starts_on", "First day of the plan period, [commission] period.").key(),
    ColumnSpec::date("month_starts_on", "First day of the month that is paid.").key(),
    ColumnSpec::money(
        "target_amount",
        "The owner's target of net_won_amount for the plan period, or the sum of those that make it \
         up without a gap; null without either.",
    )
    .nullable(),
    ColumnSpec::money("booked_amount", "Entries of the month above zero: wins, higher amounts."),
    ColumnSpec::money(
        "reversed_amount",
        "Entries of the month below zero: wins undone, lower amounts, deals won below zero.",
    ),
    ColumnSpec::money("plan_amount", "All entries of the plan period up to the end of the month."),
    ColumnSpec::number(
        "attainment",
        "share",
        "plan_amount / target_amount; null without a target above zero.",
    )
    .nullable(),
    ColumnSpec::count("tier", "number", "The tier that plan_amount has reached, from 1."),
    ColumnSpec::money("earned_amount", "What booked_amount earns beyond what was earned before."),
    ColumnSpec::money("clawback_amount", "What reversed_amount takes back of it; zero or less."),
    ColumnSpec::money("commission_amount", "earned_amount + clawback_amount."),
    ColumnSpec::money(
        "plan_commission_amount",
        "Commissions of the plan period up to the end of the month: what plan_amount earns.",
    ),
    ColumnSpec::flag("is_complete_period", "The month has ended by as_of."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "commission_amount = earned_amount + clawback_amount, earned ≥ 0, clawback ≤ 0",
        holds: |row| {
            let (earned, back) = (row.money("earned_amount"), row.money("clawback_amount"));
            row.money("commission_amount") == earned.zip(back).map(|(a, b)| a + b)
                && earned >= Some(0)
                && back <= Some(0)
        },
    },
    Identity {
        claim: "nothing is earned without bookings, and nothing taken back without reversals",
        holds: |row| {
            let is_zero = |name| row.money(name) == Some(0);
            (!is_zero("booked_amount") || is_zero("earned_amount"))
                && (!is_zero("reversed_amount") || is_zero("clawback_amount"))
        },
    },
];

/// Entries above and below zero.
type Entries = (i64, i64);

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [booked, targets] = group.states else {
        return Err(Error::Bug("commission has two states".into()));
    };
    let settings = group.settings;
    if group.period != Period::All || settings.commission.tiers.is_empty() {
        return Ok(());
    }
    let plans = plans::read(targets, settings)?;
    let calendar = &settings.calendar;
    let mut months: BTreeMap<(Option<&str>, Day, Day), Entries> = BTreeMap::new();
    let (plus, minus) = (booked.value("booked_amount")?, booked.value("reversed_amount")?);
    let keys = booked.key("booked_on")?.iter().zip(booked.key("booked_owner")?);
    for ((day, owner), (plus, minus)) in keys.zip(plus.iter().zip(minus)) {
        let owner = settings.dictionaries.name("owner", *owner).filter(|_| *owner != NO_KEY);
        let day = period_start(*day);
        let plan = calendar.start(settings.commission.period, day);
        let month = calendar.start(Period::Month, day);
        let own = months.entry((owner, plan, month)).or_default();
        (own.0, own.1) = (own.0 + plus, own.1 + minus);
    }
    let mut before = None;
    let mut paid = Paid::default();
    for ((owner, plan, month), entries) in months {
        if before.replace((owner, plan)) != Some((owner, plan)) {
            paid = Paid { target: target(owner, plan, &plans, settings), ..Paid::default() };
        }
        let is_over = calendar.is_complete(Period::Month, month, settings.as_of);
        let values = paid.month(entries, &settings.commission)?;
        let keys = [
            ("booked_owner", owner.map_or(Value::Null, Value::Text)),
            ("plan_starts_on", Value::Date(plan)),
            ("month_starts_on", Value::Date(month)),
        ];
        let last = [("is_complete_period", Value::Bool(is_over))];
        rows.push(NO_DAY, &keys.into_iter().chain(values).chain(last).collect::<Vec<_>>())?;
    }
    Ok(())
}

/// What an owner has won and earned in a plan period so far.
#[derive(Debug, Clone, Copy, Default)]
struct Paid {
    target: Option<i64>,
    amount: i64,
    commission: i64,
}

impl Paid {
    /// Adds a month, and gives its values.
    fn month(
        &mut self,
        (plus, minus): Entries,
        plan: &CommissionPlan,
    ) -> Result<[(&'static str, Value<'static>); 10], Error> {
        let earns = |amount| plan.earned(amount, self.target);
        let booked = earns(self.amount + plus);
        let reversed = earns(self.amount + plus + minus);
        let (earned, back) = (booked - earns(self.amount), reversed - booked);
        self.amount += plus + minus;
        self.commission += earned + back;
        if self.commission != reversed {
            return Err(Error::Bug("commissions do not add up to what is earned".into()));
        }
        let above_zero = self.target.filter(|target| *target > 0);
        let tier = i64::try_from(plan.tier(self.amount, self.target)).unwrap_or(i64::MAX);
        Ok([
            ("target_amount", Value::money(self.target)),
            ("booked_amount", Value::Money(plus)),
            ("reversed_amount", Value::Money(minus)),
            ("plan_amount", Value::Money(self.amount)),
            ("attainment", Value::float(above_zero.and_then(|t| ratio(self.amount, t)))),
            ("tier", Value::Int(tier)),
            ("earned_amount", Value::Money(earned)),
            ("clawback_amount", Value::Money(back)),
            ("commission_amount", Value::Money(earned + back)),
            ("plan_commission_amount", Value::Money(self.commission)),
        ])
    }
}

/// An owner's target of a plan period: its own, or else the sum of those that make it up.
fn target(owner: Option<&str>, from: Day, plans: &Plans<'_>, settings: &Settings) -> Option<i64> {
    let whose = Whose::Owner(owner?);
    let to = settings.calendar.shift(settings.commission.period, from, 1);
    let metric = crate::metrics::targets::NET_WON_AMOUNT;
    if let Some(planned) = plans.get(&Target { metric, whose, from, to }) {
        return planned.amount();
    }
    let is_part = |target: &Target<'_>| {
        target.metric == metric && target.whose == whose && from <= target.from && target.to <= to
    };
    let (mut sum, mut next) = (0, from);
    for (target, planned) in plans.iter().filter(|(target, _)| is_part(target)) {
        if target.from != next {
            return None;
        }
        (sum, next) = (sum + planned.amount()?, target.to);
    }
    (next == to).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::{end_of, plan, settings, table};
    use crate::metrics::testing::check;
    use crate::metrics::{CommissionTier, TierMethod};
    use crate::relations::fixture::Fixture;
    use crate::table::Table;

    fn paid(method: TierMethod) -> Table {
        let monthly = |from: &str, to: &str| {
            format!(
                "target_metric=net_won_amount target_scope=owner target_owner=ann has_amount=1 \
                 target_amount=1000 starts_on={from} ends_on={to} workdays_n=20"
            )
        };
        // Ann's quarter is made of three months of 10.00 each; bob has no target.
        let targets = [
            monthly("2024-01-01", "2024-02-01"),
            monthly("2024-02-01", "2024-03-01"),
            monthly("2024-03-01", "2024-04-01"),
        ];
        let entries = [
            "booked_on=2024-01-05 owner=ann booking_kind=booking won_deals_n=1 amount=2000",
            "booked_on=2024-01-05 owner=bob booking_kind=booking won_deals_n=1 amount=9000",
            "booked_on=2024-02-05 owner=ann booking_kind=booking won_deals_n=1 amount=2500",
            "booked_on=2024-03-05 owner=ann booking_kind=reversal won_deals_n=-1 amount=-2000",
            "booked_on=2024-03-06 owner=ann booking_kind=adjustment amount=100",
            "booked_on=2024-03-07 owner=ann booking_kind=transfer won_deals_n=1 amount=2600",
            "booked_on=2024-03-07 owner=ann booking_kind=transfer won_deals_n=-1 amount=-2600",
            "booked_on=2024-04-02 owner=ann booking_kind=reversal won_deals_n=-1 amount=-2600",
        ];
        let fixture = targets.iter().fold(Fixture::new(&[]), |f, l| f.line(Relation::Targets, l));
        let relations =
            entries.iter().fold(fixture, |f, line| f.line(Relation::Bookings, line)).build();
        let mut settings = settings(&relations, end_of("2024-04-15"));
        let tiers = [(0, 50_000), (1_000_000, 100_000)];
        let tiers = tiers.map(|(from_ppm, rate_ppm)| CommissionTier { from_ppm, rate_ppm });
        settings.commission = CommissionPlan { tiers: tiers.into(), method, ..Default::default() };
        table(&relations, &METRIC, &plan(&[&[]], &[Period::Month]), &settings)
    }

    #[test]
    fn a_reversal_takes_back_what_was_earned_at_the_margin() {
        let table = paid(TierMethod::Marginal);
        let ann = &["booked_owner=ann"];
        check(&table, ann, "month_starts_on", "2024-01-01 2024-02-01 2024-03-01 2024-04-01");
        check(&table, ann, "target_amount", "30.00 30.00 30.00 -");
        check(&table, ann, "plan_amount", "20.00 45.00 26.00 -26.00");
        check(&table, ann, "tier", "1 2 1 1");
        // 20 × 5 % = 1; then 10 × 5 % + 15 × 10 % = 2; in March 1 × 10 % = 0.10 is earned, and of the
        // 20 taken back 16 were at 10 % and 4 at 5 %: 1.80. In April 26 × 5 % without a target.
        check(&table, ann, "earned_amount", "1.00 2.00 0.10 0.00");
        check(&table, ann, "clawback_amount", "0.00 0.00 -1.80 -1.30");
        check(&table, ann, "plan_commission_amount", "1.00 3.00 1.30 -1.30");
        check(&table, &["booked_owner=bob"], "commission_amount", "4.50");
    }

    #[test]
    fn a_tier_that_changes_everything_is_taken_back_whole() {
        let table = paid(TierMethod::Whole);
        // 45 × 10 % = 4.50 at the end of February; 26 × 5 % = 1.30 at the end of March.
        let ann = &["booked_owner=ann"];
        check(&table, ann, "plan_commission_amount", "1.00 4.50 1.30 -1.30");
        check(&table, ann, "earned_amount", "1.00 3.50 0.10 0.00");
        check(&table, ann, "clawback_amount", "0.00 0.00 -3.30 -1.30");
    }
}
