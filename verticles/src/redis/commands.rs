//! What is asked of Redis, over any connection. Times are bounded by the caller.

use ::redis::aio::ConnectionLike;
use ::redis::{Pipeline, RedisError, RedisResult, cmd};
use adtrack_proto::{Program, ProgramId};

use super::hash::{self, Foreign};

/// Keys looked at by one step of a listing or purge.
pub(super) const SCAN_KEYS_MAX: usize = 500;

/// Deletes a key that holds a program, and no other.
const DELETE_PROGRAM: &str =
    "if redis.call('HGET', KEYS[1], 'programId') == KEYS[1] then return redis.call('DEL', KEYS[1]) end return 0";

/// A field and its value, as Redis keeps them.
type Field = (Vec<u8>, Vec<u8>);

/// What is found under a program's key.
#[derive(Debug)]
pub(super) enum Found {
    Program(Program),
    /// Nothing, and that is remembered.
    Deleted {
        version: u64,
    },
    Nothing,
    /// Something that is no program; `None`: not even a hash.
    Foreign(Option<Foreign>),
}

/// One step of a listing.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) programs: Vec<Program>,
    /// Keys that claim to be programs and are not.
    pub(super) foreign: u64,
    /// Where to go on; 0 when this was the end.
    pub(super) cursor: u64,
}

pub(super) async fn ping(connection: &mut impl ConnectionLike) -> RedisResult<()> {
    cmd("PING").query_async(connection).await
}

/// HGETALL, because that is what an ACL written for the reference allows.
pub(super) async fn lookup(
    connection: &mut impl ConnectionLike,
    id: &ProgramId,
    bytes_max: usize,
) -> RedisResult<Found> {
    let fields: RedisResult<Vec<Field>> = cmd("HGETALL").arg(id.as_str()).query_async(connection).await;
    match found(id, fields, bytes_max)? {
        Found::Nothing => deletion(connection, id).await,
        found => Ok(found),
    }
}

/// What is remembered of a program that is not there. Nothing, where the user may not look or the key is somebody else's.
async fn deletion(connection: &mut impl ConnectionLike, id: &ProgramId) -> RedisResult<Found> {
    let kept: RedisResult<Vec<Field>> = cmd("HGETALL").arg(deleted_key(id)).query_async(connection).await;
    match kept {
        Ok(fields) => Ok(hash::version(&fields).map_or(Found::Nothing, |version| Found::Deleted { version })),
        Err(error) if matches!(error.code(), Some("WRONGTYPE" | "NOPERM")) => Ok(Found::Nothing),
        Err(error) => Err(error),
    }
}

/// The key of a program's deletion: in a cluster in the slot of the program's own, which is what the braces are for.
pub(super) fn deleted_key(id: &ProgramId) -> String {
    format!("adtrack:deleted:{{{id}}}")
}

fn found(id: &ProgramId, fields: RedisResult<Vec<Field>>, bytes_max: usize) -> RedisResult<Found> {
    match fields {
        Ok(fields) => Ok(match hash::program(id, &fields, bytes_max) {
            Ok(Some(program)) => Found::Program(program),
            Ok(None) => Found::Nothing,
            Err(foreign) => Found::Foreign(Some(foreign)),
        }),
        Err(error) if error.code() == Some("WRONGTYPE") => Ok(Found::Foreign(None)),
        Err(error) => Err(error),
    }
}

/// The programs among the next keys, `keys` of them or so.
pub(super) async fn page(
    connection: &mut impl ConnectionLike,
    cursor: u64,
    keys: usize,
    bytes_max: usize,
) -> RedisResult<Page> {
    let (cursor, keys) = scan(connection, cursor, keys).await?;
    let ids = programs_among(connection, keys).await?;
    let mut pipeline = Pipeline::with_capacity(ids.len());
    for id in &ids {
        pipeline.cmd("HGETALL").arg(id.as_str());
    }
    let hashes: Vec<RedisResult<Vec<Field>>> = query_each(&mut pipeline, connection).await?;
    let mut page = Page { programs: Vec::with_capacity(ids.len()), foreign: 0, cursor };
    for (id, fields) in ids.iter().zip(hashes) {
        match found(id, fields, bytes_max)? {
            Found::Program(program) => page.programs.push(program),
            Found::Nothing | Found::Deleted { .. } => {}
            Found::Foreign(_) => page.foreign += 1,
        }
    }
    Ok(page)
}

/// Deletes the programs among the next keys; returns how many, and where to go on.
pub(super) async fn purge_step(connection: &mut impl ConnectionLike, cursor: u64) -> RedisResult<(u64, u64)> {
    let (cursor, keys) = scan(connection, cursor, SCAN_KEYS_MAX).await?;
    let ids = programs_among(connection, keys).await?;
    let mut pipeline = Pipeline::with_capacity(ids.len());
    for id in &ids {
        // Looked at again in the step that deletes: it may hold something else by now.
        pipeline.cmd("EVAL").arg(DELETE_PROGRAM).arg(1).arg(id.as_str());
    }
    let deleted: Vec<RedisResult<u64>> = query_each(&mut pipeline, connection).await?;
    let mut total = 0;
    for deleted in deleted {
        match deleted {
            Ok(count) => total += count,
            Err(error) if error.to_string().contains("WRONGTYPE") => {}
            Err(error) => return Err(error),
        }
    }
    Ok((total, cursor))
}

async fn scan(connection: &mut impl ConnectionLike, cursor: u64, keys: usize) -> RedisResult<(u64, Vec<Vec<u8>>)> {
    let mut scan = cmd("SCAN");
    scan.arg(cursor).arg("COUNT").arg(keys).arg("TYPE").arg("hash");
    scan.query_async(connection).await
}

/// Those of the keys whose hash says that it is the program of that key. One small field is read, not the hash: it may be
/// anybody's, of any size.
async fn programs_among(connection: &mut impl ConnectionLike, keys: Vec<Vec<u8>>) -> RedisResult<Vec<ProgramId>> {
    let ids = keys.into_iter().filter_map(|key| ProgramId::new(String::from_utf8(key).ok()?).ok());
    let ids: Vec<_> = ids.collect();
    let mut pipeline = Pipeline::with_capacity(ids.len());
    for id in &ids {
        pipeline.cmd("HGET").arg(id.as_str()).arg("programId");
    }
    let named: Vec<RedisResult<Option<Vec<u8>>>> = query_each(&mut pipeline, connection).await?;
    let own = |(id, named): (ProgramId, RedisResult<Option<Vec<u8>>>)| match named {
        Ok(Some(name)) if name == id.as_str().as_bytes() => Some(Ok(id)),
        Ok(_) => None,
        Err(error) if error.code() == Some("WRONGTYPE") => None,
        Err(error) => Some(Err(error)),
    };
    ids.into_iter().zip(named).filter_map(own).collect()
}

pub(super) async fn query_each<T: ::redis::FromRedisValue>(
    pipeline: &mut Pipeline,
    connection: &mut impl ConnectionLike,
) -> Result<Vec<RedisResult<T>>, RedisError> {
    if pipeline.is_empty() {
        return Ok(Vec::new());
    }
    pipeline.ignore_errors().query_async(connection).await
}
