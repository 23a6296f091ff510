//! Bytes to canonical columns: discovery of files and partitions, Parquet, CSV, one file per input shape.

pub mod synthetic;
