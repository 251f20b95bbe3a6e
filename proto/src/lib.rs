//! What adtrack's parts say to one another, and where.
//!
//! * [`Program`] is core data, [`Event`] is what happened; [`Answer`] is what the caller of a tracking URL reads.
//! * [`wire`] is the stream's protobuf, generated from `tracking.proto` and checked in.
//! * [`bus`] (feature `bus`) lists the addresses with their types: read it to understand the product.

#[cfg(feature = "bus")]
pub mod bus;
pub mod event;
mod json;
pub mod program;
pub mod wire;

pub use event::{Answer, Event};
pub use program::{Program, ProgramError, ProgramId, ProgramIdError, ProgramListError};
