//! What it costs to win customers; lag-aligned cost and payback find their place here.

pub mod cac;
