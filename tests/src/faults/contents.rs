//! What a stream holds, read on as it grows.

use std::collections::HashMap;

use adtrack_proto::{aggregated, wire};

use super::connection::uuid;
use crate::kinesis_server::{KinesisServer, StoredRecord};

/// Events of a stream by their message ids.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// How many records of each shard have been read.
    positions: Vec<usize>,
    /// How often each event is there, and when it came first, milliseconds since 1970.
    events: HashMap<u128, (u32, u64)>,
    /// Copies of events that were there before.
    duplicates: u64,
    /// Records that are no events.
    foreign: u64,
    /// Events of the record that had most.
    largest_record: u64,
}

impl Contents {
    /// Reads what has come since the last time, and gives the payloads in each shard's order to `look`.
    pub(crate) fn read_on(&mut self, kinesis: &KinesisServer, stream: &str, mut look: impl FnMut(&[u8])) {
        while let Ok(records) = kinesis.records_after(stream, &mut self.positions)
            && !records.is_empty()
        {
            for record in &records {
                self.take(record, &mut look);
            }
        }
    }

    fn take(&mut self, record: &StoredRecord, look: &mut impl FnMut(&[u8])) {
        let mut events = 0;
        match aggregated::deaggregate(&record.data) {
            aggregated::Deaggregated::Aggregate(records) => {
                for event in records {
                    self.add(event.data, record.arrived_ms, look);
                    events += 1;
                }
            }
            _plain => {
                self.add(&record.data, record.arrived_ms, look);
                events = 1;
            }
        }
        self.largest_record = self.largest_record.max(events);
    }

    fn add(&mut self, payload: &[u8], arrived_ms: u64, look: &mut impl FnMut(&[u8])) {
        let Some(id) = wire::message_id(payload).and_then(uuid) else {
            self.foreign += 1;
            return;
        };
        look(payload);
        let (count, _first) = self.events.entry(id).or_insert((0, arrived_ms));
        *count += 1;
        self.duplicates += u64::from(*count > 1);
    }

    /// Events of the record that had most.
    pub(crate) fn largest_record(&self) -> u64 {
        self.largest_record
    }

    /// Whether this event is there.
    pub(crate) fn has(&self, id: u128) -> bool {
        self.events.contains_key(&id)
    }

    /// How long this event took from its making to the stream; both clocks are this machine's. Nothing when it is not there.
    pub(crate) fn age_ms(&self, id: u128) -> Option<u64> {
        self.events.get(&id).map(|(_count, arrived_ms)| arrived_ms.saturating_sub(made_ms(id)))
    }

    /// Different events.
    pub(crate) fn distinct(&self) -> u64 {
        self.events.len() as u64
    }

    /// Copies of events that were there before.
    pub(crate) fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Records that are no events.
    pub(crate) fn foreign(&self) -> u64 {
        self.foreign
    }
}

/// When an event was made, milliseconds since 1970: a UUID of version 7 begins with it.
pub(crate) fn made_ms(id: u128) -> u64 {
    (id >> 80) as u64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use adtrack_proto::wire::TrackingEvent;
    use prost::Message;

    use super::*;

    fn payload(id: &str) -> Vec<u8> {
        TrackingEvent { message_id: id.to_owned(), ..TrackingEvent::default() }.encode_to_vec()
    }

    #[test]
    fn events_are_told_from_copies_and_from_what_is_none() {
        const ID: &str = "01a1fc48-7b71-7261-af5d-86f353ed1cd4";
        let mut contents = Contents::default();
        let mut looked = 0;
        for (data, arrived_ms) in
            [(payload(ID), 1_795_233_971_057), (payload(ID), 1_795_233_979_999), (b"x".to_vec(), 0)]
        {
            let record = StoredRecord {
                shard_id: String::new(),
                sequence_number: String::new(),
                partition_key: String::new(),
                data: data.into(),
                arrived_ms,
            };
            contents.take(&record, &mut |_payload: &[u8]| looked += 1);
        }
        let id = uuid(ID).unwrap();
        assert_eq!((contents.distinct(), contents.duplicates(), contents.foreign(), looked), (1, 1, 1, 2));
        assert_eq!((made_ms(id), contents.age_ms(id)), (1_795_233_971_057, Some(0)), "the first copy counts");
        assert!(contents.has(id) && !contents.has(7) && contents.age_ms(7).is_none());
    }
}
