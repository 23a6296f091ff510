//! `conversion`: what share of deals is won, by each denominator that is called a win rate.
//!
//! Three bases have rows of their own: deals *created* in the period with the outcome they have at
//! `as_of`, deals *closed* in the period by the close that holds at `as_of`, and deals *first
//! closed* in the period by their first close. It does not follow deals to a horizon; that is a
//! survival question (`cycle_length`).
//!
//! Invariant: won + lost + open + deleted = the deals of the row.

use crate::error::Error;
use crate::metrics::{Absent, Group, Identity, Metric, Rows, State, StateView, View, by_period};
use crate::relations::Relation;
use crate::stats::interval::wilson;
use crate::stats::{Z_95, ratio};
use crate::table::{ColumnSpec, Value};
use crate::time::Day;

/// The metric.
pub static METRIC: Metric = Metric {
    name: "conversion",
    question: "What share of deals is won, and by which denominator?",
    grain: "one row per slice, period length, period and basis",
    states: &[
        State {
            relation: Relation::Deals,
            sql: "SELECT created_period AS period, COUNT(*) AS deals_n, SUM(is_won) AS won_n, \
                  SUM(is_lost) AS lost_n, SUM(is_open) AS open_n, SUM(is_overdue) AS overdue_n, \
                  SUM(ever_won) AS ever_won_n, \
                  SUM(CASE WHEN is_won = 1 THEN amount ELSE 0 END) AS won_amount, \
                  SUM(CASE WHEN is_lost = 1 THEN amount ELSE 0 END) AS lost_amount, \
                  SUM(CASE WHEN is_open = 1 THEN amount ELSE 0 END) AS open_amount, \
                  SUM(amount) AS deals_amount FROM deals GROUP BY period",
            absent: Absent::SkipTable,
        },
        State {
            relation: Relation::Deals,
            sql: "SELECT closed_period AS period, COUNT(*) AS deals_n, SUM(is_won) AS won_n, \
                  SUM(is_lost) AS lost_n, SUM(ever_won) AS ever_won_n, \
                  SUM(CASE WHEN is_won = 1 THEN amount ELSE 0 END) AS won_amount, \
                  SUM(CASE WHEN is_lost = 1 THEN amount ELSE 0 END) AS lost_amount, \
                  SUM(amount) AS deals_amount \
                  FROM deals WHERE is_won = 1 OR is_lost = 1 GROUP BY period",
            absent: Absent::SkipTable,
        },
        State {
            relation: Relation::Deals,
            sql: "SELECT first_closed_period AS period, COUNT(*) AS deals_n, \
                  SUM(is_first_won) AS won_n, SUM(is_first_lost) AS lost_n, \
                  SUM(ever_won) AS ever_won_n, \
                  SUM(CASE WHEN is_first_won = 1 THEN amount ELSE 0 END) AS won_amount, \
                  SUM(CASE WHEN is_first_lost = 1 THEN amount ELSE 0 END) AS lost_amount, \
                  SUM(amount) AS deals_amount \
                  FROM deals WHERE is_first_won = 1 OR is_first_lost = 1 GROUP BY period",
            absent: Absent::SkipTable,
        },
    ],
    output: OUTPUT,
    view: View::Line("win_rate_closed"),
    references: &[
        "Wilson, 1927, Probable Inference, the Law of Succession, and Statistical Inference",
    ],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::text(
        "basis",
        "Which deals the row counts: created (in the period, outcome at as_of), closed (in the \
         period, close that holds at as_of), first_closed (in the period, first close).",
    )
    .key(),
    ColumnSpec::count("deals_n", "deals", "Deals of the row."),
    ColumnSpec::count("won_n", "deals", "Of these, won; by the first close in first_closed."),
    ColumnSpec::count("lost_n", "deals", "Of these, lost; by the first close in first_closed."),
    ColumnSpec::count("open_n", "deals", "Of these, open at as_of; 0 but in created."),
    ColumnSpec::count("deleted_n", "deals", "Of these, deleted; 0 unless deleted deals are kept."),
    ColumnSpec::count(
        "overdue_n",
        "deals",
        "Of the open ones, past their expected close date; 0 but in created.",
    ),
    ColumnSpec::count("ever_won_n", "deals", "Of these, won at some time."),
    ColumnSpec::money("deals_amount", "Amount of the deals; unknown amounts add nothing."),
    ColumnSpec::money("won_amount", "Amount of the won ones."),
    ColumnSpec::money("lost_amount", "Amount of the lost ones."),
    ColumnSpec::money("open_amount", "Amount of the open ones."),
    ColumnSpec::rate("win_rate_closed", "won_n / (won_n + lost_n)."),
    ColumnSpec::rate("win_rate_closed_low", "Lower Wilson 95 % limit of win_rate_closed."),
    ColumnSpec::rate("win_rate_closed_high", "Upper Wilson 95 % limit of win_rate_closed."),
    ColumnSpec::rate("win_rate_created", "won_n / deals_n of basis created; else null."),
    ColumnSpec::rate("win_rate_created_low", "Lower Wilson 95 % limit of win_rate_created."),
    ColumnSpec::rate("win_rate_created_high", "Upper Wilson 95 % limit of win_rate_created."),
    ColumnSpec::rate(
        "win_rate_overdue",
        "won_n / (won_n + lost_n + overdue_n) of basis created; else null.",
    ),
    ColumnSpec::rate("win_rate_overdue_low", "Lower Wilson 95 % limit of win_rate_overdue."),
    ColumnSpec::rate("win_rate_overdue_high", "Upper Wilson 95 % limit of win_rate_overdue."),
    ColumnSpec::rate("win_rate_all", "won_n / deals_n, whatever the basis."),
    ColumnSpec::rate("win_rate_all_low", "Lower Wilson 95 % limit of win_rate_all."),
    ColumnSpec::rate("win_rate_all_high", "Upper Wilson 95 % limit of win_rate_all."),
    ColumnSpec::rate("win_rate_ever", "ever_won_n / deals_n, whatever the basis."),
    ColumnSpec::rate("win_rate_ever_low", "Lower Wilson 95 % limit of win_rate_ever."),
    ColumnSpec::rate("win_rate_ever_high", "Upper Wilson 95 % limit of win_rate_ever."),
    ColumnSpec::rate(
        "win_rate_value",
        "won_amount / (won_amount + lost_amount), unknown amounts absent; null where the amounts \
         add up to nothing or either is negative.",
    ),
    ColumnSpec::rate(
        "win_rate_created_value",
        "won_amount / deals_amount of basis created; else null, and as in win_rate_value.",
    ),
    ColumnSpec::flag("is_complete_period", "The period has ended by as_of; never the whole."),
    ColumnSpec::flag("low_n", "won_n + lost_n is below the rate floor."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "deals_n = won_n + lost_n + open_n + deleted_n, none below 0",
        holds: |row| {
            let parts = ["won_n", "lost_n", "open_n", "deleted_n"];
            row.int("deals_n") == parts.iter().map(|n| row.int(n)).sum()
                && parts.iter().all(|n| row.int(n) >= Some(0))
        },
    },
    Identity {
        claim: "overdue_n ≤ open_n and won_n ≤ ever_won_n ≤ deals_n",
        holds: |row| {
            row.int("overdue_n") <= row.int("open_n")
                && row.int("won_n") <= row.int("ever_won_n")
                && row.int("ever_won_n") <= row.int("deals_n")
        },
    },
    Identity {
        claim: "every rate lies inside its limits",
        holds: |row| {
            ["win_rate_closed", "win_rate_created", "win_rate_all", "win_rate_ever"].iter().all(
                |rate| match row.float(rate) {
                    None => true,
                    Some(share) => {
                        row.float(&format!("{rate}_low")) <= Some(share)
                            && Some(share) <= row.float(&format!("{rate}_high"))
                    }
                },
            )
        },
    },
];

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [created, closed, first_closed] = group.states else {
        return Err(Error::Bug("conversion has three states".into()));
    };
    for (start, [closed, created, first_closed]) in by_period([closed, created, first_closed]) {
        push(group, rows, (start, "closed"), &closed)?;
        push(group, rows, (start, "created"), &created)?;
        push(group, rows, (start, "first_closed"), &first_closed)?;
    }
    Ok(())
}

/// A rate with its numerator and denominator, of which the denominator may not apply.
#[derive(Clone, Copy)]
struct Rate {
    won_n: i64,
    of_n: Option<i64>,
}

impl Rate {
    fn share(self) -> Value<'static> {
        Value::float(self.of_n.and_then(|n| ratio(self.won_n, n)))
    }

    fn low(self) -> Value<'static> {
        Value::float(self.limits().map(|l| l.0))
    }

    fn high(self) -> Value<'static> {
        Value::float(self.limits().map(|l| l.1))
    }

    fn limits(self) -> Option<(f64, f64)> {
        wilson(self.won_n, self.of_n?, Z_95)
    }
}

/// A share of money; amounts below zero make no share.
fn share_of_value(part: i64, rest: i64) -> Value<'static> {
    let whole = part.checked_add(rest).filter(|w| *w > 0 && part >= 0 && rest >= 0);
    Value::float(whole.and_then(|w| ratio(part, w)))
}

fn push(
    group: &Group<'_>,
    rows: &mut Rows<'_>,
    (start, basis): (Day, &str),
    state: &StateView<'_>,
) -> Result<(), Error> {
    if state.rows() == 0 {
        return Ok(());
    }
    let is_created = basis == "created";
    // What only open deals have is not a column of the states of closed ones.
    let of = |name: &str| state.value(name).ok().and_then(|v| v.first()).copied().unwrap_or(0);
    let (deals_n, won_n, lost_n, open_n) = (of("deals_n"), of("won_n"), of("lost_n"), of("open_n"));
    let (won_amount, lost_amount) = (of("won_amount"), of("lost_amount"));
    let created = |n: i64| is_created.then_some(n);
    let closed = Rate { won_n, of_n: Some(won_n + lost_n) };
    let of_created = Rate { won_n, of_n: created(deals_n) };
    let overdue = Rate { won_n, of_n: created(won_n + lost_n + of("overdue_n")) };
    let all = Rate { won_n, of_n: Some(deals_n) };
    let ever = Rate { won_n: of("ever_won_n"), of_n: Some(deals_n) };
    let of_created_value = if is_created {
        share_of_value(won_amount, of("deals_amount") - won_amount)
    } else {
        Value::Null
    };
    let settings = group.settings;
    let is_complete = settings.calendar.is_complete(group.period, start, settings.as_of);
    rows.push(
        start,
        &[
            ("basis", Value::Text(basis)),
            ("deals_n", Value::Int(deals_n)),
            ("won_n", Value::Int(won_n)),
            ("lost_n", Value::Int(lost_n)),
            ("open_n", Value::Int(open_n)),
            ("deleted_n", Value::Int(deals_n - won_n - lost_n - open_n)),
            ("overdue_n", Value::Int(of("overdue_n"))),
            ("ever_won_n", Value::Int(of("ever_won_n"))),
            ("deals_amount", Value::Money(of("deals_amount"))),
            ("won_amount", Value::Money(won_amount)),
            ("lost_amount", Value::Money(lost_amount)),
            ("open_amount", Value::Money(of("open_amount"))),
            ("win_rate_closed", closed.share()),
            ("win_rate_closed_low", closed.low()),
            ("win_rate_closed_high", closed.high()),
            ("win_rate_created", of_created.share()),
            ("win_rate_created_low", of_created.low()),
            ("win_rate_created_high", of_created.high()),
            ("win_rate_overdue", overdue.share()),
            ("win_rate_overdue_low", overdue.low()),
            ("win_rate_overdue_high", overdue.high()),
            ("win_rate_all", all.share()),
            ("win_rate_all_low", all.low()),
            ("win_rate_all_high", all.high()),
            ("win_rate_ever", ever.share()),
            ("win_rate_ever_low", ever.low()),
            ("win_rate_ever_high", ever.high()),
            ("win_rate_value", share_of_value(won_amount, lost_amount)),
            ("win_rate_created_value", of_created_value),
            ("is_complete_period", Value::Bool(is_complete)),
            ("low_n", Value::Bool(won_n + lost_n < settings.rate_floor)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::{end_of, plan, settings, table};
    use crate::metrics::testing::{cells, check};
    use crate::relations::fixture::Fixture;
    use crate::table::Table;
    use crate::time::Period;

    fn of(lines: &[&str]) -> Table {
        let fixture = Fixture::new(&[]).dimensions(&["owner"]);
        let relations = lines.iter().fold(fixture, |f, line| f.line(Relation::Deals, line)).build();
        let plan = plan(&[&[], &["owner"]], &[Period::Month]);
        table(&relations, &METRIC, &plan, &settings(&relations, end_of("2024-06-30")))
    }

    #[track_caller]
    fn close(table: &Table, at: &[&str], column: &str, expected: f64) {
        let found: f64 = cells(table, at, column)[0].parse().unwrap();
        assert!((found - expected).abs() < 1e-6, "{column}: {found}");
    }

    const WON: &str = "created_period=2024-01-01 closed_period=2024-02-01 is_won=1 ever_won=1 \
                       first_closed_period=2024-02-01 is_first_won=1";
    const LOST: &str = "created_period=2024-01-01 closed_period=2024-02-01 is_lost=1 \
                        first_closed_period=2024-02-01 is_first_lost=1";
    // Won first, re-opened, lost in the end.
    const REOPENED: &str = "created_period=2024-01-01 closed_period=2024-03-01 is_lost=1 \
                            ever_won=1 first_closed_period=2024-02-01 is_first_won=1";
    const OPEN: &str = "created_period=2024-01-01 is_open=1";
    const OVERDUE: &str = "created_period=2024-01-01 is_open=1 is_overdue=1";

    /// The outcomes of the eight hand-worked deals: D1 D2 D8 won, D3 D5 lost, D6 re-opened and
    /// lost, D4 D7 open.
    const EIGHT: [&str; 8] = [WON, WON, LOST, OPEN, LOST, REOPENED, OPEN, WON];

    #[test]
    fn eight_hand_worked_deals_have_their_published_rates() {
        let table = of(&EIGHT);
        let whole = |basis| ["slice=all", "period=all", basis];
        let closed = whole("basis=closed");
        check(&table, &closed, "won_n", "3");
        check(&table, &closed, "win_rate_closed", "0.5");
        close(&table, &closed, "win_rate_closed_low", 0.187_616);
        close(&table, &closed, "win_rate_closed_high", 0.812_384);
        close(&table, &whole("basis=first_closed"), "win_rate_closed", 4.0 / 6.0);
        let created = whole("basis=created");
        check(&table, &created, "win_rate_created", "0.375");
        check(&table, &created, "win_rate_ever", "0.5");
        check(&table, &created, "open_n", "2");
        check(&table, &created, "low_n", "true");
    }

    #[test]
    fn each_basis_has_its_own_clock() {
        let table = of(&EIGHT);
        let months = |basis| ["slice=all", "period=month", basis];
        check(&table, &months("basis=created"), "period_start", "2024-01-01");
        check(&table, &months("basis=closed"), "period_start", "2024-02-01 2024-03-01");
        check(&table, &months("basis=closed"), "won_n", "3 0");
        check(&table, &months("basis=first_closed"), "won_n", "4");
        check(&table, &months("basis=closed"), "win_rate_created", "- -");
    }

    #[test]
    fn unknown_amounts_are_absent_from_the_rate_by_value() {
        let owner = |basis: &str, owner: &str, amount: &str| {
            format!("{basis} owner={owner} {amount}").trim().to_owned()
        };
        let lines = [
            owner(WON, "a", "amount=100 has_amount=1"),
            owner(LOST, "a", ""),
            owner(WON, "b", "amount=50 has_amount=1"),
            owner(LOST, "b", "amount=50 has_amount=1"),
            owner(WON, "c", ""),
            owner(LOST, "c", "amount=40 has_amount=1"),
        ];
        let table = of(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        let at = |owner| ["slice=owner", "period=all", "basis=closed", owner];
        check(&table, &at("owner=a"), "win_rate_value", "1.0");
        check(&table, &at("owner=b"), "win_rate_value", "0.5");
        check(&table, &at("owner=c"), "win_rate_value", "0.0");
        check(&table, &["slice=all", "period=all", "basis=closed"], "win_rate_value", "0.625");
    }

    #[test]
    fn overdue_deals_count_against_one_rate_only() {
        let table = of(&[WON, OPEN, OVERDUE]);
        let at = ["slice=all", "period=all", "basis=created"];
        check(&table, &at, "win_rate_overdue", "0.5");
        check(&table, &at, "win_rate_closed", "1.0");
        close(&table, &at, "win_rate_all", 1.0 / 3.0);
    }

    #[test]
    fn nothing_closed_has_no_rate() {
        let table = of(&[OPEN]);
        let at = ["slice=all", "period=all"];
        check(&table, &at, "basis", "created");
        check(&table, &at, "win_rate_closed", "-");
        check(&table, &at, "win_rate_value", "-");
        check(&table, &at, "win_rate_created", "0.0");
    }
}
