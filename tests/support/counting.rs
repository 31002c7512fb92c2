//! An allocator that counts the bytes in use.

use candle_prob::Result;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Counts the bytes in use, and the most there were.
struct Counting;

static USED: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all calls go to the system's allocator as they come.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let used = USED.fetch_add(layout.size(), Relaxed) + layout.size();
        MOST.fetch_max(used, Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes in use beyond what was there before.
pub struct Growth {
    pub at_most: usize,
    /// When what was asked for is dropped.
    #[allow(dead_code)]
    pub at_the_end: usize,
}

/// Tests that ask run one at a time.
pub fn growth<R>(f: impl FnOnce() -> Result<R>) -> Result<Growth> {
    let before = USED.load(Relaxed);
    MOST.store(before, Relaxed);
    drop(f()?);
    Ok(Growth {
        at_most: MOST.load(Relaxed) - before,
        at_the_end: USED.load(Relaxed).saturating_sub(before),
    })
}

/// The most bytes that were in use beyond what was there before.
#[allow(dead_code)]
pub fn peak<R>(f: impl FnOnce() -> Result<R>) -> Result<usize> {
    Ok(growth(f)?.at_most)
}
