//! The waiters' places: a queue in a slab, so that whoever goes away leaves from the middle without
//! a search, and a place costs no allocation of its own.

/// Where a waiter's place is, until it is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key(u32);

const NONE: u32 = u32::MAX;
/// Places kept when all are free, after a burst.
const KEPT: usize = 1024;

#[derive(Debug)]
pub(super) struct Places<T> {
    slots: Vec<Slot<T>>,
    /// The first of the free slots, which are linked by their `next`.
    free: u32,
    used: u32,
    front: u32,
    back: u32,
    queued: u32,
}

#[derive(Debug)]
struct Slot<T> {
    value: Option<T>,
    /// Still in the queue, and not only waiting to be removed.
    queued: bool,
    before: u32,
    next: u32,
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: NONE,
            used: 0,
            front: NONE,
            back: NONE,
            queued: 0,
        }
    }
}

impl<T> Places<T> {
    /// How many are in the queue.
    pub(super) fn queued(&self) -> u32 {
        self.queued
    }

    /// A place at the back of the queue.
    pub(super) fn push(&mut self, value: T) -> Key {
        let slot = Slot {
            value: Some(value),
            queued: true,
            before: self.back,
            next: NONE,
        };
        let at = self.free;
        let at = if at == NONE {
            self.slots.push(slot);
            (self.slots.len() - 1) as u32
        } else {
            self.free = self.slots[at as usize].next;
            self.slots[at as usize] = slot;
            at
        };
        self.link(self.back, at);
        self.back = at;
        self.used += 1;
        self.queued += 1;
        Key(at)
    }

    /// Whose turn it is next.
    pub(super) fn front(&self) -> Option<&T> {
        self.slots.get(self.front as usize)?.value.as_ref()
    }

    /// Takes the front out of the queue. Its place stays until it is removed.
    pub(super) fn pop(&mut self) -> Option<&mut T> {
        let at = self.front;
        if at == NONE {
            return None;
        }
        self.unlink(at);
        self.slots[at as usize].value.as_mut()
    }

    /// # Panics
    /// If the place was removed.
    pub(super) fn get_mut(&mut self, Key(at): Key) -> &mut T {
        let value = &mut self.slots[at as usize].value;
        value
            .as_mut()
            .expect("a place is there until it is removed")
    }

    /// Gives the place up, in the queue or not.
    ///
    /// # Panics
    /// If the place was removed already.
    pub(super) fn remove(&mut self, Key(at): Key) -> T {
        if self.slots[at as usize].queued {
            self.unlink(at);
        }
        let slot = &mut self.slots[at as usize];
        let value = slot.value.take();
        slot.next = self.free;
        self.free = at;
        self.used -= 1;
        if self.used == 0 && self.slots.len() > KEPT {
            *self = Self::default();
        }
        value.expect("a place is there until it is removed")
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
