//! Programs are changed: stored or deleted, published, and kept in the stream of changes.
//!
//! One script does it all in one step. In a cluster it cannot, unless all keys are in one slot: there the stream follows in a
//! step of its own. That is made again when its answer is lost; a change that is kept twice says the same twice. When it cannot
//! be made at all the whole change fails, although it is stored and published, so that whoever wanted it tries again.

use std::cell::Cell;
use std::time::Duration;

use ::redis::aio::ConnectionLike;
use ::redis::{FromRedisValue, Pipeline, RedisResult};
use adtrack_config::RedisConfig;
use adtrack_proto::Program;
use adtrack_proto::ProgramId;
use adtrack_proto::bus::{Deleted, Outdated};
use adtrack_proto::program::Deletion;

use super::commands::{deleted_key, query_each};
use super::script;

/// Programs stored by one pipeline: more of them would keep the reads of others waiting behind it.
pub(super) const PROGRAMS_MAX: usize = 100;
/// How long a deletion is kept: longer than anything that was said before it can be on its way.
const DELETION_KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// How often it is tried to keep changes apart from the script.
const APPENDS_MAX: u32 = 3;

/// Whoever changes programs, over any connection. Times are bounded by the caller.
#[derive(Debug)]
pub(super) struct Writer {
    channel: String,
    stream: String,
    changes_max: u64,
    /// The stream is in another slot than the programs.
    apart: Cell<bool>,
}

/// What became of a program that was to be deleted.
#[derive(Debug)]
pub(super) enum Deleting {
    Done(Deleted),
    /// Not done: there is no version above this one.
    Last {
        stored: u64,
    },
    /// Not done: the key holds no program.
    Foreign,
}

impl Writer {
    pub(super) fn new(config: &RedisConfig) -> Self {
        let (channel, stream) = (config.channel.clone(), config.changes_key.clone());
        Self { channel, stream, changes_max: config.changes_max, apart: Cell::default() }
    }

    /// Stores at most [`PROGRAMS_MAX`] programs, those of which no higher version is stored, and makes each known. Returns what
    /// was stored, with its version.
    pub(super) async fn put(
        &self,
        connection: &mut impl ConnectionLike,
        programs: &[impl AsRef<Program>],
    ) -> RedisResult<Vec<Result<Program, Outdated>>> {
        let answers: Vec<(bool, u64)> = self
            .call(connection, |pipeline, stream| {
                for program in programs {
                    self.add_put(pipeline, program.as_ref(), stream);
                }
            })
            .await?;
        let outcome = |(program, (is_stored, version)): (&Program, (bool, u64))| match is_stored {
            true => Ok(Program { version: Some(version), ..program.clone() }),
            false => {
                Err(Outdated { program_id: program.program_id.clone(), version: program.version, stored: version })
            }
        };
        let outcomes: Vec<_> = programs.iter().map(AsRef::as_ref).zip(answers).map(outcome).collect();
        self.append(connection, outcomes.iter().flatten().map(Program::to_json)).await?;
        Ok(outcomes)
    }

    fn add_put(&self, pipeline: &mut Pipeline, program: &Program, stream: Option<&str>) {
        let put = script::PUT.call(pipeline);
        self.add_keys(put, &program.program_id, stream);
        let version = program.version.map(|version| version.to_string()).unwrap_or_default();
        put.arg(program.to_json_unversioned()).arg(version);
        for (name, value) in program.to_fields() {
            put.arg(name).arg(value.as_ref());
        }
    }

    /// Deletes a program and makes that known.
    pub(super) async fn delete(&self, connection: &mut impl ConnectionLike, id: &ProgramId) -> RedisResult<Deleting> {
        let unversioned = Deletion { program_id: id.clone(), version: None };
        let deleting = self.call(connection, |pipeline, stream| {
            let delete = script::DELETE.call(pipeline);
            self.add_keys(delete, id, stream);
            delete.arg(unversioned.to_json()).arg(id.as_str()).arg(DELETION_KEPT.as_secs());
        });
        let answers: Vec<(u8, u64)> = deleting.await?;
        let (was_stored, version) = match answers[..] {
            [(1, version)] => (true, version),
            [(2, version)] => (false, version),
            [(0, stored)] => return Ok(Deleting::Last { stored }),
            _ => return Ok(Deleting::Foreign),
        };
        let deletion = Deletion { version: Some(version), ..unversioned };
        self.append(connection, [deletion.to_json()]).await?;
        Ok(Deleting::Done(Deleted { version, was_stored }))
    }

    /// What both scripts begin with.
    fn add_keys(&self, call: &mut Pipeline, id: &ProgramId, stream: Option<&str>) {
        call.arg(2 + usize::from(stream.is_some())).arg(id.as_str()).arg(deleted_key(id)).arg(stream);
        call.arg(&self.channel).arg(self.changes_max);
    }

    /// Has scripts called, with the stream as a key if that can be.
    async fn call<T: FromRedisValue>(
        &self,
        connection: &mut impl ConnectionLike,
        add: impl Fn(&mut Pipeline, Option<&str>),
    ) -> RedisResult<Vec<T>> {
        if !self.apart.get() {
            let mut pipeline = Pipeline::new();
            add(&mut pipeline, Some(&self.stream));
            let answers: Vec<RedisResult<T>> = query_each(&mut pipeline, connection).await?;
            let is_apart = |answer: &RedisResult<T>| matches!(answer, Err(error) if error.code() == Some("CROSSSLOT"));
            if !answers.iter().any(is_apart) {
                return answers.into_iter().collect();
            }
            tracing::info!(stream = self.stream, "redis is a cluster: changes are kept in a step of their own");
            self.apart.set(true);
        }
        let mut pipeline = Pipeline::new();
        add(&mut pipeline, None);
        query_each(&mut pipeline, connection).await?.into_iter().collect()
    }

    /// Keeps changes that the scripts could not keep.
    async fn append(
        &self,
        connection: &mut impl ConnectionLike,
        changes: impl IntoIterator<Item = String>,
    ) -> RedisResult<()> {
        if !self.apart.get() {
            return Ok(());
        }
        let mut pipeline = Pipeline::new();
        for change in changes {
            let append = pipeline.cmd("XADD").arg(&self.stream).arg("MAXLEN").arg("~").arg(self.changes_max);
            append.arg("*").arg("change").arg(change).ignore();
        }
        if pipeline.is_empty() {
            return Ok(());
        }
        let mut attempts = 1;
        loop {
            match pipeline.query_async(connection).await {
                Err(error) if attempts < APPENDS_MAX && error.is_io_error() => attempts += 1,
                appended => return appended,
            }
        }
    }
}
