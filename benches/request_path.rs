//! What does a request cost from its socket and back, beside bare hyper sending as many bytes?

use adtrack_benches::{compare, request_path};
use criterion::{criterion_group, criterion_main};

fn request_path(criterion: &mut criterion::Criterion) {
    compare(criterion, request_path::questions());
}
criterion_group!(benches, request_path);
criterion_main!(benches);
