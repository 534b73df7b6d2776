//! What becomes of memory that librdkafka frees, in a command that fetches as fast as it can and then ends.
//!
//! It asks for a few MiB for each answer of a broker and frees them a moment later. glibc gives such pieces back to the system, which then has to clear
//! them again, page by page: a sixth of the processor time of such a command.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
use std::ffi::c_int;

/// Pieces up to here come from the heap: glibc takes no larger number.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGEST: c_int = 32 << 20;
/// So much may lie free at the heap's end.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT: c_int = 256 << 20;

/// Lets the process keep what it freed, for what it needs next. For commands that live as long as one run; elsewhere than with glibc it does nothing.
pub fn keep_what_is_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // From glibc's malloc.h.
        const M_TRIM_THRESHOLD: c_int = -1;
        const M_MMAP_THRESHOLD: c_int = -3;
        unsafe extern "C" {
            fn mallopt(parameter: c_int, value: c_int) -> c_int;
        }
        // SAFETY: glibc's own function, which any thread may call at any time; it changes only where later pieces come from. That it refuses a
        // number would cost time and nothing else.
        unsafe {
            mallopt(M_MMAP_THRESHOLD, LARGEST);
            mallopt(M_TRIM_THRESHOLD, KEPT);
        }
    }
}
