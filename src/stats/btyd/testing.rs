//! The calibration customers of the CDNOW one-in-ten sample.

use super::{History, Sample, Spending};
use crate::stats::testdata::{csv, shared};

/// One customer: history, mean amount of the repeats, and purchase days of the hold-out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Customer {
    pub(crate) history: History,
    pub(crate) mean: f64,
    pub(crate) held_out: f64,
}

/// All 2,357 in order, times in exact weeks; `None` where the shared data is absent.
pub(crate) fn cdnow() -> Option<Vec<Customer>> {
    let text = shared("cdnow/answers/sample_rfm_calibration_to_1997-09-30.csv")?;
    let row = |fields: Vec<&str>| {
        let number = |at: usize| fields[at].parse::<f64>().expect("a number");
        let history =
            History { repeats: number(1), recency: number(2), age: number(3), customers: 1.0 };
        Customer { history, mean: number(4), held_out: number(6) }
    };
    Some(csv(&text).into_iter().map(row).collect())
}

/// Their histories.
pub(crate) fn histories(customers: &[Customer]) -> Sample<History> {
    Sample::new(customers.iter().map(|c| c.history).collect())
}

/// The spending of those who repeat.
pub(crate) fn spending(customers: &[Customer]) -> Sample<Spending> {
    let repeaters = customers.iter().filter(|c| c.history.repeats > 0.0);
    Sample::new(repeaters.map(|c| Spending::new(c.history.repeats, c.mean, 1.0)).collect())
}
