//! What the metrics' own tests share: finishing states written by hand, and reading cells.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Group, Metric, NO_KEY, Pipelines, Rows, Settings, StateRows, StateView, TableView,
    common_columns,
};
use crate::engine::testing::plan;
use crate::relations::fixture::Fixture;
use crate::relations::visits::PSEUDO_STAGES;
use crate::relations::{Dictionaries, Relation, Relations};
use crate::table::{Table, TableBuilder};
use crate::time::{Calendar, Day, MICROS_PER_DAY, Period, Resolution};

/// Settings with the given open stages, then `Won` and `Lost`, days as units, as of a day number.
pub(crate) fn settings(stages: &[&str], as_of_day: i64) -> Settings {
    let names = PSEUDO_STAGES.iter().chain(stages).chain(&["Won", "Lost"]);
    let names: Vec<String> = names.map(|n| (*n).to_owned()).collect();
    let mut dictionaries = Dictionaries::default();
    dictionaries.names.insert("stage".into(), names.into());
    Settings {
        as_of: as_of_day * MICROS_PER_DAY,
        calendar: Calendar::UTC,
        resolution: Resolution::Day,
        pipelines: Pipelines {
            open: [("default".to_owned(), stages.iter().map(|s| (*s).to_owned()).collect())].into(),
            stages: Vec::new(),
        },
        rate_floor: 10,
        quantile_floor: 5,
        horizons_days: vec![3, 10, 15],
        variants_max: 50,
        funnels: Vec::new(),
        money_scale: 2,
        clv: crate::metrics::Valuation::default(),
        forecast: crate::metrics::Forecasting::default(),
        triggers: crate::metrics::Thresholds::default(),
        customers: crate::metrics::CustomerRules::default(),
        commission: crate::metrics::CommissionPlan::default(),
        dictionaries,
    }
}

/// A state without dimensions: key names, value names, and rows of keys then values.
pub(crate) fn state(keys: &[&str], values: &[&str], rows: &[&[i64]]) -> StateRows {
    let column = |position: usize| rows.iter().map(|row| row[position]).collect();
    let named = |names: &[&str], offset: usize| {
        names.iter().enumerate().map(|(i, n)| ((*n).to_owned(), column(i + offset))).collect()
    };
    StateRows {
        dimensions: Vec::new(),
        keys: named(keys, 0),
        values: named(values, keys.len()),
        rows: rows.len(),
    }
}

/// The finished table of one slice and period length; every identity is checked on every row.
#[track_caller]
pub(crate) fn finish(
    metric: &Metric,
    states: &[StateRows],
    period: Period,
    settings: &Settings,
) -> Result<Table, crate::error::Error> {
    let mut specs = common_columns(&[]);
    specs.extend_from_slice(metric.output);
    let mut builder = TableBuilder::new(metric.name, specs, settings.money_scale);
    let mut rows = Rows::new(&mut builder, "all", &[], period);
    let states: Vec<StateView<'_>> = states.iter().map(StateRows::view).collect();
    (metric.finish)(&Group { states: &states, segments: &[], period, settings }, &mut rows)?;
    let table = builder.finish()?;
    check_identities(metric, &table);
    Ok(table)
}

/// Fails with the claim and the row where an identity does not hold.
#[track_caller]
pub(crate) fn check_identities(metric: &Metric, table: &Table) {
    for batch in &table.batches {
        let view = TableView::new(&table.specs, batch);
        for (number, row) in view.rows().enumerate() {
            for identity in metric.identities {
                assert!((identity.holds)(&row), "row {number}: {}", identity.claim);
            }
        }
    }
}

/// The cells of one column as text, `-` for null, over the rows whose cells contain all of `at`
/// (`"variant=touched"`), in the table's order.
#[track_caller]
pub(crate) fn cells(table: &Table, at: &[&str], column: &str) -> Vec<String> {
    let batch = table.whole().expect("one batch");
    let text = |name: &str, row: usize| {
        let array = batch.column_by_name(name).expect("a column of the table");
        if array.is_null(row) {
            return "-".to_owned();
        }
        arrow::util::display::array_value_to_string(array, row).expect("text")
    };
    (0..batch.num_rows())
        .filter(|row| {
            at.iter().all(|pair| {
                let (name, value) = pair.split_once('=').expect("name=value");
                text(name, *row) == value
            })
        })
        .map(|row| text(column, row))
        .collect()
}

/// Fails where the cells of a column differ from those expected, given separated by spaces.
#[track_caller]
pub(crate) fn check(table: &Table, at: &[&str], column: &str, expected: &str) {
    assert_eq!(cells(table, at, column).join(" "), expected, "{column} at {at:?}");
}

/// The table of a metric over hand-made relations, for the whole history and the given periods: the
/// same from both backends, in one piece and in shards.
#[track_caller]
pub(crate) fn run(
    metric: &'static Metric,
    relations: &Relations,
    periods: &[Period],
    settings: &Settings,
) -> Table {
    run_slices(metric, relations, &[&[]], periods, settings)
}

/// The same for several slices.
#[track_caller]
pub(crate) fn run_slices(
    metric: &'static Metric,
    relations: &Relations,
    slices: &[&[&str]],
    periods: &[Period],
    settings: &Settings,
) -> Table {
    let dictionaries = relations.dictionaries.clone();
    let settings = Settings { dictionaries, ..settings.clone() };
    crate::engine::testing::table(relations, metric, &plan(slices, periods), &settings)
}

/// Stages of the eight-deal fixture.
pub(crate) const FIXTURE_STAGES: [&str; 3] = ["L", "Q", "P"];

/// Eight deals worked by hand, days as of day 20: a skip, a regress, a re-open, a start in the
/// middle, and one whose whole life is one instant.
const EIGHT_DEALS: [&[(&str, i64)]; 8] = [
    &[("L", 0), ("Q", 2), ("P", 5), ("Won", 9)],
    &[("L", 0), ("P", 3), ("Won", 4)],
    &[("L", 0), ("Q", 1), ("P", 4), ("Q", 6), ("P", 8), ("Lost", 10)],
    &[("L", 0), ("Q", 3)],
    &[("L", 0), ("Lost", 7)],
    &[("Q", 0), ("P", 1), ("Won", 3), ("P", 5), ("Lost", 12)],
    &[("L", 0)],
    &[("L", 2), ("Q", 2), ("P", 2), ("Won", 2)],
];

/// The eight deals' rows of `deals`, from the published levels and closes (first close).
const EIGHT_DEAL_ROWS: [&str; 8] = [
    "cycle=9 cycle_status=won reached_level=4 fall_through_level=4 ordered_level=4 \
     strict_level=4 furthest_final_level=4 first_level=1 entered_period=0 is_won=1",
    "cycle=4 cycle_status=won reached_level=4 fall_through_level=1 ordered_level=1 \
     strict_level=1 furthest_final_level=4 first_level=1 entered_period=0 is_won=1",
    "cycle=10 cycle_status=lost reached_level=3 fall_through_level=3 ordered_level=3 \
     strict_level=3 furthest_final_level=3 first_level=1 entered_period=0 is_lost=1",
    "cycle=20 cycle_status=open reached_level=2 fall_through_level=2 ordered_level=2 \
     strict_level=2 furthest_final_level=2 first_level=1 entered_period=0 is_open=1",
    "cycle=7 cycle_status=lost reached_level=1 fall_through_level=1 ordered_level=1 \
     strict_level=1 furthest_final_level=1 first_level=1 entered_period=0 is_lost=1",
    "cycle=3 cycle_status=won reached_level=4 fall_through_level=0 ordered_level=0 \
     strict_level=0 furthest_final_level=3 first_level=2 is_lost=1",
    "cycle=20 cycle_status=open reached_level=1 fall_through_level=1 ordered_level=1 \
     strict_level=1 furthest_final_level=1 first_level=1 entered_period=0 is_open=1",
    "cycle=0 cycle_status=won reached_level=4 fall_through_level=4 ordered_level=4 \
     strict_level=4 furthest_final_level=4 first_level=1 entered_period=0 is_won=1",
];

/// Relations of the eight-deal fixture.
pub(crate) fn eight_deals() -> Relations {
    eight_deals_fixture().build()
}

/// The same, open to further rows.
pub(crate) fn eight_deals_fixture() -> Fixture {
    eight_deals_with(Fixture::new(&["L", "Q", "P", "Won", "Lost"]), |_| "")
}

/// The same with a dimension `region`: odd deals are in the east, even ones in the west.
pub(crate) fn eight_deals_by_region() -> Relations {
    let fixture = Fixture::new(&["L", "Q", "P", "Won", "Lost"]).dimensions(&["region"]);
    let region = |number: usize| if number % 2 == 1 { "region=east" } else { "region=west" };
    eight_deals_with(fixture, region).build()
}

fn eight_deals_with(fixture: Fixture, more: fn(usize) -> &'static str) -> Fixture {
    let mut fixture = fixture;
    for ((number, row), deal) in (1..).zip(EIGHT_DEAL_ROWS).zip(EIGHT_DEALS) {
        let orders: BTreeSet<usize> = deal.iter().map(|(stage, _)| order(stage)).collect();
        let touched: i64 = orders.iter().filter(|o| **o > 0).map(|o| 1 << (o - 1)).sum();
        let line = format!(
            "shard={number} created_period=0 stages_n=3 touched_stages={touched} {row} {}",
            more(number)
        );
        fixture = fixture.line(Relation::Deals, &line);
    }
    for (number, deal) in (1..).zip(EIGHT_DEALS) {
        for line in visits(deal, 20) {
            let line = format!("shard={number} {line} {}", more(number));
            fixture = fixture.line(Relation::Visits, &line);
        }
    }
    fixture
}

/// `customers`, `customer_periods` by month and `purchases` from orders (customer, day, minor units), worked out
/// the plain way as of a day.
pub(crate) fn orders(orders: &[(i64, Day, i64)], as_of: Day) -> Relations {
    let calendar = Calendar::UTC;
    let month = |day: Day| calendar.start(Period::Month, day);
    let age = |from: Day, to: Day| calendar.distance(Period::Month, from, to);
    let mut customers: BTreeMap<i64, BTreeMap<Day, Vec<(Day, i64)>>> = BTreeMap::new();
    for (customer, day, amount) in orders {
        let months = customers.entry(*customer).or_default();
        months.entry(month(*day)).or_default().push((*day, *amount));
    }
    let mut fixture = Fixture::new(&["L", "Won", "Lost"])
        .relation(Relation::Customers)
        .relation(Relation::CustomerPeriods)
        .relation(Relation::Purchases);
    for (customer, months) in customers {
        let cohort = *months.keys().next().expect("an order");
        let all: Vec<&(Day, i64)> = months.values().flatten().collect();
        let days: std::collections::BTreeSet<Day> = all.iter().map(|(day, _)| *day).collect();
        let total: i64 = all.iter().map(|(_, amount)| amount).sum();
        fixture = fixture.line(
            Relation::Customers,
            &format!(
                "customer={customer} cohort_period={cohort} orders_n={} amount={total} \
                 purchase_days_n={}",
                all.len(),
                days.len()
            ),
        );
        fixture = purchases(fixture, customer, cohort, &days, as_of);
        let last = *months.keys().next_back().expect("an order");
        // The default brackets of ages end at 1, 3, 6 and 12.
        let bracket = |start: Day| [1, 3, 6, 12].iter().position(|l| age(cohort, start) <= *l);
        for (start, found) in &months {
            let is_new = *start == cohort;
            let is_returning = months.contains_key(&calendar.shift(Period::Month, *start, -1));
            let next = calendar.shift(Period::Month, *start, 1);
            let is_churned = !months.contains_key(&next) && next <= as_of;
            let before = months.get(&calendar.shift(Period::Month, *start, -1));
            let previous: i64 = before.into_iter().flatten().map(|(_, amount)| amount).sum();
            let mut earlier = months.keys().filter(|s| *s < start && **s > cohort);
            let is_bracket_first = !is_new
                && bracket(*start).is_some()
                && !earlier.any(|s| bracket(*s) == bracket(*start));
            let churned_start =
                if is_churned { format!("churned_start={next}") } else { "".into() };
            fixture = fixture.line(
                Relation::CustomerPeriods,
                &format!(
                    "customer={customer} grain=month cohort_start={cohort} period_start={start} \
                     age={} orders_n={} amount={} is_active=1 is_new={} is_returning={} is_reactivated={} \
                     is_churned={} is_last_active={} is_bracket_first={} previous_amount={previous} \
                     {churned_start}",
                    calendar.distance(Period::Month, cohort, *start),
                    found.len(),
                    found.iter().map(|(_, amount)| amount).sum::<i64>(),
                    u8::from(is_new),
                    u8::from(is_returning),
                    u8::from(!is_new && !is_returning),
                    u8::from(is_churned),
                    u8::from(*start == last),
                    u8::from(is_bracket_first),
                ),
            );
        }
    }
    fixture.build()
}

/// The purchase days of one customer; the default horizons are 30, 90, 180 and 365 days.
fn purchases(
    mut fixture: Fixture,
    customer: i64,
    cohort: Day,
    days: &BTreeSet<Day>,
    as_of: Day,
) -> Fixture {
    let within = |days: Day| [30, 90, 180, 365].iter().filter(|h| **h < days).count();
    for (place, day) in days.iter().enumerate() {
        let next = days.iter().nth(place + 1);
        let gap = next.unwrap_or(&as_of) - day;
        let line = format!(
            "customer={customer} cohort_period={cohort} purchased_on={day} gap_days={gap} \
             is_first={} is_last={} missed_horizons_n={} exposed_horizons_n={}",
            u8::from(place == 0),
            u8::from(next.is_none()),
            within(gap),
            within(as_of - day + 1),
        );
        fixture = fixture.line(Relation::Purchases, &line);
    }
    fixture
}

/// The same of the CDNOW one-in-ten sample, as of 1 July 1998, where the shared data is there.
pub(crate) fn cdnow_sample() -> Option<Relations> {
    let text = crate::stats::testdata::shared("cdnow/CDNOW_sample.txt")?;
    let rows = text.lines().map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let date = chrono::NaiveDate::parse_from_str(fields[2], "%Y%m%d").expect("a date");
        let (amount, _) = crate::money::from_text(fields[4], 2, crate::money::DecimalMark::Point)
            .expect("an amount");
        // The first number is the customer's in the master file, the second in the sample.
        (fields[1].parse().expect("a number"), crate::time::from_date(date), amount)
    });
    let as_of = chrono::NaiveDate::from_ymd_opt(1998, 7, 1).map(crate::time::from_date)?;
    Some(orders(&rows.collect::<Vec<_>>(), as_of))
}

/// The given relations without a row.
pub(crate) fn empty(relations: &[Relation]) -> Relations {
    let none = Fixture::new(&["L", "Q", "P", "Won", "Lost"]);
    relations.iter().fold(none, |fixture, relation| fixture.relation(*relation)).build()
}

fn order(stage: &str) -> usize {
    FIXTURE_STAGES.iter().position(|s| *s == stage).map_or(0, |p| p + 1)
}

fn kind(from: &str, to: &str) -> &'static str {
    match (order(from), order(to)) {
        (_, 0) if to == "Won" => "won",
        (_, 0) => "lost",
        (0, _) => "reopened",
        (from, to) if to == from + 1 => "advanced",
        (from, to) if to > from => "skipped",
        _ => "regressed",
    }
}

/// Rows of `visits` of one deal, worked out the plain way.
fn visits(deal: &[(&str, i64)], as_of: Day) -> Vec<String> {
    let entered = deal.iter().find(|(stage, _)| order(stage) == 1).map(|_| "deal_entered_period=0");
    let row = |at: usize| {
        let (stage, since) = deal[at];
        let seen = deal.iter().take(at).filter(|(s, _)| *s == stage).count();
        let (next, until) = deal.get(at + 1).copied().unwrap_or(("STILL", as_of.into()));
        let is_still = at + 1 == deal.len();
        let pairs = deal.iter().zip(deal.iter().skip(1)).take(at);
        let moved = pairs.filter(|((from, _), (to, _))| (*from, *to) == (stage, next)).count();
        let is_last = deal.iter().skip(at + 1).all(|(s, _)| *s != stage);
        let class = if order(stage) > 0 { "open".into() } else { stage.to_lowercase() };
        let (previous, arrival) = match at.checked_sub(1).map(|before| deal[before].0) {
            Some(previous) => (previous, kind(previous, stage)),
            None => ("START", "created"),
        };
        format!(
            "stage={stage} stage_class={class} stage_order={} visit_no={} prev_stage={previous} \
             arrival={arrival} next_stage={next} move={} entered_on={since} entered_period=0 \
             deal_created_period=0 {} dwell={} dwell_days={} is_censored={} is_entry={} is_first_visit={} \
             is_last_visit={} is_first_move={} is_first_exit={} amount=100 has_amount=1 \
             move_amount=200 has_move_amount=1",
            order(stage),
            seen + 1,
            if is_still { "still" } else { kind(stage, next) },
            entered.unwrap_or_default(),
            until - since,
            until - since,
            u8::from(is_still),
            u8::from(at == 0),
            u8::from(seen == 0),
            u8::from(is_last),
            u8::from(moved == 0 && !is_still),
            u8::from(seen == 0 && !is_still),
        )
    };
    (0..deal.len()).map(row).collect()
}

/// The key of the whole history.
pub(crate) const WHOLE: i64 = NO_KEY;
