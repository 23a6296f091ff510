//! Dealmill: a columnar batch engine that reads partitioned Parquet deal histories, folds every
//! deal's events once, computes sales-performance metrics in parallel, and writes summary tables.
//!
//! The modules in reading order: what the user may type ([`cli`]), what the program needs
//! ([`config`]), the whole pipeline on one screen ([`run`]), and then the pipeline's parts from
//! [`source`] to [`sink`].

pub mod cli;
pub mod config;
pub mod verbs;

pub mod run;

pub mod source;
pub mod quality;
pub mod spill;
pub mod fold;
pub mod relations;
pub mod metrics;
pub mod engine;
pub mod sink;
pub mod report;

pub mod allocator;
pub mod contract;
pub mod error;
pub mod money;
pub mod stats;
pub mod table;
pub mod time;
