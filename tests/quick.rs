//! How long an answer takes, from start to exit. Alone in its file, so that no
//! other test runs beside it.
#![cfg(all(feature = "embedded-model", not(debug_assertions)))]

mod program;

use std::time::{Duration, Instant};

use program::{agent, run};

/// One run in time is enough: other work on the machine may slow the rest.
#[test]
fn an_answer_takes_less_than_a_second() {
    let mut times = (0..20).map(|_| {
        let begun = Instant::now();
        assert_eq!(run(&mut agent(&["ask", "what is 4**2.1"])).0, 0);
        begun.elapsed()
    });
    assert!(times.any(|time| time < Duration::from_secs(1)));
}
