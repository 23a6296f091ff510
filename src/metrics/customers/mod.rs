//! Customers: won, kept, won back and lost; who comes back when, and on how few the revenue rests.

mod cells;
pub mod churn;
pub mod cohort_retention;
pub mod concentration;
pub mod contract_retention;
pub mod customer_growth;
pub mod customer_tiers;
pub mod growth_accounting;
pub mod repurchase;
pub mod retention_average;
pub mod rules;
pub mod satisfaction;
pub mod satisfaction_by_deal;
pub mod satisfaction_by_tier;
pub mod satisfaction_outcomes;
pub mod tier_migration;
