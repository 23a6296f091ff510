//! What the data-quality rules found.

pub mod data_quality;
