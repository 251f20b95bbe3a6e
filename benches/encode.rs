//! What does writing an event and an answer cost beside the generated code and serde_json?

use adtrack_benches::{compare, encode};
use criterion::{criterion_group, criterion_main};

fn encode(criterion: &mut criterion::Criterion) {
    compare(criterion, encode::questions());
}
criterion_group!(benches, encode);
criterion_main!(benches);
