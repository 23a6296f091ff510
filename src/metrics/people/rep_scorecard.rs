//! What each owner or team sold in a period: volume, win rates, cycle, deal size, velocity, and how
//! often deals were pushed, sent back or re-opened, with ranks.
//!
//! Numbers here are as they are, neither shrunk nor corrected for the mix of deals; what differs
//! from peers beyond chance is said by `rep_skills`.
//!
//! Invariant: won + lost = closed, and the shares of the won amount of all people add up to 1.

use std::collections::BTreeMap;

use super::ranks_of;
use crate::error::Error;
use crate::metrics::durations::mean_days;
use crate::metrics::{
    Absent, Group, Identity, Metric, NO_VALUE, Rows, State, StateView, View, by_period,
};
use crate::money::mean;
use crate::relations::Relation;
use crate::stats::interval::wilson;
use crate::stats::{Z_95, float, ratio};
use crate::table::{ColumnSpec, Value};
use crate::time::{Day, Period};

/// Definition: deals created and deals closed (won or lost at as_of) in the period, by the person
/// or team that the slice's dimension names.
///
/// Edge cases: deals of nobody have a row of their own (null) and no rank; equal values share the
/// better rank; cycles that end before they begin are in no mean; velocity is of the whole history,
/// because only the pipeline of today is known.
pub static METRIC: Metric = Metric {
    name: "rep_scorecard",
    question: "What did each owner or team sell, how fast, and with what rank?",
    grain: "one row per slice of people, owner or team, and period",
    states: &[
        State {
            relation: Relation::Deals,
            sql: "SELECT created_period AS period, COUNT(*) AS created_n, \
                  SUM(is_won) AS created_won_n, SUM(is_open) AS open_n, \
                  SUM(CASE WHEN is_open = 1 THEN amount ELSE 0 END) AS open_amount, \
                  SUM(CASE WHEN pushes_n > 0 THEN 1 ELSE 0 END) AS pushed_n, \
                  SUM(pushes_n) AS pushes_n, \
                  SUM(CASE WHEN regressions_n > 0 THEN 1 ELSE 0 END) AS regressed_n, \
                  SUM(CASE WHEN reopens_n > 0 THEN 1 ELSE 0 END) AS reopened_n, \
                  SUM(CASE WHEN is_first_won = 1 OR is_first_lost = 1 THEN 1 ELSE 0 END) \
                  AS ever_closed_n FROM deals GROUP BY period",
            absent: Absent::SkipTable,
        },
        State {
            relation: Relation::Deals,
            sql: "SELECT closed_period AS period, COUNT(*) AS closed_n, SUM(is_won) AS won_n, \
                  SUM(CASE WHEN is_won = 1 THEN amount ELSE 0 END) AS won_amount, \
                  SUM(CASE WHEN is_won = 1 THEN has_amount ELSE 0 END) AS won_amount_n, \
                  SUM(CASE WHEN is_lost = 1 THEN amount ELSE 0 END) AS lost_amount, \
                  SUM(CASE WHEN is_negative_cycle = 1 THEN 0 ELSE cycle END) AS cycle_sum, \
                  SUM(CASE WHEN is_negative_cycle = 1 THEN 0 ELSE 1 END) AS cycles_n \
                  FROM deals WHERE is_won = 1 OR is_lost = 1 GROUP BY period",
            absent: Absent::SkipTable,
        },
    ],
    output: OUTPUT,
    view: View::Bars("won_amount"),
    references: &[
        "Wilson, 1927, Probable Inference, the Law of Succession, and Statistical Inference",
    ],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::count("created_n", "deals", "Deals created in the period."),
    ColumnSpec::count("created_won_n", "deals", "Of these, won at as_of."),
    ColumnSpec::count("open_n", "deals", "Of these, open at as_of."),
    ColumnSpec::money("open_amount", "Their amount; unknown amounts add nothing."),
    ColumnSpec::count("closed_n", "deals", "Deals closed in the period: won_n + lost_n."),
    ColumnSpec::count("won_n", "deals", "Deals won in the period and still won at as_of."),
    ColumnSpec::count("lost_n", "deals", "Deals lost in the period and still lost at as_of."),
    ColumnSpec::money("won_amount", "Amount of won_n; unknown amounts add nothing."),
    ColumnSpec::money("lost_amount", "Amount of lost_n."),
    ColumnSpec::rate(
        "won_amount_share",
        "won_amount / that of all people of the row's slice and period; null where any is negative.",
    ),
    ColumnSpec::rate("win_rate_closed", "won_n / closed_n."),
    ColumnSpec::rate("win_rate_closed_low", "Its lower Wilson 95 % limit."),
    ColumnSpec::rate("win_rate_closed_high", "Its upper Wilson 95 % limit."),
    ColumnSpec::rate("win_rate_created", "created_won_n / created_n."),
    ColumnSpec::rate(
        "win_rate_value",
        "won_amount / (won_amount + lost_amount); null where either is negative.",
    ),
    ColumnSpec::money("deal_size_mean", "won_amount / won deals with an amount, half to even.")
        .nullable(),
    ColumnSpec::days("cycle_days_mean", "Mean cycle of closed_n, of what has closed only."),
    ColumnSpec::number(
        "velocity_amount_per_day",
        "currency per day",
        "open_n × win_rate_closed × deal_size_mean / cycle_days_mean; of the whole history only.",
    )
    .nullable(),
    ColumnSpec::count("pushed_n", "deals", "Of created_n, with a close date moved later."),
    ColumnSpec::rate("push_rate", "pushed_n / created_n."),
    ColumnSpec::count("pushes_n", "moves", "Times that a close date was moved later."),
    ColumnSpec::count("regressed_n", "deals", "Of created_n, sent back to an earlier stage."),
    ColumnSpec::rate("regress_rate", "regressed_n / created_n."),
    ColumnSpec::count("reopened_n", "deals", "Of created_n, re-opened after a close."),
    ColumnSpec::rate("reopen_rate", "reopened_n / those of created_n that were ever closed."),
    ColumnSpec::count("ranked_n", "people", "People or teams with deals closed in the period."),
    ColumnSpec::count(
        "won_amount_rank",
        "rank",
        "1 is the largest won_amount; null if closed_n is 0.",
    )
    .nullable(),
    ColumnSpec::count("won_n_rank", "rank", "1 is the most deals won; null if closed_n is 0.")
        .nullable(),
    ColumnSpec::count(
        "win_rate_rank",
        "rank",
        "1 is the highest win_rate_closed of those not low_n; null if low_n.",
    )
    .nullable(),
    ColumnSpec::flag("is_complete_period", "The period has ended by as_of; never the whole."),
    ColumnSpec::flag("low_n", "closed_n is below the rate floor."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "closed_n = won_n + lost_n and created_won_n + open_n ≤ created_n",
        holds: |row| {
            let sum = |a: &str, b: &str| row.int(a).zip(row.int(b)).map(|(a, b)| a + b);
            row.int("closed_n") == sum("won_n", "lost_n")
                && sum("created_won_n", "open_n") <= row.int("created_n")
        },
    },
    Identity {
        claim: "pushed_n, regressed_n and reopened_n ≤ created_n, and pushed_n ≤ pushes_n",
        holds: |row| {
            let all = row.int("created_n");
            ["pushed_n", "regressed_n", "reopened_n"].iter().all(|name| row.int(name) <= all)
                && row.int("pushed_n") <= row.int("pushes_n")
        },
    },
    Identity {
        claim: "1 ≤ won_amount_rank ≤ ranked_n",
        holds: |row| {
            let rank = row.int("won_amount_rank");
            rank.is_none() || (rank >= Some(1) && rank <= row.int("ranked_n"))
        },
    },
];

/// One person or team in one period.
struct Own {
    place: usize,
    has_name: bool,
    created: [i64; 9],
    closed: [i64; 7],
}

const CREATED: [&str; 9] = [
    "created_n",
    "created_won_n",
    "open_n",
    "open_amount",
    "pushed_n",
    "pushes_n",
    "regressed_n",
    "reopened_n",
    "ever_closed_n",
];

const CLOSED: [&str; 7] =
    ["closed_n", "won_n", "won_amount", "won_amount_n", "lost_amount", "cycle_sum", "cycles_n"];

/// The only row of each of a state's columns; 0 without one.
fn only<const N: usize>(state: &StateView<'_>, names: [&str; N]) -> Result<[i64; N], Error> {
    let mut all = [0; N];
    for (place, name) in all.iter_mut().zip(names) {
        *place = state.value(name)?.first().copied().unwrap_or(0);
    }
    Ok(all)
}

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let mut periods: BTreeMap<Day, Vec<Own>> = BTreeMap::new();
    for (place, segment) in group.segments.iter().enumerate() {
        let [created, closed] = segment.states.as_slice() else {
            return Err(Error::Bug("the scorecard has two states".into()));
        };
        for (start, [created, closed]) in by_period([created, closed]) {
            periods.entry(start).or_default().push(Own {
                place,
                has_name: segment.value != NO_VALUE,
                created: only(&created, CREATED)?,
                closed: only(&closed, CLOSED)?,
            });
        }
    }
    for (start, people) in periods {
        push_period(group, rows, start, &people)?;
    }
    Ok(())
}

/// The people who are ranked, and the sum of what all of them won.
struct Ranking {
    ranked_n: i64,
    won_amount: Option<i64>,
    by_amount: Vec<Option<i64>>,
    by_wins: Vec<Option<i64>>,
    by_rate: Vec<Option<i64>>,
}

impl Ranking {
    fn of(people: &[Own], floor: i64) -> Self {
        let is_ranked = |own: &&Own| own.has_name && own.closed.first() > Some(&0);
        let ranked = |value: &dyn Fn(&Own) -> Option<i64>| -> Vec<Option<i64>> {
            let of = |own: &Own| if is_ranked(&own) { value(own) } else { None };
            people.iter().map(of).collect()
        };
        let amount = |own: &Own| {
            let [_, _, won_amount, ..] = own.closed;
            Some(won_amount)
        };
        let wins = |own: &Own| {
            let [_, won_n, ..] = own.closed;
            Some(won_n)
        };
        let rates: Vec<Option<f64>> = people
            .iter()
            .map(|own| {
                let [closed_n, won_n, ..] = own.closed;
                let is_judged = is_ranked(&own) && closed_n >= floor;
                ratio(won_n, closed_n).filter(|_| is_judged)
            })
            .collect();
        let all = people.iter().filter_map(amount);
        let is_positive = all.clone().all(|amount| amount >= 0);
        Self {
            ranked_n: people.iter().filter(is_ranked).count() as i64,
            won_amount: Some(all.sum()).filter(|sum: &i64| is_positive && *sum > 0),
            by_amount: ranks_of(&ranked(&amount)),
            by_wins: ranks_of(&ranked(&wins)),
            by_rate: super::ranks(&rates),
        }
    }
}

fn push_period(
    group: &Group<'_>,
    rows: &mut Rows<'_>,
    start: Day,
    people: &[Own],
) -> Result<(), Error> {
    let settings = group.settings;
    let ranking = Ranking::of(people, settings.rate_floor);
    let is_complete = settings.calendar.is_complete(group.period, start, settings.as_of);
    for (at, own) in people.iter().enumerate() {
        let [closed_n, ..] = own.closed;
        let rank = |ranks: &[Option<i64>]| Value::int(ranks.get(at).copied().flatten());
        let mut values = volume(own, ranking.won_amount);
        values.extend(rates(own, group));
        values.extend(setbacks(own));
        values.push(("ranked_n", Value::Int(ranking.ranked_n)));
        values.push(("won_amount_rank", rank(&ranking.by_amount)));
        values.push(("won_n_rank", rank(&ranking.by_wins)));
        values.push(("win_rate_rank", rank(&ranking.by_rate)));
        values.push(("is_complete_period", Value::Bool(is_complete)));
        values.push(("low_n", Value::Bool(closed_n < settings.rate_floor)));
        rows.turn_to(Some(own.place));
        rows.push(start, &values)?;
    }
    Ok(())
}

type Values = Vec<(&'static str, Value<'static>)>;

fn volume(own: &Own, all_amount: Option<i64>) -> Values {
    let [created_n, created_won_n, open_n, open_amount, ..] = own.created;
    let [closed_n, won_n, won_amount, _, lost_amount, ..] = own.closed;
    vec![
        ("created_n", Value::Int(created_n)),
        ("created_won_n", Value::Int(created_won_n)),
        ("open_n", Value::Int(open_n)),
        ("open_amount", Value::Money(open_amount)),
        ("closed_n", Value::Int(closed_n)),
        ("won_n", Value::Int(won_n)),
        ("lost_n", Value::Int(closed_n - won_n)),
        ("won_amount", Value::Money(won_amount)),
        ("lost_amount", Value::Money(lost_amount)),
        ("won_amount_share", Value::float(all_amount.and_then(|all| ratio(won_amount, all)))),
    ]
}

fn rates(own: &Own, group: &Group<'_>) -> Values {
    let [created_n, created_won_n, open_n, ..] = own.created;
    let [closed_n, won_n, won_amount, won_amount_n, lost_amount, cycle_sum, cycles_n] = own.closed;
    let limits = wilson(won_n, closed_n, Z_95);
    let is_positive = won_amount >= 0 && lost_amount >= 0;
    let both = won_amount.checked_add(lost_amount).filter(|_| is_positive);
    let size = mean(won_amount, won_amount_n);
    let cycle = mean_days(i128::from(cycle_sum), cycles_n, group.settings.resolution);
    let factor = 10_f64.powi(i32::from(group.settings.money_scale));
    let per_day = || {
        let (rate, days) = (ratio(won_n, closed_n)?, cycle.filter(|days| *days > 0.0)?);
        Some(float(open_n) * rate * float(size?) / factor / days)
    };
    let velocity = if group.period == Period::All { per_day() } else { None };
    vec![
        ("win_rate_closed", Value::float(ratio(won_n, closed_n))),
        ("win_rate_closed_low", Value::float(limits.map(|(low, _)| low))),
        ("win_rate_closed_high", Value::float(limits.map(|(_, high)| high))),
        ("win_rate_created", Value::float(ratio(created_won_n, created_n))),
        ("win_rate_value", Value::float(both.and_then(|both| ratio(won_amount, both)))),
        ("deal_size_mean", Value::money(size)),
        ("cycle_days_mean", Value::float(cycle)),
        ("velocity_amount_per_day", Value::float(velocity)),
    ]
}

fn setbacks(own: &Own) -> Values {
    let [created_n, _, _, _, pushed_n, pushes_n, regressed_n, reopened_n, ever_closed_n] =
        own.created;
    vec![
        ("pushed_n", Value::Int(pushed_n)),
        ("push_rate", Value::float(ratio(pushed_n, created_n))),
        ("pushes_n", Value::Int(pushes_n)),
        ("regressed_n", Value::Int(regressed_n)),
        ("regress_rate", Value::float(ratio(regressed_n, created_n))),
        ("reopened_n", Value::Int(reopened_n)),
        ("reopen_rate", Value::float(ratio(reopened_n, ever_closed_n))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::{end_of, plan, settings, table};
    use crate::metrics::testing::check;
    use crate::relations::fixture::Fixture;
    use crate::table::Table;

    fn of(lines: &[&str]) -> Table {
        let fixture = Fixture::new(&["L", "Won", "Lost"]).dimensions(&["owner"]);
        let relations = lines.iter().fold(fixture, |f, line| f.line(Relation::Deals, line)).build();
        let plan = plan(&[&["owner"]], &[Period::Month]);
        let mut settings = settings(&relations, end_of("2024-06-30"));
        settings.rate_floor = 2;
        table(&relations, &METRIC, &plan, &settings)
    }

    const LINES: [&str; 7] = [
        "owner=ann created_period=2024-01-01 closed_period=2024-02-01 is_won=1 is_first_won=1 \
         amount=30000 has_amount=1 cycle=10",
        "owner=ann created_period=2024-01-01 closed_period=2024-02-01 is_lost=1 is_first_lost=1 \
         amount=10000 has_amount=1 cycle=20 pushes_n=3 regressions_n=1",
        "owner=ann created_period=2024-02-01 is_open=1 amount=7000 has_amount=1 reopens_n=1 \
         is_first_lost=1",
        "owner=bob created_period=2024-01-01 closed_period=2024-02-01 is_won=1 is_first_won=1 \
         amount=30000 has_amount=1 cycle=4",
        "owner=bob created_period=2024-01-01 closed_period=2024-03-01 is_won=1 is_first_won=1 \
         cycle=8 is_negative_cycle=1",
        "owner=cid created_period=2024-01-01 closed_period=2024-03-01 is_lost=1 is_first_lost=1 \
         cycle=5",
        "created_period=2024-01-01 closed_period=2024-03-01 is_won=1 is_first_won=1 \
         amount=60000 has_amount=1 cycle=1",
    ];

    #[test]
    fn hand_worked_people_have_their_numbers() {
        let table = of(&LINES);
        let whole = ["period=all"];
        check(&table, &whole, "owner", "- ann bob cid");
        check(&table, &whole, "created_n", "1 3 2 1");
        check(&table, &whole, "won_n", "1 1 2 0");
        check(&table, &whole, "lost_n", "0 1 0 1");
        check(&table, &whole, "won_amount", "600.00 300.00 300.00 0.00");
        check(&table, &whole, "won_amount_share", "0.5 0.25 0.25 0.0");
        check(&table, &whole, "win_rate_closed", "1.0 0.5 1.0 0.0");
        check(&table, &whole, "win_rate_value", "1.0 0.75 1.0 -");
        check(&table, &whole, "deal_size_mean", "600.00 300.00 300.00 -");
        // Ann (10 + 20)/2; of Bob's two one ends before it begins.
        check(&table, &whole, "cycle_days_mean", "1.0 15.0 4.0 5.0");
        // One open deal × 0.5 × 300 / 15.
        check(&table, &["owner=ann", "period=all"], "velocity_amount_per_day", "10.0");
        check(&table, &["owner=ann", "period=month"], "velocity_amount_per_day", "- -");
        check(&table, &["owner=ann", "period=all"], "push_rate", "0.3333333333333333");
        check(&table, &["owner=ann", "period=all"], "pushes_n", "3");
        // Each of her three deals was closed once, one of them is open again.
        check(&table, &["owner=ann", "period=all"], "reopen_rate", "0.3333333333333333");
    }

    #[test]
    fn ranks_are_shared_and_nobody_has_none() {
        let table = of(&LINES);
        let whole = ["period=all"];
        check(&table, &whole, "won_amount_rank", "- 1 1 3");
        check(&table, &whole, "won_n_rank", "- 2 1 3");
        // Cid closed one deal, which is below the floor of two.
        check(&table, &whole, "win_rate_rank", "- 2 1 -");
        check(&table, &whole, "ranked_n", "3 3 3 3");
        let march = ["period=month", "period_start=2024-03-01"];
        check(&table, &march, "owner", "- bob cid");
        check(&table, &march, "won_amount_rank", "- 1 1");
    }

    #[test]
    fn without_people_there_is_no_table() {
        let relations = Fixture::new(&["L"]).dimensions(&["owner"]).line(Relation::Deals, LINES[0]);
        let relations = relations.build();
        let mut plan = plan(&[&[], &["owner"]], &[]);
        plan.people = Vec::new();
        let settings = settings(&relations, end_of("2024-06-30"));
        let outcome =
            crate::engine::compute(&relations, &[&METRIC], &[], &plan, &settings).unwrap();
        assert!(outcome.tables.is_empty());
        let [(table, reason)] = outcome.skipped.as_slice() else { panic!("one is left out") };
        assert_eq!((table.as_str(), reason.as_str()), ("rep_scorecard", crate::metrics::NO_PEOPLE));
    }
}
