//! What customers bring over their lifetime: observed, and by models of when they buy and stop.

pub mod clv_cohorts;
pub mod clv_holdout;
pub mod clv_models;
pub mod customer_value;
mod scores;
pub(crate) mod tiers;
pub mod valuation;
