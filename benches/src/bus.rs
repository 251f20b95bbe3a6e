//! What the event bus costs beside what one would use without it.

mod channels;
mod consumers;
mod cross_loop;
mod publish;
mod request;
mod send;
mod table;

use vertebra::BoxError;

use crate::question::Question;

/// Every question about the bus, ready to run.
///
/// # Errors
/// When the system refuses a thread or an event queue.
pub fn questions() -> Result<Vec<Question>, BoxError> {
    let mut questions = vec![request::ping_pong()?, request::window()?, send::pipelined()?];
    for consumers in [1, 8, 64] {
        questions.push(publish::to(consumers)?);
    }
    questions.extend([cross_loop::ping_pong()?, cross_loop::window()?, cross_loop::send()?]);
    Ok(questions)
}
