//! What a seeded test run draws in place of the usual order.

use std::cell::Cell;

/// SplitMix64: small, and good enough to choose by.
pub(crate) struct Dice(Cell<u64>);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Cell::new(seed))
    }

    fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below the bound, which is not 0.
    pub(crate) fn below(&self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn one_in(&self, chances: usize) -> bool {
        self.below(chances) == 0
    }
}

impl super::LoopCore {
    /// From now on what runs next is drawn, within what the promises allow.
    pub(crate) fn play(&self, seed: u64) {
        self.dice.get_or_init(|| Dice::new(seed));
    }

    /// Takes the next of a queue: the first, or one that is drawn.
    pub(super) fn draw<T>(&self, queue: &std::cell::RefCell<std::collections::VecDeque<T>>) -> Option<T> {
        let mut queue = queue.borrow_mut();
        match self.dice.get() {
            Some(dice) if queue.len() > 1 => {
                let drawn = dice.below(queue.len());
                queue.swap_remove_back(drawn)
            }
            _ => queue.pop_front(),
        }
    }

    /// Whether what runs next is drawn: then each consumer has its own turn, also for what is published.
    pub(crate) fn draws(&self) -> bool {
        self.dice.get().is_some()
    }

    /// Whether what could run now is put off, so that something else runs before it.
    pub(crate) fn puts_off(&self) -> bool {
        self.dice.get().is_some_and(|dice| dice.one_in(3))
    }

    /// How many messages one consumer handles before the next has its turn; `usual` when nothing is drawn.
    pub(super) fn messages_per_turn(&self, usual: usize) -> usize {
        self.dice.get().map_or(usual, |dice| 1 + dice.below(4))
    }
}
