//! Carrying output from processes to the log and to clients.

use super::protocol::Kind;
use super::supervisor::{Supervisor, is_attached};
use crate::container::clock;
use crate::logs::{Stream, stamp};

impl Supervisor {
    /// Reads the container's output once and hands it to the log and to who is attached.
    pub(super) fn pump(&mut self, at: usize) {
        let Some(run) = &mut self.run else { return };
        let Some(stream) = run.streams.sources.get(at).map(|source| source.stream) else { return };
        let Some(read) = run.streams.read(at, &mut self.buffer) else { return };
        let now = clock::now();
        let time = stamp(now);
        let Some(log) = &mut self.log else { return };
        let lines = &mut self.lines[stream as usize];
        let mut add = |line: &[u8]| log.add(stream, &time, line);
        match read {
            0 => lines.finish(&mut add),
            read => lines.push(&self.buffer[..read], &mut add),
        }
        log.flush(now);
        let (monotonic, kind) = (clock::monotonic(), kind_of(stream));
        for client in self.clients.values_mut().filter(|c| read > 0 && is_attached(c.role)) {
            client.send(kind, &self.buffer[..read]);
            // A client that is gone is noticed when its socket is read.
            client.flush(monotonic);
        }
    }

    /// Logs what is left of a line that was never ended.
    pub(super) fn finish_output(&mut self) {
        let now = clock::now();
        let time = stamp(now);
        let Some(log) = &mut self.log else { return };
        for (lines, stream) in self.lines.iter_mut().zip([Stream::Stdout, Stream::Stderr]) {
            lines.finish(&mut |line| log.add(stream, &time, line));
        }
        log.flush(now);
    }

    /// Reads an exec's output once and hands it to its client. `false`: there is none now.
    pub(super) fn pump_exec(&mut self, id: u32, at: usize) -> bool {
        let Some(exec) = self.execs.get_mut(&id) else { return false };
        let Some(stream) = exec.streams.sources.get(at).map(|source| source.stream) else {
            return false;
        };
        let Some(read) = exec.streams.read(at, &mut self.buffer) else { return false };
        if let Some(client) = exec.client.and_then(|client| self.clients.get_mut(&client))
            && read > 0
        {
            client.send(kind_of(stream), &self.buffer[..read]);
            client.flush(clock::monotonic());
        }
        read > 0
    }
}

fn kind_of(stream: Stream) -> Kind {
    match stream {
        Stream::Stdout => Kind::Stdout,
        Stream::Stderr => Kind::Stderr,
    }
}
