//! What does the event bus cost beside a bare channel, tokio's mpsc with a oneshot, and a direct call?

use adtrack_benches::{bus, compare};
use criterion::{criterion_group, criterion_main};

fn bus(criterion: &mut criterion::Criterion) {
    compare(criterion, bus::questions());
}
criterion_group!(benches, bus);
criterion_main!(benches);
