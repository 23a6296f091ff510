//! Metrics of targets: what was to be reached, what was, and what it earns.

pub mod commission;
mod credited;
pub mod kpi_status;
mod plans;
pub mod target_attainment;
pub mod target_contributions;
pub mod tiers;

/// What is counted towards a target that does not say so.
pub const NET_WON_AMOUNT: &str = "net_won_amount";
