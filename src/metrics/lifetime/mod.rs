//! What customers bring over their lifetime, observed; models of it find their place here.

pub mod clv_cohorts;
