//! [`Arrival`]: a blob that one thread writes and another reads at the same time.
//!
//! The writer is the download; the reader unpacks. The file is the blob itself on its way into the
//! store, so nothing is held in memory and nothing is written twice.

use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// What both sides know. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrival(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The bytes; `None` before the first.
    file: Option<File>,
    written: u64,
    end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Complete,
    /// Given up, or begun anew: what was read is worth nothing.
    Broken,
}

/// The writer's side. Dropped before it is complete, the readers learn that.
#[derive(Debug)]
pub(crate) struct Arriving(Arrival);

#[derive(Debug)]
struct Follower {
    arrival: Arrival,
    file: File,
    at: u64,
}

impl Arrival {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.0.changed.notify_all();
    }

    fn wait<'a>(&'a self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes from the first on, as they come. Blocks until there are some.
    pub(crate) fn reader(&self) -> io::Result<Box<dyn Read + Send>> {
        let mut state = self.state();
        loop {
            match (&state.file, state.end) {
                (_, Some(End::Broken)) => return Err(broken()),
                (Some(file), _) => {
                    let file = file.try_clone()?;
                    let arrival = self.clone();
                    return Ok(Box::new(Follower { arrival, file, at: 0 }));
                }
                (None, Some(End::Complete)) => return Ok(Box::new(io::empty())),
                (None, None) => state = self.wait(state),
            }
        }
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the download broke off")
}

impl Arriving {
    pub(crate) fn new(arrival: Arrival) -> Self {
        Self(arrival)
    }

    /// The bytes are in `file`, of which `written` can be read.
    pub(crate) fn begin(&self, file: File, written: u64) {
        self.0.change(|state| (state.file, state.written) = (Some(file), written));
    }

    pub(crate) fn written(&self, written: u64) {
        self.0.change(|state| state.written = written);
    }

    /// What was readable is not any more.
    pub(crate) fn broke(&self) {
        self.0.change(|state| state.end = Some(End::Broken));
    }

    /// All bytes are there.
    pub(crate) fn complete(&self) {
        self.0.change(|state| {
            state.end.get_or_insert(End::Complete);
        });
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.0.change(|state| {
            state.end.get_or_insert(End::Broken);
        });
    }
}

impl Read for Follower {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use std::os::unix::fs::FileExt;
        let mut state = self.arrival.state();
        loop {
            if state.end == Some(End::Broken) {
                return Err(broken());
            }
            let ready = state.written - self.at.min(state.written);
            if ready > 0 {
                drop(state);
                let most = usize::try_from(ready).unwrap_or(usize::MAX).min(buffer.len());
                let count = self.file.read_at(&mut buffer[..most], self.at)?;
                self.at += count as u64;
                return Ok(count);
            }
            if state.end.is_some() {
                return Ok(0);
            }
            state = self.arrival.wait(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn reads_while_it_is_written() {
        let mut file = tempfile::tempfile().unwrap();
        let arrival = Arrival::default();
        let arriving = Arriving::new(arrival.clone());
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            arrival.reader().unwrap().read_to_end(&mut all).unwrap();
            all
        });
        arriving.begin(file.try_clone().unwrap(), 0);
        for piece in [b"one ", b"two "] {
            file.write_all(piece).unwrap();
            arriving.written(file.metadata().unwrap().len());
        }
        arriving.complete();
        assert_eq!(reader.join().unwrap(), b"one two ");
    }

    #[test]
    fn a_writer_that_goes_is_noticed() {
        for begun in [false, true] {
            let arrival = Arrival::default();
            let arriving = Arriving::new(arrival.clone());
            if begun {
                arriving.begin(tempfile::tempfile().unwrap(), 0);
            }
            let reader = std::thread::spawn(move || {
                arrival.reader().and_then(|mut reader| reader.read_to_end(&mut Vec::new()))
            });
            drop(arriving);
            assert!(reader.join().unwrap().is_err());
        }
    }
}
