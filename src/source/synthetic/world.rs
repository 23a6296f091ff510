//! The world the histories happen in: regions, sources, products, owners, and how many deals are
//! created on which day. No deal's history is told here.

use super::GenerateOptions;
use super::dice::{Dice, Subject};
use crate::time::{Calendar, Day, Period, to_date};

use chrono::Datelike;

/// Stage ids by code: four open stages in order, then won, then lost.
pub(super) const STAGES: [&str; 6] =
    ["lead", "qualified", "proposal", "negotiation", "won", "lost"];
/// Code of the stage `lead`.
pub(super) const LEAD: u8 = 0;
/// Code of the stage `negotiation`, the last open one.
pub(super) const NEGOTIATION: u8 = 3;
/// Code of the stage `won`.
pub(super) const WON: u8 = 4;
/// Code of the stage `lost`.
pub(super) const LOST: u8 = 5;

/// A region: its share of customers, and what it does to winning and to amounts.
pub(super) struct Region {
    pub(super) name: &'static str,
    pub(super) share: f64,
    pub(super) win: f64,
    pub(super) amount: f64,
}

/// The regions.
pub(super) const REGIONS: [Region; 6] = [
    Region { name: "US East", share: 0.26, win: 1.10, amount: 1.15 },
    Region { name: "US West", share: 0.21, win: 1.05, amount: 1.25 },
    Region { name: "Latin America", share: 0.10, win: 0.80, amount: 0.60 },
    Region { name: "Northern Europe", share: 0.19, win: 1.20, amount: 1.05 },
    Region { name: "Southern Europe", share: 0.11, win: 0.90, amount: 0.75 },
    Region { name: "Asia Pacific", share: 0.13, win: 0.75, amount: 0.85 },
];

/// A source of deals, which is also a channel of spend.
pub(super) struct Source {
    pub(super) name: &'static str,
    /// Share of the deals in the first year.
    pub(super) share: f64,
    /// Factor by which that share changes each year.
    pub(super) drift: f64,
    pub(super) win: f64,
    /// Factor of the stage times.
    pub(super) pace: f64,
    /// What a deal from here costs on average, in units of currency.
    pub(super) cost: f64,
    /// How the cost divides into [`COST_TYPES`].
    pub(super) split: [f64; 3],
}

/// The sources.
pub(super) const SOURCES: [Source; 7] = [
    source("organic_search", (0.22, 0.97), (1.10, 1.00), 32.0, [0.00, 0.75, 0.25]),
    source("paid_search", (0.20, 1.02), (0.85, 0.95), 118.0, [0.80, 0.12, 0.08]),
    source("paid_social", (0.12, 1.14), (0.65, 1.05), 96.0, [0.82, 0.12, 0.06]),
    source("referral", (0.12, 1.00), (1.60, 0.80), 41.0, [0.00, 0.60, 0.40]),
    source("events", (0.11, 0.92), (1.15, 1.15), 230.0, [0.55, 0.40, 0.05]),
    source("outbound", (0.15, 0.96), (0.75, 1.25), 165.0, [0.00, 0.85, 0.15]),
    source("partner", (0.08, 1.08), (1.35, 0.90), 74.0, [0.20, 0.70, 0.10]),
];

/// Kinds of cost.
pub(super) const COST_TYPES: [&str; 3] = ["media", "people", "tools"];

const fn source(
    name: &'static str,
    (share, drift): (f64, f64),
    (win, pace): (f64, f64),
    cost: f64,
    split: [f64; 3],
) -> Source {
    Source { name, share, drift, win, pace, cost, split }
}

/// A product: its share of the deals, its median price, and what it does to winning and time.
pub(super) struct Product {
    pub(super) name: &'static str,
    pub(super) share: f64,
    pub(super) price: f64,
    pub(super) win: f64,
    pub(super) pace: f64,
}

/// The products.
pub(super) const PRODUCTS: [Product; 5] = [
    Product { name: "Starter", share: 0.30, price: 1_200.0, win: 1.15, pace: 0.70 },
    Product { name: "Team", share: 0.28, price: 5_400.0, win: 1.05, pace: 0.90 },
    Product { name: "Business", share: 0.22, price: 18_500.0, win: 0.95, pace: 1.15 },
    Product { name: "Enterprise", share: 0.08, price: 92_000.0, win: 0.75, pace: 1.60 },
    Product { name: "Services", share: 0.12, price: 7_500.0, win: 1.20, pace: 0.80 },
];

/// Somebody who owns deals.
pub(super) struct Owner {
    /// Its id, `rep-` and a number.
    pub(super) id: String,
    /// Its team, within its region.
    pub(super) team: String,
    /// Position of its region in [`REGIONS`].
    pub(super) region: usize,
    pub(super) win: f64,
    pub(super) pace: f64,
}

/// Everything the histories share.
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) deals: u64,
    /// First day of every month, and the day after the last month.
    pub(super) month_starts: Vec<Day>,
    /// Which deal is created when.
    pub(super) intake: Intake,
    /// Owners, region after region, [`World::owners_per_region`] each.
    pub(super) owners: Vec<Owner>,
    pub(super) owners_per_region: usize,
    months: Vec<u16>,
}

impl World {
    /// The world of the given options, which must have been checked.
    pub(super) fn new(options: &GenerateOptions) -> Self {
        let calendar = Calendar::UTC;
        let first = calendar.start(Period::Month, options.start);
        let month_starts: Vec<Day> =
            (0..=options.months).map(|m| calendar.shift(Period::Month, first, m as i32)).collect();
        let lengths = month_starts.iter().zip(month_starts.iter().skip(1)).map(|(a, b)| b - a);
        let months: Vec<u16> = lengths
            .enumerate()
            .flat_map(|(m, days)| std::iter::repeat_n(m as u16, days as usize))
            .collect();
        // A company has more people when it has more deals, but not in proportion.
        let owners_per_region = (options.deals.isqrt() / 60).clamp(3, 200) as usize;
        Self {
            seed: options.seed,
            deals: options.deals,
            intake: Intake::new(options.seed, options.deals, first, &months),
            owners: owners(options.seed, owners_per_region),
            owners_per_region,
            month_starts,
            months,
        }
    }

    /// The first day.
    pub(super) fn start(&self) -> Day {
        self.month_starts.first().copied().unwrap_or_default()
    }

    /// The day after the last one.
    pub(super) fn end(&self) -> Day {
        self.month_starts.last().copied().unwrap_or_default()
    }

    /// How many months there are.
    pub(super) fn months_n(&self) -> usize {
        self.month_starts.len().saturating_sub(1)
    }

    /// The number of the month that holds `day`, from 0; the number of months after the last day.
    pub(super) fn month(&self, day: Day) -> usize {
        usize::try_from(day - self.start())
            .ok()
            .and_then(|day| self.months.get(day))
            .map_or(self.months_n(), |m| usize::from(*m))
    }
}

fn owners(seed: u64, per_region: usize) -> Vec<Owner> {
    let teams = (per_region / 8).max(2);
    let mut owners = Vec::with_capacity(per_region * REGIONS.len());
    for (region, known) in REGIONS.iter().enumerate() {
        for slot in 0..per_region {
            let mut dice = Dice::new(seed, Subject::Owner, owners.len() as u64);
            owners.push(Owner {
                id: format!("rep-{:04}", owners.len() + 1),
                team: format!("{} {}", known.name, slot % teams + 1),
                region,
                win: dice.factor(0.25),
                pace: dice.factor(0.20),
            });
        }
    }
    owners
}

/// When deals are created: deal number `n` at the n-th quantile of a curve with growth, seasons,
/// noisy months and quiet weekends, so that the number of deals is exact and any deal's day is
/// found without the others.
pub(super) struct Intake {
    /// Weight of all days before the day at this position; one more than there are days.
    before: Vec<f64>,
    deals: f64,
}

/// Deals created in a calendar month relative to the average one.
const SEASON: [f64; 12] = [0.92, 0.95, 1.08, 0.98, 1.00, 1.05, 0.86, 0.82, 1.10, 1.12, 1.08, 0.88];
/// Deals created on a weekday, from Monday.
const WEEKDAY: [f64; 7] = [1.10, 1.15, 1.10, 1.05, 0.90, 0.20, 0.15];
/// Growth of the deals created in a year.
const GROWTH: f64 = 1.15;

impl Intake {
    fn new(seed: u64, deals: u64, first: Day, months: &[u16]) -> Self {
        let mut before = Vec::with_capacity(months.len() + 1);
        let mut sum = 0.0;
        before.push(sum);
        for (day, month) in months.iter().enumerate() {
            let date = to_date(first + day as Day).unwrap_or_default();
            let season = SEASON.get(date.month0() as usize).copied().unwrap_or(1.0);
            let weekday = date.weekday().num_days_from_monday() as usize;
            let weekday = WEEKDAY.get(weekday).copied().unwrap_or(1.0);
            let noise = Dice::new(seed, Subject::Month, u64::from(*month)).factor(0.06);
            sum += GROWTH.powf(f64::from(*month) / 12.0) * season * weekday * noise;
            before.push(sum);
        }
        Self { before, deals: deals as f64 }
    }

    fn total(&self) -> f64 {
        self.before.last().copied().unwrap_or_default()
    }

    /// When a deal is created, in days since the start; never decreases with the deal's number.
    pub(super) fn day(&self, deal: u64) -> f64 {
        let weight = (deal as f64 + 0.5) / self.deals * self.total();
        let after = self.before.partition_point(|w| *w <= weight).min(self.before.len() - 1);
        let day = after.saturating_sub(1);
        match (self.before.get(day), self.before.get(after)) {
            (Some(low), Some(high)) if high > low => day as f64 + (weight - low) / (high - low),
            _ => day as f64,
        }
    }

    /// The number of deals created before a time given in days since the start.
    pub(super) fn deals_before(&self, day: f64) -> u64 {
        let whole = day.max(0.0) as usize;
        let low = self.before.get(whole).copied().unwrap_or_else(|| self.total());
        let high = self.before.get(whole + 1).copied().unwrap_or(low);
        let weight = low + (high - low) * day.max(0.0).fract();
        (weight / self.total() * self.deals) as u64
    }

    /// How many deals are created from one day to another, in days since the start.
    pub(super) fn expected(&self, from: Day, to: Day) -> f64 {
        (self.deals_before(f64::from(to)) - self.deals_before(f64::from(from))) as f64
    }
}
