//! `programs put | get | list | delete | import`.
//!
//! What is put is stored and published. The functions block; each runs on an executor of its own.

use std::fs::File;
use std::future::Future;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::Arc;

use adtrack_config::{ProgramIdRefusal, ProgramIdRule};
use adtrack_proto::bus::{Outdated, PutPrograms};
use adtrack_proto::{Program, ProgramError, ProgramId, ProgramIdError};

use super::elements::{ELEMENT_BYTES_MAX, Element, Elements};
use super::program_store::{ProgramReader, ProgramWriter};

pub use super::program_store::{StoreError, Target};

/// A progress line is written each time that so many programs are stored.
const PROGRESS_PROGRAMS: u64 = 10_000;
/// Programs of an import that are stored together: what is in memory, and what a service handles at a time.
const BATCH_PROGRAMS: usize = PutPrograms::MAX;
/// Bytes of them, about: the admin API takes a body of 1 MiB.
const BATCH_BYTES: usize = 512 << 10;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum ProgramsError {
    /// The file cannot be read.
    #[error("{name} cannot be read")]
    Input {
        /// Its name.
        name: String,
        /// The operating system's reason.
        source: io::Error,
    },
    /// What should be one program is longer than a program can be.
    #[error("{name} has more than {ELEMENT_BYTES_MAX} bytes, one program has at most that; use import for several")]
    TooLong {
        /// The file's name.
        name: String,
    },
    /// It is not a program.
    #[error("{name} is not a program: {source}")]
    NotAProgram {
        /// The file's name.
        name: String,
        /// What is wrong with it.
        source: ProgramError,
    },
    /// It is a program that nobody could ask for.
    #[error("{name} is not stored: {refusal}")]
    NotAskable {
        /// The file's name.
        name: String,
        /// Why not.
        refusal: ProgramIdRefusal,
    },
    /// A higher version of it is stored.
    #[error("{0}")]
    Outdated(Outdated),
    /// What was asked for cannot be an id.
    #[error(transparent)]
    Id(#[from] ProgramIdError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The output cannot be written.
    #[error("the output cannot be written")]
    Output(#[source] io::Error),
    /// There is no executor.
    #[error("the command cannot be run")]
    Executor(#[source] io::Error),
    /// The store failed in the middle of an import.
    #[error("stopped after {imported} programs: {source}")]
    Stopped {
        /// Stored and published before.
        imported: u64,
        /// Why.
        source: StoreError,
    },
}

/// What an import came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imported {
    /// Programs stored and published.
    pub imported: u64,
    /// Elements that are no programs, programs that no URL can ask for, and such of which a higher version is stored; each was
    /// reported.
    pub failed: u64,
    /// As in [`Put`].
    pub published: bool,
}

/// What a put came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// The program that is stored.
    pub program_id: ProgramId,
    /// Whether it was told to whoever answers; not when it went into the file because no service runs there.
    pub published: bool,
}

/// What a deletion came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deletion {
    /// Whether the store had the program.
    pub was_stored: bool,
    /// As in [`Put`].
    pub published: bool,
}

/// A named input: a file, or what comes in on standard input.
pub struct Input {
    name: String,
    reader: Box<dyn BufRead>,
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Input {
    /// The file of this name; `-` is standard input.
    ///
    /// # Errors
    /// [`ProgramsError::Input`] when there is no such file.
    pub fn open(name: &str) -> Result<Self, ProgramsError> {
        if name == "-" {
            return Ok(Self::new("standard input", io::stdin().lock()));
        }
        let file = File::open(name).map_err(|source| ProgramsError::Input { name: name.to_owned(), source })?;
        Ok(Self::new(name, BufReader::new(file)))
    }

    /// Any input, with the name that errors give it.
    pub fn new(name: &str, reader: impl BufRead + 'static) -> Self {
        Self { name: name.to_owned(), reader: Box::new(reader) }
    }
}

/// Stores and publishes one program, a JSON object in the contract's shape. A program that no URL can ask
/// for by `ids` is refused: whoever stores it expects an answer. So is one of which a higher version is stored.
///
/// # Errors
/// Those of [`ProgramsError`] but `Stopped`.
pub fn put(target: &Target, ids: &ProgramIdRule, input: Input) -> Result<Put, ProgramsError> {
    let Input { name, reader } = input;
    let mut json = Vec::new();
    let read = reader.take(ELEMENT_BYTES_MAX as u64 + 1).read_to_end(&mut json);
    read.map_err(|source| ProgramsError::Input { name: name.clone(), source })?;
    if json.len() > ELEMENT_BYTES_MAX {
        return Err(ProgramsError::TooLong { name });
    }
    let program = match Program::from_json(&json) {
        Ok(program) => program,
        Err(source) => return Err(ProgramsError::NotAProgram { name, source }),
    };
    askable(ids, &program).map_err(|refusal| ProgramsError::NotAskable { name, refusal })?;
    let program = Arc::new(program);
    block_on(async {
        let mut store = ProgramWriter::open(target).await?;
        if let Some(outdated) = store.put(std::slice::from_ref(&program)).await?.outdated.pop() {
            return Err(ProgramsError::Outdated(outdated));
        }
        Ok(Put { program_id: program.program_id.clone(), published: store.publishes() })
    })
}

fn askable(ids: &ProgramIdRule, program: &Program) -> Result<(), ProgramIdRefusal> {
    ids.check(program.program_id.as_str().as_bytes())
}

/// Deletes a program and publishes that. One that the store does not have may be in memories: it is published all the same.
///
/// # Errors
/// [`ProgramsError::Id`] or [`ProgramsError::Store`].
pub fn delete(target: &Target, id: &str) -> Result<Deletion, ProgramsError> {
    let id = ProgramId::new(id)?;
    block_on(async {
        let mut store = ProgramWriter::open(target).await?;
        let deleted = store.delete(&id).await?;
        Ok(Deletion { was_stored: deleted.was_stored, published: store.publishes() })
    })
}

/// What the store holds under an id.
///
/// # Errors
/// [`ProgramsError::Id`] or [`ProgramsError::Store`].
pub fn get(target: &Target, id: &str) -> Result<Option<Program>, ProgramsError> {
    let id = ProgramId::new(id)?;
    block_on(async { Ok(ProgramReader::open(target).await?.get(&id).await?) })
}

/// Writes every program of the store, one JSON object a line, in no particular order; returns how many. That nobody
/// reads on is no error.
///
/// # Errors
/// [`ProgramsError::Store`] or [`ProgramsError::Output`].
pub fn list(target: &Target, out: &mut impl Write) -> Result<u64, ProgramsError> {
    block_on(async {
        let mut store = ProgramReader::open(target).await?;
        let (mut listed, mut cursor) = (0, None);
        loop {
            let (programs, next) = store.page(cursor).await?;
            for program in &programs {
                match writeln!(out, "{}", program.to_json()) {
                    Ok(()) => listed += 1,
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(listed),
                    Err(error) => return Err(ProgramsError::Output(error)),
                }
            }
            cursor = next;
            if cursor.is_none() {
                return Ok(listed);
            }
        }
    })
}

/// Stores and publishes the programs of a JSON array or an NDJSON file, however many. What is no program, or none that a
/// URL can ask for by `ids`, is reported to `report` with its line, what has a lower version than is stored with its id, and the
/// rest goes on; progress is reported there too.
///
/// # Errors
/// [`ProgramsError::Store`] when nothing was imported yet, [`ProgramsError::Stopped`] later.
pub fn import(
    target: &Target,
    ids: &ProgramIdRule,
    input: Input,
    report: &mut impl Write,
) -> Result<Imported, ProgramsError> {
    block_on(async {
        let mut import = Import {
            store: ProgramWriter::open(target).await?,
            report,
            batch: Batch::default(),
            imported: 0,
            failed: 0,
        };
        for Element { line, text } in Elements::new(input.reader) {
            match text.map_err(|error| error.to_string()).and_then(|text| program_in(&text, ids)) {
                Ok(program) => import.add(program).await?,
                Err(error) => {
                    import.failed += 1;
                    writeln!(import.report, "{}, line {line}: {error}", input.name).map_err(ProgramsError::Output)?;
                }
            }
        }
        import.flush().await?;
        Ok(Imported { imported: import.imported, failed: import.failed, published: import.store.publishes() })
    })
}

/// The program in an element of an import, or what is wrong with it.
fn program_in(text: &[u8], ids: &ProgramIdRule) -> Result<Program, String> {
    let program = Program::from_json(text).map_err(|error| error.to_string())?;
    askable(ids, &program).map_err(|refusal| refusal.to_string())?;
    Ok(program)
}

struct Import<'r, W> {
    store: ProgramWriter,
    report: &'r mut W,
    batch: Batch,
    imported: u64,
    failed: u64,
}

#[derive(Default)]
struct Batch {
    programs: Vec<Arc<Program>>,
    bytes: usize,
}

impl<W: Write> Import<'_, W> {
    async fn add(&mut self, program: Program) -> Result<(), ProgramsError> {
        let bytes = program.to_json().len();
        if self.batch.programs.len() == BATCH_PROGRAMS || self.batch.bytes + bytes > BATCH_BYTES {
            self.flush().await?;
        }
        self.batch.bytes += bytes;
        self.batch.programs.push(Arc::new(program));
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), ProgramsError> {
        let Batch { programs, .. } = std::mem::take(&mut self.batch);
        if programs.is_empty() {
            return Ok(());
        }
        let imported = self.imported;
        let put = self.store.put(&programs).await;
        let outdated = put.map_err(|source| ProgramsError::Stopped { imported, source })?.outdated;
        for refused in &outdated {
            writeln!(self.report, "{refused}").map_err(ProgramsError::Output)?;
        }
        self.failed += outdated.len() as u64;
        self.imported += (programs.len() - outdated.len()) as u64;
        if imported / PROGRESS_PROGRAMS != self.imported / PROGRESS_PROGRAMS {
            writeln!(self.report, "{} programs imported", self.imported).map_err(ProgramsError::Output)?;
        }
        Ok(())
    }
}

fn block_on<T>(command: impl Future<Output = Result<T, ProgramsError>>) -> Result<T, ProgramsError> {
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build();
    executor.map_err(ProgramsError::Executor)?.block_on(command)
}

#[cfg(test)]
mod tests;
