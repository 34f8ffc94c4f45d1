//! A wish to stop, shared between whoever may express it and the work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Tells running work to stop: because a person asked, or because its time is
/// up. Clones share the same wish; each clone may carry its own deadline.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    asked: Arc<AtomicBool>,
    deadline: Option<Instant>,
}

impl Cancel {
    /// A wish nobody has expressed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same wish, which also counts as expressed once `limit` has passed.
    pub fn within(&self, limit: Option<Duration>) -> Self {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        Self { asked: self.asked.clone(), deadline: deadline.or(self.deadline) }
    }

    /// The same wish of the person, without this clone's deadline.
    pub fn without_deadline(&self) -> Self {
        Self { asked: self.asked.clone(), deadline: None }
    }

    /// Asks every clone to stop. Safe to call from a signal handler's thread.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::SeqCst);
    }

    /// Takes the person's wish back, before the next turn.
    pub fn reset(&self) {
        self.asked.store(false, Ordering::SeqCst);
    }

    /// A person asked to stop.
    pub fn asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// The deadline of this clone has passed.
    pub fn late(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Work should stop, for whichever reason.
    pub fn is_set(&self) -> bool {
        self.asked() || self.late()
    }
}
