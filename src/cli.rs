//! What the user may type; no I/O, no environment.
