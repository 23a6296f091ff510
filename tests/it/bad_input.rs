//! Broken inputs: what they say and what they leave alone.
