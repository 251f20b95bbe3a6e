//! The event log: append-only files in `<data-dir>/events/`, written before an event is answered.
//!
//! * [`segment`] is the format: pure, bytes in, records out.
//! * [`name`] is how files are called, [`directory`] owns the folder: lock, listing, removal.
//! * [`writer`] appends - one writer a loop -, [`reader`] reads back in bounded pieces.
//! * [`tail`] follows the log from another process, [`scan`] reads files of it once; both without the lock.

pub mod directory;
pub mod name;
pub mod reader;
pub mod scan;
pub mod segment;
pub mod tail;
pub mod writer;
