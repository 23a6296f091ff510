//! What the won deals bring in.

#[expect(clippy::module_inception, reason = "one file per metric, named by the metric")]
pub mod revenue;
pub mod revenue_clocks;
pub mod revenue_credit;
pub mod revenue_paid;
