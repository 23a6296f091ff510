//! Paths, writer settings, atomic publish, manifest.
