//! Seeded synthetic histories.
