//! What parent and child say to each other while a container is made: fixed eight-byte messages over a
//! sequenced socket, so that the child allocates nothing.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// What the child was doing when it failed. The text completes "failed to …".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Step {
    JoinCgroup,
    JoinNetwork,
    JoinContainer,
    Isolate,
    SetHostname,
    SetOomScore,
    MakeFileSystem,
    EnterRoot,
    AttachFileSystem,
    MakeDevice,
    Mount,
    Mask,
    MakeReadOnly,
    OpenTerminal,
    MakeWorkingDirectory,
    SetSysctl,
    SetStreams,
    SetLimit,
    Confine,
    EnterWorkingDirectory,
    SetUser,
    SetCapabilities,
    LoadFilter,
    Fork,
}

const STEPS: [(Step, &str); 24] = [
    (Step::JoinCgroup, "join the control group"),
    (Step::JoinNetwork, "join the network namespace"),
    (Step::JoinContainer, "join the container's namespaces"),
    (Step::Isolate, "isolate the process"),
    (Step::SetHostname, "set the host name"),
    (Step::SetOomScore, "set the OOM score"),
    (Step::MakeFileSystem, "create the file system"),
    (Step::EnterRoot, "enter the root file system"),
    (Step::AttachFileSystem, "attach the file system at"),
    (Step::MakeDevice, "create the device"),
    (Step::Mount, "mount on"),
    (Step::Mask, "mask"),
    (Step::MakeReadOnly, "make read-only"),
    (Step::OpenTerminal, "open a terminal"),
    (Step::MakeWorkingDirectory, "create the working directory"),
    (Step::SetSysctl, "set the sysctl"),
    (Step::SetStreams, "connect the standard streams"),
    (Step::SetLimit, "set the ulimit"),
    (Step::Confine, "give up privileges"),
    (Step::EnterWorkingDirectory, "enter the working directory"),
    (Step::SetUser, "change to the user"),
    (Step::SetCapabilities, "set the capabilities"),
    (Step::LoadFilter, "load the seccomp filter"),
    (Step::Fork, "fork"),
];

impl Step {
    /// For messages.
    pub(super) fn text(self) -> &'static str {
        STEPS.iter().find(|(step, _)| *step == self).map_or("set up", |(_, text)| text)
    }

    fn decode(byte: u8) -> Option<Self> {
        STEPS.iter().map(|&(step, _)| step).find(|&step| step as u8 == byte)
    }
}

/// A step that failed, on which of its subjects, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) step: Step,
    pub(super) index: u16,
    pub(super) errno: Errno,
}

/// Names the step of a failed call.
pub(super) trait At<T> {
    fn at(self, step: Step, index: usize) -> Result<T, Failure>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, step: Step, index: usize) -> Result<T, Failure> {
        let index = u16::try_from(index).unwrap_or(u16::MAX);
        self.map_err(|errno| Failure { step, index, errno })
    }
}

/// From the child.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// Everything is made; waiting for [`go`].
    Ready,
    /// A step failed; the child ends.
    Failed(Failure),
    /// `execve` failed; the child ends.
    NotExecuted(Errno),
    /// The program's process is this one (in the caller's process id namespace).
    Forked(i32),
}

impl Message {
    fn encode(&self) -> [u8; 8] {
        let (kind, step, index, value) = match self {
            Self::Ready => (1, 0, 0, 0),
            Self::Failed(failure) => {
                (2, failure.step as u8, failure.index, failure.errno.raw_os_error())
            }
            Self::NotExecuted(errno) => (3, 0, 0, errno.raw_os_error()),
            Self::Forked(pid) => (4, 0, 0, *pid),
        };
        let (i, v) = (index.to_le_bytes(), value.to_le_bytes());
        [kind, step, i[0], i[1], v[0], v[1], v[2], v[3]]
    }

    fn decode([kind, step, i0, i1, value @ ..]: [u8; 8]) -> Option<Self> {
        let value = i32::from_le_bytes(value);
        let errno = || (1..4096).contains(&value).then(|| Errno::from_raw_os_error(value));
        match kind {
            1 => Some(Self::Ready),
            2 => {
                let (step, index) = (Step::decode(step)?, u16::from_le_bytes([i0, i1]));
                Some(Self::Failed(Failure { step, index, errno: errno()? }))
            }
            3 => Some(Self::NotExecuted(errno()?)),
            4 => Some(Self::Forked(value)),
            _ => None,
        }
    }
}

/// Child: says something, perhaps with the terminal's controlling end. A parent that is gone is no error here: the
/// child finds out by [`wait_for_go`] or is killed.
pub(super) fn send(socket: BorrowedFd<'_>, message: &Message, console: Option<BorrowedFd<'_>>) {
    let bytes = message.encode();
    let fds = console.map(|fd| [fd]);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if let Some(fds) = &fds {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    while let Err(Errno::INTR) =
        sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)
    {}
}

/// Child: whether to go on; `false` when the parent is gone.
pub(super) fn wait_for_go(socket: BorrowedFd<'_>) -> bool {
    let mut byte = [0u8; 1];
    loop {
        match rustix::io::read(socket, &mut byte) {
            Err(Errno::INTR) => {}
            result => return result == Ok(1),
        }
    }
}

/// Child: whether the parent has closed its end.
pub(super) fn parent_is_gone(socket: BorrowedFd<'_>) -> bool {
    let mut byte = [0u8; 1];
    let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
    matches!(rustix::net::recv(socket, &mut byte, flags), Ok((0, _)))
}

/// Parent: lets the child run its program.
pub(super) fn go(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::net::send(socket, &[1], SendFlags::NOSIGNAL).map(drop)
}

/// Parent: the child's next words; `None` at the end, which after [`go`] means that the program runs.
pub(super) fn receive(socket: BorrowedFd<'_>) -> Result<Option<(Message, Option<OwnedFd>)>, Errno> {
    let mut bytes = [0u8; 8];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let buffer = &mut [IoSliceMut::new(&mut bytes)];
        match recvmsg(socket, buffer, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            result => break result?,
        }
    };
    let console = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    if received.bytes == 0 {
        return Ok(None);
    }
    if received.bytes != bytes.len() || received.flags.contains(ReturnFlags::TRUNC) {
        return Err(Errno::PROTO);
    }
    let message = Message::decode(bytes).ok_or(Errno::PROTO)?;
    Ok(Some((message, console)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_has_its_own_text_and_number() {
        for (number, (step, text)) in STEPS.iter().enumerate() {
            assert_eq!(usize::from(*step as u8), number);
            assert_eq!(step.text(), *text);
        }
    }

    #[test]
    fn messages_survive_the_wire() {
        let failure = Failure { step: Step::Mount, index: 513, errno: Errno::LOOP };
        for message in [
            Message::Ready,
            Message::Failed(failure),
            Message::NotExecuted(Errno::ACCESS),
            Message::Forked(123_456),
        ] {
            assert_eq!(Message::decode(message.encode()), Some(message));
        }
        assert_eq!(Message::decode([9; 8]), None);
    }
}
