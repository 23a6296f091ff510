//! How the base of active customers changes from period to period.

pub mod customer_growth;
