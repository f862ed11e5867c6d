//! The queue entries of waiting checkouts: a linked list in a slab. A waiter leaves from the middle
//! without a search, and an entry needs no allocation of its own.

use slab::Slab;

/// Identifies a waiter's entry until it is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WaiterKey(u32);

const NONE: u32 = u32::MAX;
/// The largest capacity, in entries, that an empty slab keeps after a burst.
const KEPT: usize = 1024;

#[derive(Debug)]
pub(super) struct Places<T> {
    slots: Slab<PlaceSlot<T>>,
    front: u32,
    back: u32,
    /// The number of entries in the queue.
    pub(super) queued: u32,
}

#[derive(Debug)]
struct PlaceSlot<T> {
    value: T,
    /// Whether the entry is still in the queue, as opposed to popped but not yet removed.
    queued: bool,
    before: u32,
    next: u32,
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self {
            slots: Slab::new(),
            front: NONE,
            back: NONE,
            queued: 0,
        }
    }
}

impl<T> Places<T> {
    /// Adds an entry at the back of the queue.
    pub(super) fn push(&mut self, value: T) -> WaiterKey {
        let slot = PlaceSlot {
            value,
            queued: true,
            before: self.back,
            next: NONE,
        };
        let at = self.slots.insert(slot) as u32;
        self.link(self.back, at);
        self.back = at;
        self.queued += 1;
        WaiterKey(at)
    }

    /// Returns the oldest entry in the queue.
    pub(super) fn front(&self) -> Option<&T> {
        Some(&self.slots.get(self.front as usize)?.value)
    }

    /// Takes the oldest entry out of the queue. The entry exists until it is removed.
    pub(super) fn pop(&mut self) -> Option<&mut T> {
        let at = self.front;
        if at == NONE {
            return None;
        }
        self.unlink(at);
        Some(&mut self.slots[at as usize].value)
    }

    /// Returns an entry.
    ///
    /// # Panics
    /// Panics if the entry was removed.
    pub(super) fn get_mut(&mut self, WaiterKey(at): WaiterKey) -> &mut T {
        &mut self.slots[at as usize].value
    }

    /// Removes an entry, whether it is still in the queue or not.
    ///
    /// # Panics
    /// Panics if the entry was removed already.
    pub(super) fn remove(&mut self, WaiterKey(at): WaiterKey) -> T {
        if self.slots[at as usize].queued {
            self.unlink(at);
        }
        let slot = self.slots.remove(at as usize);
        if self.slots.is_empty() && self.slots.capacity() > KEPT {
            self.slots = Slab::new();
        }
        slot.value
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.slots.capacity()
    }

    fn unlink(&mut self, at: u32) {
        let slot = &mut self.slots[at as usize];
        slot.queued = false;
        let (before, next) = (slot.before, slot.next);
        self.link(before, next);
        if next == NONE {
            self.back = before;
        }
        self.queued -= 1;
    }

    fn link(&mut self, before: u32, next: u32) {
        match self.slots.get_mut(before as usize) {
            Some(slot) => slot.next = next,
            None => self.front = next,
        }
        if let Some(slot) = self.slots.get_mut(next as usize) {
            slot.before = before;
        }
    }
}
