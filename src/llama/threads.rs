//! How many threads compute.

use std::env;
use std::thread::available_parallelism;

/// What rayon and candle ask for the number of threads.
const VARIABLE: &str = "RAYON_NUM_THREADS";

/// Counts the processor's cores once and for all, where the environment does
/// not say how many threads to use. candle would count them again in every
/// matrix product, on Linux by reading `/proc/cpuinfo`, which costs a small
/// model a third of its time.
///
/// # Safety
/// It sets an environment variable: no other thread may run yet.
pub unsafe fn settle() {
    if env::var_os(VARIABLE).is_none() {
        let cores = candle_core::utils::get_num_threads();
        let count = available_parallelism().map_or(cores, |allowed| cores.min(allowed.get()));
        // SAFETY: the caller's promise.
        unsafe { env::set_var(VARIABLE, count.to_string()) };
    }
}
