//! Every way an input may be given, and determinism of the whole.
