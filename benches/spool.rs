//! What does it cost to bring events into the log, and would one writer for all loops be cheaper than one each?

use adtrack_benches::{compare, spool};
use criterion::{criterion_group, criterion_main};

fn spool(criterion: &mut criterion::Criterion) {
    compare(criterion, spool::questions());
}
criterion_group!(benches, spool);
criterion_main!(benches);
