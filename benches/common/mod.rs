//! What all benches share: the allocator, the count of page faults, since fresh pages cost more than arithmetic, and the
//! memory of a step.

use criterion::measurement::WallTime;
use criterion::{Bencher, BenchmarkGroup, Criterion};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Criterion without plots; says which allocator runs, and how.
pub fn config() -> Criterion {
    let delay = std::env::var("MIMALLOC_PURGE_DELAY");
    let delay = delay.as_deref().unwrap_or("unset");
    println!("allocator: mimalloc, MIMALLOC_PURGE_DELAY {delay}");
    // This thread works in the pool, where it would otherwise wake another for every parallel loop, and be woken.
    let pool = rayon::ThreadPoolBuilder::new().use_current_thread();
    let _ = pool.build_global();
    Criterion::default().without_plots()
}

pub trait Timed {
    /// Times a step, the drop of its result included, and says how many page faults it takes and how much memory. The
    /// allocator keeps what it once had, so the memory is that of the first step in a process: choose one by its name.
    fn timed<R>(&mut self, name: impl Into<String>, step: impl FnMut() -> R);
}

impl Timed for Criterion {
    fn timed<R>(&mut self, name: impl Into<String>, step: impl FnMut() -> R) {
        self.bench_function(&name.into(), bench(step));
    }
}

impl Timed for BenchmarkGroup<'_, WallTime> {
    fn timed<R>(&mut self, name: impl Into<String>, step: impl FnMut() -> R) {
        self.bench_function(name.into(), bench(step));
    }
}

/// Called for the benches only that the filter lets through.
fn bench<R>(mut step: impl FnMut() -> R) -> impl FnMut(&mut Bencher) {
    const STEPS: u64 = 10;
    let mut told = false;
    move |bencher| {
        if !told {
            told = true;
            let mut run = |steps| (0..steps).for_each(|_| drop(std::hint::black_box(step())));
            // Linux: 5 sets the highest resident size back to the present one.
            let _ = std::fs::write("/proc/self/clear_refs", "5");
            let resident = status("VmRSS:");
            run(1);
            let peak = status("VmHWM:").saturating_sub(resident) / 1024;
            run(STEPS);
            let before = faults();
            run(STEPS);
            let faults = (faults() - before) / STEPS;
            println!("{faults} page faults a step, {peak} MiB for the first");
        }
        bencher.iter(&mut step)
    }
}

/// Minor page faults of this process so far.
fn faults() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The command's name, in parentheses, may hold spaces: the eighth field after it.
    let after = stat.rsplit(')').next().unwrap_or_default();
    let field = after.split_whitespace().nth(7);
    field.and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// A line of the process's status, in KiB.
fn status(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|n| n.parse().ok()).unwrap_or(0)
}
