//! Memory that is wanted soon.
//!
//! A thousand calls take turns on a thread, and between two of its turns a call's state leaves the processor's caches:
//! most of a turn would go by in waiting for one line of it after the other. So all lines are asked for before the first
//! is read, for several calls at a time.

/// Bytes of one value that are asked for: more would push out what came before.
const MOST: usize = 4096;
/// Bytes that come at a time.
const LINE: usize = 64;

/// Asks for the memory of `value`: of its own bytes, not of what they point to. What has come when it is read is there at
/// once. It changes nothing else, and on processors other than x86-64 does nothing.
pub fn prefetch<T: ?Sized>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

        let start = std::ptr::from_ref(value).cast::<i8>();
        let length = size_of_val(value).min(MOST);
        // Where it does not begin with a line its last bytes are in one more.
        for line in (0..length).step_by(LINE).chain(length.checked_sub(1)) {
            // SAFETY: the instruction reads nothing that a program could see and faults at no address; the offset is
            // inside of the value.
            #[allow(unsafe_code)]
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(start.add(line));
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}
