//! The one thread that changes the database, for everybody, many changes a commit.
//!
//! A change is a closure that decides by what it reads in the transaction, writes, and says what the
//! index has to learn. Each runs in a savepoint, so a refused one leaves nothing behind. Whoever
//! waits is answered after the commit that holds the change is on disk and the index knows of it.
//! While one commit waits for the disk the next one's changes gather: that is what makes many small
//! pushes fast with `synchronous=FULL`.

use std::sync::{Arc, PoisonError, RwLock, mpsc};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::index::{Delta, Index};
use super::refusal::Refusal;

/// Changes in one commit, at most.
const BATCH: usize = 256;

/// A change at work: the transaction, and what the index is to learn.
#[derive(Debug)]
pub(super) struct Change<'a> {
    pub(super) db: &'a Connection,
    pub(super) deltas: &'a mut Vec<Delta>,
}

/// What is to be told to whoever waits, once the commit has succeeded or failed.
type Answer = Box<dyn FnOnce(Result<(), Refusal>) + Send>;
/// Without a connection nothing is tried: there is no transaction to do it in.
type Job = Box<dyn FnOnce(Option<&Connection>, &mut Vec<Delta>) -> Answer + Send>;

/// How to reach the thread. It ends when all copies are dropped and everything is written.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
}

impl Writer {
    pub(super) fn start(
        db: Connection,
        index: Arc<RwLock<Index>>,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (jobs, queue) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("registry-writer".into())
            .spawn(move || work(&db, &index, &queue))?;
        Ok((Self { jobs }, thread))
    }

    /// Carries out one change; when this returns it is on disk.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Change<'_>) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (tell, told) = oneshot::channel();
        self.send(change, move |answer| drop(tell.send(answer)))?;
        told.await.unwrap_or_else(|_ended| Err(ended()))
    }

    /// The same for a thread that may wait.
    pub(super) fn run_blocking<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Change<'_>) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (tell, told) = mpsc::sync_channel(1);
        self.send(change, move |answer| drop(tell.send(answer)))?;
        told.recv().unwrap_or_else(|_ended| Err(ended()))
    }

    fn send<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Change<'_>) -> Result<T, Refusal> + Send + 'static,
        tell: impl FnOnce(Result<T, Refusal>) + Send + 'static,
    ) -> Result<(), Refusal> {
        let job: Job = Box::new(move |db, deltas| {
            let answer = db.map_or_else(|| Err(ended()), |db| one(db, deltas, change));
            Box::new(move |committed| {
                tell(match (committed, answer) {
                    (Ok(()), answer) => answer,
                    (Err(refusal), _) => Err(refusal),
                });
            })
        });
        self.jobs.send(job).map_err(|_ended| ended())
    }
}

fn ended() -> Refusal {
    let gone = std::io::Error::other("the registry is ending");
    Refusal::internal("write to its database", &gone)
}

/// Runs one change in a savepoint of its own.
fn one<T>(
    db: &Connection,
    deltas: &mut Vec<Delta>,
    change: impl FnOnce(&mut Change<'_>) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let before = deltas.len();
    db.execute_batch("SAVEPOINT change").map_err(|error| failed(&error))?;
    let answer = change(&mut Change { db, deltas });
    let end = match answer {
        Ok(_) => "RELEASE change",
        Err(_) => "ROLLBACK TO change; RELEASE change",
    };
    if answer.is_err() {
        deltas.truncate(before);
    }
    match db.execute_batch(end) {
        Err(error) if answer.is_ok() => Err(failed(&error)),
        _ => answer,
    }
}

fn work(db: &Connection, index: &RwLock<Index>, queue: &mpsc::Receiver<Job>) {
    let mut deltas = Vec::new();
    while let Ok(first) = queue.recv() {
        let begun = db.execute_batch("BEGIN IMMEDIATE").map_err(|error| failed(&error));
        let jobs = std::iter::once(first).chain(queue.try_iter().take(BATCH - 1));
        // a full disk ends the transaction in the middle
        let open = || (begun.is_ok() && !db.is_autocommit()).then_some(db);
        let answers: Vec<Answer> = jobs.map(|job| job(open(), &mut deltas)).collect();
        let committed = begun.and_then(|()| {
            db.execute_batch("COMMIT").map_err(|error| {
                drop(db.execute_batch("ROLLBACK"));
                failed(&error)
            })
        });
        match &committed {
            Ok(()) => {
                let mut index = index.write().unwrap_or_else(PoisonError::into_inner);
                deltas.drain(..).for_each(|delta| index.apply(delta));
            }
            Err(_) => deltas.clear(),
        }
        let outcome = committed.map_err(|refusal| (refusal.status, refusal.code, refusal.message));
        for answer in answers {
            answer(match &outcome {
                Ok(()) => Ok(()),
                Err((status, code, message)) => Err(Refusal::new(*status, *code, message)),
            });
        }
    }
}

/// A database's refusal as the client's.
pub(super) fn failed(error: &rusqlite::Error) -> Refusal {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => {
            tracing::error!(%error, "cannot write to the registry's database");
            Refusal::full()
        }
        _ => Refusal::internal("use its database", error),
    }
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        failed(&error)
    }
}
