//! [`Watch`]: changes of the state of any container, without asking again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use fs_err as fs;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use super::Id;
use super::paths::Places;

/// Becomes readable when the state of some container changed, or one appeared or vanished. What changed
/// between opening it and looking at the containers is not missed, if it is opened first.
#[derive(Debug)]
pub struct Watch {
    changes: OwnedFd,
    places: Places,
    /// Watch descriptor → container.
    containers: BTreeMap<i32, Id>,
}

impl Watch {
    pub(super) fn open(places: &Places) -> io::Result<Self> {
        let changes = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let flags = WatchFlags::MOVED_TO | WatchFlags::MOVED_FROM | WatchFlags::ONLYDIR;
        inotify::add_watch(&changes, places.containers(), flags)?;
        let mut watch = Self { changes, places: places.clone(), containers: BTreeMap::new() };
        for entry in fs::read_dir(watch.places.containers())? {
            if let Some(Ok(id)) = entry?.file_name().to_str().map(str::parse) {
                watch.add(id);
            }
        }
        Ok(watch)
    }

    /// Blocks until a container changed, or the time is up; their ids.
    pub fn next(&mut self, timeout: Option<Duration>) -> io::Result<BTreeSet<Id>> {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        loop {
            let mut fds = [PollFd::new(&self.changes, PollFlags::IN)];
            match poll(&mut fds, timeout.as_ref()) {
                Ok(0) => return Ok(BTreeSet::new()),
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            }
            let changed = self.read()?;
            if !changed.is_empty() {
                return Ok(changed);
            }
        }
    }

    /// What has changed by now, without waiting: for a loop of the caller's own around [`Watch::as_fd`].
    pub fn read(&mut self) -> io::Result<BTreeSet<Id>> {
        let mut seen = Vec::new();
        let mut buffer = [const { MaybeUninit::uninit() }; 16 << 10];
        let mut reader = inotify::Reader::new(&self.changes, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().and_then(|name| name.to_str().ok());
                    seen.push((event.wd(), event.events(), name.map(str::to_owned)));
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        let mut changed = BTreeSet::new();
        for (wd, events, name) in seen {
            if events.contains(ReadFlags::QUEUE_OVERFLOW) {
                changed.extend(self.containers.values().cloned());
            } else if events.contains(ReadFlags::IGNORED) {
                changed.extend(self.containers.remove(&wd));
            } else if let Some(id) = self.containers.get(&wd) {
                changed.extend((name.as_deref() == Some("state.json")).then(|| id.clone()));
            } else if let Some(Ok(id)) = name.as_deref().map(str::parse::<Id>) {
                if events.contains(ReadFlags::MOVED_TO) {
                    self.add(id.clone());
                }
                changed.insert(id);
            }
        }
        Ok(changed)
    }

    /// One that vanished meanwhile needs no watching.
    fn add(&mut self, id: Id) {
        let dir = self.places.container(&id).dir;
        if let Ok(wd) = inotify::add_watch(&self.changes, dir, WatchFlags::MOVED_TO) {
            self.containers.insert(wd, id);
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.changes.as_fd()
    }
}
