//! What an input looks like, for whoever has to decide whether to trust it: the days its events lie
//! on, days that look truncated, columns without values.
//!
//! It counts what reading hands over and judges no row; only `check` asks for it.

use std::collections::BTreeMap;

use crate::contract::{EventBatch, NO_CODE, NO_STAGE, StageClass, StageTable};
use crate::money::NO_AMOUNT;
use crate::time::{Calendar, Day, NO_DAY};

/// What the events of one input look like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// Events that rows stand for.
    pub events: u64,
    /// Events by civil day of the reporting zone.
    pub days: BTreeMap<Day, u64>,
    /// Events without a value, by canonical column or dimension that the input has.
    pub unknown: BTreeMap<String, u64>,
    /// Events in stages that are not in the pipeline, by the stage's code.
    pub unknown_stages: BTreeMap<u16, u64>,
}

/// A day with far fewer events than the same weekday around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThinDay {
    /// The day.
    pub day: Day,
    /// Its events.
    pub events: u64,
    /// The median of its neighbours' events.
    pub usual: u64,
}

impl Profile {
    /// Counts some events; `dimensions` names their dimensions.
    pub fn add<'a>(
        &mut self,
        events: &EventBatch,
        calendar: &Calendar,
        stages: &StageTable,
        dimensions: impl Iterator<Item = &'a str>,
    ) {
        self.events += events.len() as u64;
        for at in &events.time {
            *self.days.entry(calendar.day(*at)).or_insert(0) += 1;
        }
        for code in events.stage.iter().filter(|code| **code != NO_STAGE) {
            if stages.stage(*code).class == StageClass::Unknown {
                *self.unknown_stages.entry(*code).or_insert(0) += 1;
            }
        }
        let mut count = |name: &str, rows: usize, unknown: usize| {
            if rows > 0 {
                *self.unknown.entry(name.to_owned()).or_insert(0) += unknown as u64;
            }
        };
        let amounts = events.amount.iter().filter(|amount| **amount == NO_AMOUNT).count();
        count("amount", events.amount.len(), amounts);
        let owners = events.owner.iter().filter(|code| **code == NO_CODE).count();
        count("owner_id", events.owner.len(), owners);
        let customers = events.customer.iter().filter(|id| id.is_none()).count();
        count("customer_id", events.customer.len(), customers);
        let closes = events.expected_close.iter().filter(|day| **day == NO_DAY).count();
        count("expected_close", events.expected_close.len(), closes);
        for (name, codes) in dimensions.zip(&events.dimensions) {
            count(name, codes.len(), codes.iter().filter(|code| **code == NO_CODE).count());
        }
    }

    /// Adds another part of the same input.
    pub fn merge(&mut self, other: &Self) {
        self.events += other.events;
        for (day, n) in &other.days {
            *self.days.entry(*day).or_insert(0) += n;
        }
        for (name, n) in &other.unknown {
            *self.unknown.entry(name.clone()).or_insert(0) += n;
        }
        for (code, n) in &other.unknown_stages {
            *self.unknown_stages.entry(*code).or_insert(0) += n;
        }
    }

    /// Days with less than a tenth of the median of the same weekday within four weeks, where that
    /// is at least [`USUAL_MIN`]: a partition may have been cut short, or is missing.
    #[must_use]
    pub fn thin_days(&self) -> Vec<ThinDay> {
        let (Some((first, _)), Some((last, _))) =
            (self.days.first_key_value(), self.days.last_key_value())
        else {
            return Vec::new();
        };
        let of = |day: Day| self.days.get(&day).copied().unwrap_or(0);
        let thin = |day: Day| {
            let around = [-4, -3, -2, -1, 1, 2, 3, 4].map(|weeks: Day| day + weeks * 7);
            let mut neighbours: Vec<u64> =
                around.into_iter().filter(|d| (first..=last).contains(&d)).map(of).collect();
            neighbours.sort_unstable();
            let usual = neighbours.get(neighbours.len() / 2).copied().unwrap_or(0);
            let events = of(day);
            (usual >= USUAL_MIN && events * 10 < usual).then_some(ThinDay { day, events, usual })
        };
        (*first..=*last).filter_map(thin).collect()
    }
}

/// Fewer events a day than this come and go by chance.
const USUAL_MIN: u64 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// Events by day: 100 a day but for those given.
    fn profile(except: &[(Day, u64)]) -> Profile {
        let mut days: BTreeMap<Day, u64> = (0..70).map(|day| (day, 100)).collect();
        for (day, events) in except {
            days.insert(*day, *events);
        }
        days.retain(|_, events| *events > 0);
        Profile { days, ..Profile::default() }
    }

    #[test]
    fn a_day_below_a_tenth_of_its_neighbours_is_thin() {
        assert_eq!(profile(&[]).thin_days(), []);
        assert_eq!(profile(&[(30, 10)]).thin_days(), []);
        let thin = |day, events| ThinDay { day, events, usual: 100 };
        assert_eq!(profile(&[(30, 9)]).thin_days(), [thin(30, 9)]);
        assert_eq!(profile(&[(30, 0), (40, 1)]).thin_days(), [thin(30, 0), thin(40, 1)]);
    }

    #[test]
    fn quiet_weekends_are_not_thin() {
        let weekends: Vec<(Day, u64)> =
            (0..70).filter(|day| day % 7 >= 5).map(|day| (day, 1)).collect();
        assert_eq!(profile(&weekends).thin_days(), []);
    }

    #[test]
    fn few_events_are_no_reason_to_complain() {
        let days = (0..70).map(|day| (day, if day == 35 { 0 } else { 15 })).collect();
        assert_eq!(Profile { days, ..Profile::default() }.thin_days(), []);
    }
}
