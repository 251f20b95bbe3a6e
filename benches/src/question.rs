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
    pub(crate) fn new(name: &'static str, cases: Vec<Case>) -> Self {
        Self { name, cases, two_threads: false }
    }
}

/// One way to do the work of a question, set up and ready to run.
pub struct Case {
    /// What does the work.
    pub name: String,
    run: Box<dyn FnMut(u64) -> Result<Measured, BoxError>>,
}

impl Case {
    pub(crate) fn new(name: impl Into<String>, run: impl FnMut(u64) -> Result<Measured, BoxError> + 'static) -> Self {
        Self { name: name.into(), run: Box::new(run) }
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
