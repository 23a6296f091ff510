//! Scenarios as text, expected tables as text.
