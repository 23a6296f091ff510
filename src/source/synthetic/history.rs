//! What happens to one deal, from its first event to the end of the history.
//!
//! Every row is an entry into a stage (no two rows of a deal in a row name the same stage), times
//! within a deal strictly increase, and every deal begins as a lead. A deal depends on the seed
//! and its number only, so no deal needs another one to be made first.

use super::dice::{Dice, Subject};
use super::world::{
    LEAD, LOST, NEGOTIATION, Owner, PRODUCTS, Product, REGIONS, Region, SOURCES, Source, WON, World,
};
use crate::money::NO_AMOUNT;
use crate::time::{Day, MICROS_PER_DAY};

/// One row of the deal events.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    /// When, in microseconds since the epoch.
    pub(super) at: i64,
    /// Number of the deal, from 0.
    pub(super) deal: u64,
    /// Number of the customer: that of its first deal.
    pub(super) customer: u64,
    /// In minor units, or [`NO_AMOUNT`].
    pub(super) amount: i64,
    /// Position in the world's owners.
    pub(super) owner: u16,
    pub(super) region: u8,
    /// Position in [`SOURCES`], or [`NO_SOURCE`].
    pub(super) source: u8,
    pub(super) product: u8,
    pub(super) stage: u8,
    /// When the row stops holding: at the deal's next event, or never ([`i64::MAX`]).
    pub(super) until: i64,
    /// What the event before said.
    pub(super) before: Option<Before>,
}

/// What the event before said of what can change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before {
    pub(super) amount: i64,
    pub(super) owner: u16,
    pub(super) stage: u8,
}

/// Stands for an unknown source.
pub(super) const NO_SOURCE: u8 = u8::MAX;

const SECONDS_PER_DAY: f64 = 86_400.0;

/// How long deals wait in an open stage, and how likely they leave it in which way.
struct Stay {
    /// Median of the wait, in days.
    days: f64,
    /// Standard deviation of the wait's logarithm.
    sigma: f64,
    /// Weights of going one stage on, two stages on, one back, to lost, nowhere any more.
    moves: [f64; 5],
}

/// By stage code.
const STAYS: [Stay; 4] = [
    Stay { days: 4.0, sigma: 1.20, moves: [0.58, 0.05, 0.00, 0.27, 0.10] },
    Stay { days: 9.0, sigma: 1.00, moves: [0.60, 0.05, 0.03, 0.25, 0.07] },
    Stay { days: 12.0, sigma: 0.90, moves: [0.61, 0.03, 0.05, 0.26, 0.05] },
    Stay { days: 10.0, sigma: 0.95, moves: [0.57, 0.00, 0.07, 0.32, 0.04] },
];

const SKIPPED: usize = 1;
const REGRESSED: usize = 2;
const LOSES: usize = 3;
const STALLS: usize = 4;

/// Share of the deals whose customer is new.
const NEW_CUSTOMER_SHARE: f64 = 0.55;
/// Share of the deals whose source is unknown.
const NO_SOURCE_SHARE: f64 = 0.01;
/// Share of the deals whose amount is never known, and of those that are for nothing.
const NO_AMOUNT_SHARE: f64 = 0.008;
const ZERO_AMOUNT_SHARE: f64 = 0.007;
/// Share of the later deals of a customer that are credit notes, won with a negative amount.
const CREDIT_SHARE: f64 = 0.012;
/// Shares of the won and of the lost deals that are opened again.
const WON_REOPENED_SHARE: f64 = 0.005;
const LOST_REOPENED_SHARE: f64 = 0.035;
/// Share of the moves at which the owner changes.
const HANDOVER_SHARE: f64 = 0.03;
/// More rows than a deal ever gets; it bounds the loop.
const ROWS_MAX: usize = 64;

/// The number of the customer of a deal.
///
/// Definition: a deal founds a customer with probability 0.55; else it takes the customer of a
/// deal created one to many months before it, chosen without regard to whose it is. A customer
/// with many deals is therefore chosen more often still, which gives the skew of real customer
/// lists, and one without recent deals is forgotten. Source: Simon, 1955, On a class of skew
/// distribution functions.
fn customer_of(world: &World, deal: u64) -> u64 {
    let mut deal = deal;
    loop {
        let mut dice = Dice::new(world.seed, Subject::Origin, deal);
        if dice.chance(NEW_CUSTOMER_SHARE) {
            return deal;
        }
        let day = world.intake.day(deal) - 20.0 - dice.wait(200.0);
        let earlier = world.intake.deals_before(day);
        // Before the history began there was nobody to come back.
        if day < 0.0 || earlier >= deal {
            return deal;
        }
        deal = earlier;
    }
}

/// Appends every event of a deal that happens before the world ends; returns its customer.
pub(super) fn tell(world: &World, deal: u64, events: &mut Vec<Event>) -> u64 {
    let mut teller = Teller::new(world, deal);
    let end = i64::from(world.end()) * MICROS_PER_DAY;
    let first = events.len();
    let mut next = Some(LEAD);
    for _ in 0..ROWS_MAX {
        let Some(stage) = next else { break };
        if teller.seconds * 1_000_000 >= end {
            break;
        }
        teller.stage = stage;
        events.push(teller.event());
        next = teller.leave();
    }
    link(events.get_mut(first..).unwrap_or_default());
    teller.customer
}

/// Gives every event of a deal the amount that is known then: an event without one changes nothing,
/// but a full row without one says that there is none.
pub(super) fn carry_amounts(events: &mut [Event]) {
    let mut known = NO_AMOUNT;
    for event in events.iter_mut() {
        if event.amount != NO_AMOUNT {
            known = event.amount;
        }
        event.amount = known;
    }
    link(events);
}

/// Tells each event of a deal what was before it and when it ends.
fn link(events: &mut [Event]) {
    let mut before: Option<Before> = None;
    for event in events.iter_mut() {
        let Event { amount, owner, stage, .. } = *event;
        event.before = before.replace(Before { amount, owner, stage });
    }
    let mut until = i64::MAX;
    for event in events.iter_mut().rev() {
        event.until = std::mem::replace(&mut until, event.at);
    }
}

/// A deal while its history is being told.
struct Teller<'w> {
    world: &'w World,
    dice: Dice,
    number: u64,
    customer: u64,
    region: u8,
    source: u8,
    product: u8,
    owner: u16,
    kind: DealKind,
    /// What makes leaving forwards more likely, per stage.
    luck: f64,
    /// Factor of the waits that does not come from the owner.
    pace: f64,
    /// The price, in minor units; the event's amount may still be unknown.
    price: i64,
    knowledge: Knowledge,
    seconds: i64,
    stage: u8,
}

/// What sort of deal it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DealKind {
    Sale,
    Credit,
}

/// When the amount is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Knowledge {
    Always,
    /// From the second event on.
    Later,
    Never,
}

impl<'w> Teller<'w> {
    fn new(world: &'w World, number: u64) -> Self {
        let customer = customer_of(world, number);
        let mut known = Dice::new(world.seed, Subject::Customer, customer);
        let region = known.pick(REGIONS.iter().map(|r| r.share));
        let size = known.factor(0.45);
        let mut dice = Dice::new(world.seed, Subject::Deal, number);
        let day = world.intake.day(number);
        let years = day / 365.25;
        let source = dice.pick(SOURCES.iter().map(|s| s.share * s.drift.powf(years)));
        let product = dice.pick(PRODUCTS.iter().map(|p| p.share));
        let returning = customer != number;
        let owner = pick_owner(world, &mut dice, region);
        let (in_region, from, sold) = (region_at(region), source_at(source), product_at(product));
        let win = in_region.win * from.win * sold.win * owner_at(world, owner).win;
        let win = win * dice.factor(0.30) * if returning { 1.5 } else { 1.0 };
        let pace = from.pace * sold.pace * dice.factor(0.25);
        let base = sold.price * in_region.amount * size * 1.03_f64.powf(years);
        let kind =
            if returning && dice.chance(CREDIT_SHARE) { DealKind::Credit } else { DealKind::Sale };
        let (price, knowledge) = price(&mut dice, base, kind);
        let source = if dice.chance(NO_SOURCE_SHARE) { NO_SOURCE } else { source as u8 };
        let seconds = office_time(&mut dice, world.start() + day as Day);
        Self {
            world,
            dice,
            number,
            customer,
            region: region as u8,
            source,
            product: product as u8,
            owner,
            kind,
            luck: win.sqrt(),
            pace,
            price,
            knowledge,
            seconds,
            stage: LEAD,
        }
    }

    /// The row for the stage just entered.
    fn event(&self) -> Event {
        let unknown = match self.knowledge {
            Knowledge::Always => false,
            Knowledge::Later => self.stage == LEAD,
            Knowledge::Never => true,
        };
        Event {
            at: self.seconds * 1_000_000,
            deal: self.number,
            customer: self.customer,
            amount: if unknown { NO_AMOUNT } else { self.price },
            owner: self.owner,
            region: self.region,
            source: self.source,
            product: self.product,
            stage: self.stage,
            until: i64::MAX,
            before: None,
        }
    }

    /// Moves the clock to the deal's next event and says which stage it enters, or that nothing
    /// happens to it any more.
    fn leave(&mut self) -> Option<u8> {
        if self.kind == DealKind::Credit {
            return (self.stage == LEAD).then(|| {
                self.wait(0.3, 0.5);
                WON
            });
        }
        match STAYS.get(usize::from(self.stage)) {
            Some(stay) => self.leave_open(stay),
            None => self.reopen(),
        }
    }

    fn leave_open(&mut self, stay: &Stay) -> Option<u8> {
        // Luck acts on every step, so its root is taken once and the product over the steps of a
        // typical win comes near to the factors of the region, source, product and owner.
        let [on, skip, back, lose, stall] = stay.moves;
        let weights = [on * self.luck, skip * self.luck, back, lose, stall];
        let chosen = self.dice.pick(weights.into_iter());
        // Losing is admitted late; a stage is skipped by those in a hurry.
        let (next, haste) = match chosen {
            STALLS => return None,
            LOSES => (LOST, 1.4),
            REGRESSED => (self.stage - 1, 1.0),
            SKIPPED => (self.stage + 2, 0.7),
            _ => (self.stage + 1, 1.0),
        };
        let owner = owner_at(self.world, self.owner).pace;
        self.wait(stay.days * haste * self.pace * owner, stay.sigma);
        if self.dice.chance(HANDOVER_SHARE) {
            self.owner = pick_owner(self.world, &mut self.dice, usize::from(self.region));
        }
        self.bargain(next);
        Some(next)
    }

    fn reopen(&mut self) -> Option<u8> {
        let (share, days) = if self.stage == WON {
            (WON_REOPENED_SHARE, 20.0)
        } else {
            (LOST_REOPENED_SHARE, 45.0)
        };
        if !self.dice.chance(share) {
            return None;
        }
        self.wait(days, 0.8);
        Some(if self.stage == WON || self.dice.chance(0.3) {
            NEGOTIATION
        } else {
            LEAD + 1 + u8::from(self.dice.chance(0.5))
        })
    }

    /// Amounts change as deals move on, and mostly fall when they are won.
    fn bargain(&mut self, next: u8) {
        if next == LOST || self.price == 0 {
            return;
        }
        let factor = if next == WON {
            if !self.dice.chance(0.35) {
                return;
            }
            1.0 - 0.2 * self.dice.unit()
        } else {
            if !self.dice.chance(0.20) {
                return;
            }
            self.dice.factor(0.18)
        };
        self.price = round_price(self.price as f64 * factor);
    }

    /// Advances the clock by a lognormal wait, mostly into office hours.
    fn wait(&mut self, days: f64, sigma: f64) {
        let seconds = (days * self.dice.factor(sigma) * SECONDS_PER_DAY) as i64;
        // Five years stands for never; it is past the horizon of most histories.
        let earliest = self.seconds + seconds.clamp(300, 5 * 365 * 86_400);
        let day = earliest.div_euclid(86_400);
        // 1970-01-01 was a Thursday: day 0 of a week that began on Monday three days before.
        let weekday = (day + 3).rem_euclid(7);
        let day = if weekday >= 5 && self.dice.chance(0.8) { day + 7 - weekday } else { day };
        // The day's 24 hours are pressed into the ten from 8:00; where that would turn time back,
        // the event happens out of hours.
        let within = earliest.rem_euclid(86_400) * 10 / 24;
        let pressed = day * 86_400 + 8 * 3_600 + within;
        self.seconds = if pressed > self.seconds { pressed } else { earliest };
    }
}

/// A time of day between 7:00 and 19:00, most often at noon, in seconds since the epoch.
fn office_time(dice: &mut Dice, day: Day) -> i64 {
    let hours = 7.0 + 6.0 * (dice.unit() + dice.unit());
    i64::from(day) * 86_400 + (hours * 3_600.0) as i64
}

fn price(dice: &mut Dice, base: f64, kind: DealKind) -> (i64, Knowledge) {
    let amount = round_price(base * dice.factor(0.55) * 100.0);
    if kind == DealKind::Credit {
        return (-round_price(amount as f64 * (0.1 + 0.5 * dice.unit())), Knowledge::Always);
    }
    let fate = dice.unit();
    let knowledge = if fate < NO_AMOUNT_SHARE {
        Knowledge::Never
    } else if fate > 0.88 {
        Knowledge::Later
    } else {
        Knowledge::Always
    };
    let free = (NO_AMOUNT_SHARE..NO_AMOUNT_SHARE + ZERO_AMOUNT_SHARE).contains(&fate);
    (if free { 0 } else { amount }, knowledge)
}

/// Prices are quoted in tens of units when they are large, in whole units when small; in minor
/// units, at least one unit.
fn round_price(minor: f64) -> i64 {
    let step = if minor.abs() >= 500_000.0 { 1_000.0 } else { 50.0 };
    ((minor / step).round() * step).max(100.0) as i64
}

/// An owner of the region; the first ones get more deals.
fn pick_owner(world: &World, dice: &mut Dice, region: usize) -> u16 {
    let slot = dice.unit().powf(1.4) * world.owners_per_region as f64;
    (region * world.owners_per_region + slot as usize) as u16
}

#[expect(clippy::indexing_slicing, reason = "dice pick positions of this very array")]
fn region_at(position: usize) -> &'static Region {
    &REGIONS[position]
}

#[expect(clippy::indexing_slicing, reason = "dice pick positions of this very array")]
fn source_at(position: usize) -> &'static Source {
    &SOURCES[position]
}

#[expect(clippy::indexing_slicing, reason = "dice pick positions of this very array")]
fn product_at(position: usize) -> &'static Product {
    &PRODUCTS[position]
}

#[expect(clippy::indexing_slicing, reason = "pick_owner gives positions of the world's owners")]
fn owner_at(world: &World, position: u16) -> &Owner {
    &world.owners[usize::from(position)]
}
