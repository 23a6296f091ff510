//! How the work really goes: the paths that deals take, what follows what, and what is done twice.

pub mod directly_follows;
pub mod process_variants;
pub mod rework;
pub mod windowed_funnel;
