//! The rules an event or row must keep, counting, quarantine.
