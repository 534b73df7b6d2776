//! What becomes of memory that was freed. With glibc; elsewhere these do nothing.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
use std::ffi::c_int;

/// Pieces up to here come from the heap: glibc takes no larger number.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGEST: c_int = 32 << 20;
/// So much may lie free at the heap's end.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT: c_int = 256 << 20;

/// Lets the process keep what it freed, for what it needs next. For commands that live as long as one run and fetch as fast as they can: librdkafka asks
/// for a few MiB for each answer of a broker and frees them a moment later. glibc gives such pieces back to the system, which then has to clear
/// them again, page by page: a sixth of the processor time of such a command.
pub fn keep_what_is_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: any thread may call it at any time; it changes only where later pieces come from. That glibc refuses a number would cost time and
    // nothing else.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGEST);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
    }
}

/// malloc_trim(3): everything that is free goes back to the system. A few milliseconds for a hundred megabytes, in which threads that ask for
/// memory wait.
pub fn give_back_what_is_free() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes a number and locks what it looks at; memory that is in use is not touched.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_stays_when_the_rest_is_given_back() {
        let kept: Vec<Vec<u8>> = (0..1000_u32).map(|at| vec![at as u8; 5000]).collect();
        let freed: Vec<Vec<u8>> = (0..1000).map(|_| vec![7; 5000]).collect();
        drop(freed);
        give_back_what_is_free();
        assert!(
            (0..1000_u32)
                .zip(&kept)
                .all(|(at, one)| one[..] == [at as u8; 5000])
        );
    }
}
