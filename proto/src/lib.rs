//! What adtrack's parts say to one another, and where.
//!
//! * [`Program`] is core data, [`Event`] is what happened; [`Answer`] is what the caller of a tracking URL reads.
//! * [`wire`] is the stream's protobuf, generated from `tracking.proto` and checked in.
//! * [`aggregated`] is many records in one, the format of the Kinesis Producer Library.
//! * [`bus`] (feature `bus`) lists the addresses with their types: read it to understand the product.

pub mod aggregated;
#[cfg(feature = "bus")]
pub mod bus;
pub mod event;
mod json;
pub mod program;
mod varint;
pub mod wire;

pub use event::{Answer, Event};
pub use program::{Program, ProgramError, ProgramId, ProgramIdError, ProgramListError};
