//! Benches of the fold, the metrics' states and the statistics; each asserts its answer first.

fn main() {}
