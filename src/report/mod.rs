//! What a person sees of the written tables: one table in the terminal, and the most telling
//! results of a run.
//!
//! It reads finished runs only and recomputes nothing: every number shown stands in a table. It
//! prints nothing either; its functions return text.

mod bars;
mod cells;
mod grid;
mod highlights;
mod open;
mod sheet;
mod terminal;

pub use highlights::{Colour, highlights};
pub use terminal::show;

#[cfg(test)]
mod tests;
