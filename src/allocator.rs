//! How the allocator treats pages that are free: the only module with unsafe code.
//!
//! A run allocates and frees much the same buffers for every row group and every chunk. By default
//! the allocator hands their pages back to the system in between, which clears them before it gives
//! them out again. Keeping them took a seventh off the processor time of the workload in
//! `benches/peers` (3.6 s to 3.0 s on two shared cores) and added some 30 MiB to its peak.
//!
//! The program's allocator has no safe way to say so.

#![expect(unsafe_code, reason = "the allocator's options can be set through its C interface only")]

use std::ffi::c_long;

use libmimalloc_sys::{mi_option_get, mi_option_set, mi_option_t};

/// After how many milliseconds free pages go back; -1 is never. The place of `mi_option_purge_delay`
/// in the allocator's list of options, which its binding does not name.
const PURGE_DELAY: mi_option_t = 15;

/// Never hands free pages back to the system from now on. Changes no number.
///
/// Edge cases: without effect where the process uses another allocator.
pub fn keep_pages() {
    // SAFETY: the option is one of the allocator's list (a test checks that it is the one meant),
    // and setting it is an assignment to an atomic number, at any time and from any thread.
    unsafe { mi_option_set(PURGE_DELAY, -1 as c_long) }
}

/// Hands free pages back to the system soon, for a run that is held to a limit: what one step freed
/// would count beside what the next one takes. Changes no number.
///
/// Edge cases: without effect where the process uses another allocator.
pub fn return_pages() {
    const MILLIS: c_long = 10;
    // SAFETY: as in `keep_pages`.
    unsafe { mi_option_set(PURGE_DELAY, MILLIS) }
}

/// After how many milliseconds free pages go back.
#[must_use]
pub fn purge_delay() -> c_long {
    // SAFETY: as in `keep_pages`; reading is no different.
    unsafe { mi_option_get(PURGE_DELAY) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_the_one_meant() {
        // Its default is a thousand milliseconds; its neighbours' are 0 and 1.
        assert_eq!(purge_delay(), 1000);
        keep_pages();
        assert_eq!(purge_delay(), -1);
        return_pages();
        assert_eq!(purge_delay(), 10);
    }
}
