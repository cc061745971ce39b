//! So many may be in at once; whoever comes then gets the place of the one that has been in for longest.
//!
//! For connections that have proved nothing yet: those that do nothing cannot keep others out, however many
//! they are, since each of them is the oldest some day.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::oneshot;

/// The places.
#[derive(Debug, Clone, Default)]
pub struct Room(Arc<Mutex<Inside>>);

#[derive(Debug, Default)]
struct Inside {
    next: u64,
    /// In the order in which they came.
    by_number: BTreeMap<u64, oneshot::Sender<()>>,
}

/// A place, until it is dropped or taken by somebody else.
#[derive(Debug)]
pub struct Place {
    room: Room,
    number: u64,
    taken: oneshot::Receiver<()>,
}

impl Room {
    /// A place, where there are `max` (one at least).
    pub fn enter(&self, max: usize) -> Place {
        let mut inside = self.0.lock();
        while inside.by_number.len() >= max.max(1)
            && let Some((_, oldest)) = inside.by_number.pop_first()
        {
            // It may just have left.
            let _ = oldest.send(());
        }
        let (taking, taken) = oneshot::channel();
        let number = inside.next;
        inside.next += 1;
        inside.by_number.insert(number, taking);
        Place { room: self.clone(), number, taken }
    }

    /// How many are in.
    pub fn len(&self) -> usize {
        self.0.lock().by_number.len()
    }
}

impl Place {
    /// Resolves when somebody else has got the place. Cancel-safe.
    pub async fn is_taken(&mut self) {
        if (&mut self.taken).await.is_err() {
            // Nobody takes it any more.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.0.lock().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    async fn is_out(place: &mut Place) -> bool {
        tokio::time::timeout(Duration::ZERO, place.is_taken()).await.is_ok()
    }

    #[tokio::test]
    async fn the_oldest_makes_room_for_the_newest() {
        let room = Room::default();
        let mut places: Vec<_> = (0..5).map(|_| room.enter(3)).collect();
        assert_eq!(room.len(), 3);
        for (number, place) in places.iter_mut().enumerate() {
            assert_eq!(is_out(place).await, number < 2, "{number}");
        }
    }

    #[tokio::test]
    async fn whoever_leaves_makes_room_too() {
        let room = Room::default();
        let mut first = room.enter(2);
        drop(room.enter(2));
        let _third = room.enter(2);
        assert!(!is_out(&mut first).await);
        assert_eq!(room.len(), 2);
    }

    #[tokio::test]
    async fn a_limit_that_was_lowered_counts_for_the_next() {
        let room = Room::default();
        let mut old: Vec<_> = (0..4).map(|_| room.enter(10)).collect();
        let _new = room.enter(2);
        assert_eq!(room.len(), 2);
        assert!(is_out(&mut old[2]).await && !is_out(&mut old[3]).await);
    }
}
