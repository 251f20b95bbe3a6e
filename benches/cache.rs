//! What does a lookup of a known program cost beside a plain map and beside moka alone?

use adtrack_benches::{cache, compare};
use criterion::{criterion_group, criterion_main};

fn cache(criterion: &mut criterion::Criterion) {
    compare(criterion, cache::questions());
}
criterion_group!(benches, cache);
criterion_main!(benches);
