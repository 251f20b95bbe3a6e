//! A question about speed, and the cases that are compared to answer it.

use std::fmt;

use vertebra::BoxError;

use crate::stopwatch::Measured;

/// Cases that do the same work.
#[derive(Debug)]
pub struct Question {
    /// What is compared; a criterion group.
    pub name: &'static str,
    /// The base, which ratios are taken to; then the other cases.
    pub cases: Vec<Case>,
    /// Whether two threads work at once. Then the figures mean something only while each has a core to itself.
    pub two_threads: bool,
}

impl Question {
    /// A question whose first case is the base.
    #[must_use]
    pub fn new(name: &'static str, cases: Vec<Case>) -> Self {
        Self { name, cases, two_threads: false }
    }
}

/// One way to do the work of a question, set up and ready to run.
pub struct Case {
    /// What does the work.
    pub name: String,
    /// Whether it is ours, and not what it is compared with.
    pub ours: bool,
    /// The ratio to the base that it must not exceed, where one is set.
    pub at_most: Option<f64>,
    run: Box<dyn FnMut(u64) -> Result<Measured, BoxError>>,
}

impl Case {
    /// A case that does as many operations as it is told to.
    pub fn new(name: impl Into<String>, run: impl FnMut(u64) -> Result<Measured, BoxError> + 'static) -> Self {
        Self { name: name.into(), ours: false, at_most: None, run: Box::new(run) }
    }

    /// Says that this case is what the others are there for.
    #[must_use]
    pub fn ours(self) -> Self {
        Self { ours: true, ..self }
    }

    /// Ours, and the ratio of CPU times that it has to reach.
    #[must_use]
    pub fn at_most(self, ratio: f64) -> Self {
        Self { at_most: Some(ratio), ..self.ours() }
    }

    /// Does so many operations, and says what they took.
    ///
    /// # Errors
    /// Whatever kept the work from being done; a figure is never made up for work that was not.
    pub fn run(&mut self, operations: u64) -> Result<Measured, BoxError> {
        (self.run)(operations)
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Case").field(&self.name).finish()
    }
}
