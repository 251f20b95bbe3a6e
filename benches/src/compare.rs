//! Questions as criterion groups.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use vertebra::BoxError;

use crate::question::Question;

/// Runs every case of every question as a criterion group, by wall time. Short runs: what is compared differs by more
/// than a few per cent, and a whole pass must not take an hour.
///
/// # Panics
/// When a question cannot be set up or a case fails: a figure for work that was not done would be worse.
pub fn compare(criterion: &mut Criterion, questions: Result<Vec<Question>, BoxError>) {
    for question in or_panic("setting up", questions) {
        let mut group = criterion.benchmark_group(question.name);
        group.warm_up_time(Duration::from_millis(500));
        group.measurement_time(Duration::from_secs(1));
        group.sample_size(20);
        for mut case in question.cases {
            let id = BenchmarkId::from_parameter(&case.name);
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|operations| or_panic(&case.name.clone(), case.run(operations)).wall);
            });
        }
        group.finish();
    }
}

fn or_panic<T>(doing: &str, outcome: Result<T, BoxError>) -> T {
    match outcome {
        Ok(value) => value,
        Err(error) => panic!("{doing}: {error}"),
    }
}
