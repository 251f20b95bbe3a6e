//! The requests of a loop that wait for their reply: a table for each type of reply.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::address::BuildCarriedHash;
use crate::bus::replies::{AnyReplies, Replies};
use crate::message::Message;

use super::LoopCore;

/// The tables of a loop.
#[derive(Default)]
pub(super) struct ReplyTables {
    /// One for each reply type that was ever waited for here. None is ever taken out: their numbers are kept.
    tables: RefCell<Vec<ReplyTable>>,
    numbers: RefCell<HashMap<TypeId, u32, BuildCarriedHash>>,
}

/// The waiting requests with one reply type: an `Rc<Replies<R>>` to be asked for by type, and to be swept without it.
type ReplyTable = (Box<dyn Any>, Rc<dyn AnyReplies>);

impl LoopCore {
    /// The requests of this loop that wait for a reply of this type.
    pub(crate) fn replies<R: Message>(&self) -> Rc<Replies<R>> {
        let known = self.reply_tables.numbers.borrow().get(&TypeId::of::<R>()).copied();
        if let Some(table) = known.and_then(|number| self.replies_at(number)) {
            return table;
        }
        let mut tables = self.reply_tables.tables.borrow_mut();
        let number = tables.len() as u32; // there are not so many types
        let table = Rc::new(Replies::<R>::new(number));
        tables.push((Box::new(Rc::clone(&table)), Rc::clone(&table) as Rc<dyn AnyReplies>));
        self.reply_tables.numbers.borrow_mut().insert(TypeId::of::<R>(), number);
        table
    }

    /// The same by the number of the table, which spares looking for it.
    #[inline]
    pub(crate) fn replies_at<R: Message>(&self, number: u32) -> Option<Rc<Replies<R>>> {
        let tables = self.reply_tables.tables.borrow();
        let (typed, _) = tables.get(number as usize)?;
        typed.downcast_ref::<Rc<Replies<R>>>().cloned()
    }

    pub(super) fn all_reply_tables(&self) -> Vec<Rc<dyn AnyReplies>> {
        self.reply_tables.tables.borrow().iter().map(|(_, table)| Rc::clone(table)).collect()
    }
}
