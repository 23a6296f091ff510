//! Who should act on what: deals that stand still, deals about to be won, customers that fall silent,
//! the best of them at risk, targets off pace.
//!
//! It says nothing that other tables do not say of all deals and customers; it picks those that cross a
//! threshold, and says by how much and since when. A score compares subjects of one kind only.

use std::collections::BTreeMap;

use super::chain::STAYS;
use super::curves::{CURVES, Curves, Tallies, WON, place};
use super::deal_text;
use super::forecast_deals::{OPEN_DEALS, OpenDeal};
use super::paces::{CREDITED, Pace, TARGETS, paces};
use crate::error::Error;
use crate::metrics::lifetime::customer_value::{CUSTOMERS, Customer, judge, read};
use crate::metrics::{Group, Identity, Metric, NO_KEY, Rows, Settings, StateView, View};
use crate::money;
use crate::relations::customer_ids;
use crate::relations::visits::MOVES;
use crate::stats::competing::Cause;
use crate::stats::float;
use crate::table::{ColumnSpec, Value};
use crate::time::{Day, NO_DAY, Period};

/// Definition: `stalled_deal`: longer in its stage than `[triggers] stalled_quantile` of all visits to
/// it, by Kaplan and Meier with visits that have not ended; the score is how many times as long.
/// `hot_deal`: one of the `hot_deals` open deals of the greatest probability of being won within
/// `hot_days` × amount, which is the score. `silent_customer`: P(alive) of `customer_value` is below
/// `silent_p_alive`; the score is what is missing to 1. `vip_at_risk`: the same below `vip_p_alive` of a
/// customer whose net amount is among the highest fifth, who is not listed as silent, too.
/// `target_off_pace`: of an owner, or of everybody, less was won than `off_pace` of target × working days
/// that are over / all; the score is what is missing to 1, the amount what is missing by now. Of several
/// targets it is the one that is furthest behind.
///
/// Edge cases: of each kind `list_max` are listed, those that crossed the threshold, or bought, last.
/// No stalled deals in a stage of which so large a share was not seen to leave; no customers
/// without a fit that can be used. Without customers or targets there are none of them; those of teams, and of anything
/// but net_won_amount, are not looked at.
pub static METRIC: Metric = Metric {
    name: "triggers",
    question: "Which deals, customers and targets need somebody to act, and why?",
    grain: "one row per kind of trigger and deal, customer or owner",
    states: &[OPEN_DEALS, CURVES, STAYS, CUSTOMERS_IF_ANY, TARGETS, CREDITED],
    output: OUTPUT,
    view: View::Table,
    references: &[
        "Kaplan and Meier, 1958, Nonparametric Estimation from Incomplete Observations",
        "Batislam, Denizel and Filiztekin, 2007, Empirical Validation and Comparison of Models for \
         Customer Base Analysis",
    ],
    finish,
    identities: IDENTITIES,
};

const CUSTOMERS_IF_ANY: crate::metrics::State =
    crate::metrics::State { absent: crate::metrics::Absent::NoRows, ..CUSTOMERS };

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::text(
        "trigger_kind",
        "stalled_deal, hot_deal, silent_customer, vip_at_risk or target_off_pace.",
    )
    .key(),
    ColumnSpec::text("subject_id", "The deal's, customer's or owner's identifier; everybody.")
        .key(),
    ColumnSpec::text("subject", "deal, customer or owner."),
    ColumnSpec::text("deal_owner", "The deal's latest owner; null if unknown, or of a customer.")
        .nullable(),
    ColumnSpec::text("deal_stage", "The stage the deal is in; null of a customer.").nullable(),
    ColumnSpec::number("score", "by kind", "How much it needs somebody; by kind, see there."),
    ColumnSpec::date(
        "since_on",
        "Since when: over the threshold, in the stage, last purchase, target.",
    )
    .nullable(),
    ColumnSpec::money(
        "amount",
        "The deal's amount, what the customer has brought, what is missing; or null.",
    )
    .nullable(),
    ColumnSpec::number("measured", "by kind", "What is held against the threshold."),
    ColumnSpec::number("threshold", "by kind", "The threshold; null of a hot deal.").nullable(),
    ColumnSpec::count("found_n", "subjects", "How many there are of the kind, listed or not."),
    ColumnSpec::text("rule", "What was asked."),
    ColumnSpec::text("why", "What was found."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "a stalled deal measures no less than its threshold, a customer or target no more",
        holds: |row| {
            let (measured, threshold) = (row.float("measured"), row.float("threshold"));
            match row.text("trigger_kind") {
                Some("stalled_deal") => measured >= threshold && threshold.is_some(),
                Some("hot_deal") => threshold.is_none(),
                _ => measured <= threshold,
            }
        },
    },
    Identity {
        claim: "score ≥ 0",
        holds: |row| row.float("score").is_some_and(|score| score >= 0.0),
    },
];

/// One row.
struct Trigger {
    kind: &'static str,
    id: String,
    subject: &'static str,
    owner: Option<i64>,
    stage: Option<i64>,
    score: f64,
    since: i64,
    amount: Option<i64>,
    measured: f64,
    threshold: Option<f64>,
    rule: String,
    why: String,
}

/// How many were found of a kind, and those that are listed.
struct Found {
    found_n: usize,
    listed: Vec<Trigger>,
}

/// One who crossed a threshold: since when, the amount and the identifier by which the latest are told,
/// and what it is.
struct Candidate<T> {
    since: i64,
    amount: i64,
    id: (i64, i64),
    of: T,
}

/// The latest of the candidates; of one day those of the largest amount.
fn latest<T>(mut all: Vec<Candidate<T>>, most: usize, tell: impl Fn(&T) -> Trigger) -> Found {
    let found_n = all.len();
    all.sort_by_key(|own| (-own.since, -own.amount, own.id));
    Found { found_n, listed: all.iter().take(most).map(|own| tell(&own.of)).collect() }
}

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [open, curves, stays, customers, targets, credited] = group.states else {
        return Err(Error::Bug("triggers have six states".into()));
    };
    if group.period != Period::All {
        return Ok(());
    }
    let settings = group.settings;
    let deals = OpenDeal::read(open)?;
    let mut all = vec![
        stalled(&deals, stays, settings)?,
        hot(&deals, &Curves::read(curves, settings)?, settings),
        off_pace(&paces(targets, credited, settings)?, settings),
    ];
    if customers.rows() > 0 {
        all.extend(of_customers(customers, settings)?);
    }
    let listed = all.iter().flat_map(|own| own.listed.iter().map(|one| (one, own.found_n)));
    let mut listed: Vec<(&Trigger, usize)> = listed.collect();
    listed.sort_by(|(a, _), (b, _)| (a.kind, &a.id).cmp(&(b.kind, &b.id)));
    listed.into_iter().try_for_each(|(trigger, found_n)| push(rows, trigger, found_n, settings))
}

/// A share in percent, as short as it is.
fn percent(share: f64) -> String {
    let percent = (share * 1_000.0).round() / 10.0;
    format!("{percent} %")
}

fn stalled(deals: &[OpenDeal], stays: &StateView<'_>, settings: &Settings) -> Result<Found, Error> {
    let share = settings.triggers.stalled_quantile;
    let lasting = ["still", "deleted"].map(|name| MOVES.iter().position(|m| *m == name));
    let keys = stays.key("stage")?.iter().zip(stays.key("move")?).zip(stays.key("stay_days")?);
    let mut tallies: BTreeMap<i64, Tallies> = BTreeMap::new();
    for (((stage, kind), days), n) in keys.zip(stays.value("stay_n")?) {
        let has_left = !lasting.contains(&usize::try_from(*kind).ok());
        // Of two endings the first stands for any exit.
        tallies.entry(*stage).or_default().add(*days, if has_left { WON } else { 0 }, *n);
    }
    let limits: BTreeMap<i64, i64> = tallies
        .into_iter()
        .filter_map(|(stage, all)| Some((stage, all.fit().quantile(Cause::First, share)?)))
        .collect();
    let today = settings.calendar.day(settings.as_of);
    let rule = format!("longer in its stage than {} of all visits to it", percent(share));
    let candidate = |deal: &OpenDeal| {
        let (age, limit) = (deal.age(today)?, *limits.get(&deal.stage)?);
        let since = deal.entered + limit;
        let amount = deal.amount.unwrap_or(0);
        (age > limit).then_some(Candidate { since, amount, id: deal.id, of: (*deal, age, limit) })
    };
    let stalled = |(deal, age, limit): &(OpenDeal, i64, i64)| Trigger {
        kind: "stalled_deal",
        id: deal_text(deal.id.0, deal.id.1, &settings.dictionaries),
        subject: "deal",
        owner: Some(deal.owner),
        stage: Some(deal.stage),
        score: float(*age) / float((*limit).max(1)),
        since: deal.entered + limit,
        amount: deal.amount,
        measured: float(*age),
        threshold: Some(float(*limit)),
        rule: rule.clone(),
        why: format!(
            "{age} days in {}; {} leave within {limit}",
            place(deal.stage, settings).1,
            percent(share)
        ),
    };
    let all = deals.iter().filter_map(candidate).collect();
    Ok(latest(all, settings.triggers.list_max, stalled))
}

fn hot(deals: &[OpenDeal], curves: &Curves<'_>, settings: &Settings) -> Found {
    let today = settings.calendar.day(settings.as_of);
    let days = settings.triggers.hot_days;
    let mut known: BTreeMap<(i64, i64, i64), f64> = BTreeMap::new();
    let mut valued: Vec<(i64, f64, &OpenDeal)> = Vec::new();
    for deal in deals {
        let (Some(age), Some(amount)) = (deal.age(today), deal.amount) else { continue };
        let p = *known.entry((deal.stage, deal.segment, age)).or_insert_with(|| {
            let judged = curves.judge((deal.stage, deal.segment), age, settings);
            judged.map_or(0.0, |judged| judged.outlook.within(days)[0])
        });
        let expected = (p * amount as f64).round_ties_even() as i64;
        if expected > 0 {
            valued.push((expected, p, deal));
        }
    }
    // Of equal ones the lower identifier, so that a list cut off is always the same.
    valued.sort_by_key(|(expected, _, deal)| (-expected, deal.id));
    let found_n = valued.len();
    valued.truncate(settings.triggers.hot_deals);
    let unit = 10_f64.powi(i32::from(settings.money_scale));
    let hot = |(expected, p, deal): (i64, f64, &OpenDeal)| Trigger {
        kind: "hot_deal",
        id: deal_text(deal.id.0, deal.id.1, &settings.dictionaries),
        subject: "deal",
        owner: Some(deal.owner),
        stage: Some(deal.stage),
        score: expected as f64 / unit,
        since: deal.entered,
        amount: deal.amount,
        measured: p,
        threshold: None,
        rule: format!(
            "among the {} of the highest expected amount within {days} days",
            settings.triggers.hot_deals
        ),
        why: format!(
            "{} within {days} days of {}",
            percent(p),
            money::to_text(deal.amount.unwrap_or(0), settings.money_scale)
        ),
    };
    Found { found_n, listed: valued.into_iter().map(hot).collect() }
}

/// The best customers at risk, and the others that are silent.
fn of_customers(state: &StateView<'_>, settings: &Settings) -> Result<[Found; 2], Error> {
    let thresholds = &settings.triggers;
    let customers = read(state)?;
    let judged = judge(&customers, &settings.clv, &settings.customers.tiers);
    let mut kinds = [Vec::new(), Vec::new()];
    let [best, others] = &mut kinds;
    for (customer, judged) in customers.iter().zip(judged) {
        let Some(alive) = judged.alive.map(|p| (p * 1e6).round_ties_even() / 1e6) else { continue };
        let is_best = judged.scores.is_some_and(|[_, _, monetary]| monetary == 5);
        let (own, threshold) = match is_best {
            true => (&mut *best, thresholds.vip_p_alive),
            false => (&mut *others, thresholds.silent_p_alive),
        };
        if alive < threshold {
            let since = customer.recency - customer.age;
            let (amount, id) = (customer.amount, customer.id);
            own.push(Candidate { since, amount, id, of: (*customer, alive) });
        }
    }
    let [best, others] = kinds;
    let most = thresholds.list_max;
    let tell = |kind: &'static str, threshold: f64, who: &'static str| {
        move |own: &(Customer, f64)| at_risk(kind, threshold, who, own, settings)
    };
    let who = "of the highest fifth by amount and ";
    Ok([
        latest(best, most, tell("vip_at_risk", thresholds.vip_p_alive, who)),
        latest(others, most, tell("silent_customer", thresholds.silent_p_alive, "")),
    ])
}

fn at_risk(
    kind: &'static str,
    threshold: f64,
    who: &str,
    (customer, alive): &(Customer, f64),
    settings: &Settings,
) -> Trigger {
    let today = i64::from(settings.calendar.day(settings.as_of));
    let silent_days = customer.age - customer.recency;
    let (high, low) = customer.id;
    Trigger {
        kind,
        id: customer_ids::text(high, low, &settings.dictionaries).unwrap_or_default(),
        subject: "customer",
        owner: None,
        stage: None,
        score: 1.0 - alive,
        since: today - silent_days,
        amount: Some(customer.amount),
        measured: *alive,
        threshold: Some(threshold),
        rule: format!("{who}still a customer with less than {}", percent(threshold)),
        why: format!(
            "{} after {silent_days} days without a purchase; {} purchase days before",
            percent(*alive),
            customer.purchase_days_n
        ),
    }
}

fn off_pace(paces: &[Pace], settings: &Settings) -> Found {
    let threshold = settings.triggers.off_pace;
    let text = |minor: f64| money::to_text(minor.round_ties_even() as i64, settings.money_scale);
    let behind = paces.iter().filter(|own| own.pace() < threshold);
    let trigger = |own: &Pace| Trigger {
        kind: "target_off_pace",
        id: own.owner.clone().unwrap_or_else(|| "everybody".into()),
        subject: "owner",
        owner: None,
        stage: None,
        score: 1.0 - own.pace(),
        since: own.starts,
        amount: Some((own.due() - own.reached as f64).round_ties_even() as i64),
        measured: own.pace(),
        threshold: Some(threshold),
        rule: format!("less than {} of what is expected by now", percent(threshold)),
        why: format!(
            "{} of {} expected after {} of the working days; the target is {}",
            text(own.reached as f64),
            text(own.due()),
            percent(own.elapsed),
            text(own.goal as f64)
        ),
    };
    let listed: Vec<Trigger> = behind.map(trigger).collect();
    Found { found_n: listed.len(), listed }
}

fn push(
    rows: &mut Rows<'_>,
    trigger: &Trigger,
    found_n: usize,
    settings: &Settings,
) -> Result<(), Error> {
    let named = |dictionary: &str, code: Option<i64>| {
        let name = code.and_then(|code| settings.dictionaries.name(dictionary, code));
        name.map_or(Value::Null, Value::Text)
    };
    let stage = trigger.stage.map_or(Value::Null, |s| Value::Text(place(s, settings).1));
    let since = Day::try_from(trigger.since).ok().filter(|_| trigger.since != NO_KEY);
    let number = |value: f64| Value::Float((value * 1e6).round_ties_even() / 1e6);
    rows.push(
        NO_DAY,
        &[
            ("trigger_kind", Value::Text(trigger.kind)),
            ("subject_id", Value::Text(&trigger.id)),
            ("subject", Value::Text(trigger.subject)),
            ("deal_owner", named("owner", trigger.owner)),
            ("deal_stage", stage),
            ("score", number(trigger.score)),
            ("since_on", since.map_or(Value::Null, Value::Date)),
            ("amount", Value::money(trigger.amount)),
            ("measured", number(trigger.measured)),
            ("threshold", trigger.threshold.map_or(Value::Null, number)),
            ("found_n", Value::Int(found_n as i64)),
            ("rule", Value::Text(&trigger.rule)),
            ("why", Value::Text(&trigger.why)),
        ],
    )
}
