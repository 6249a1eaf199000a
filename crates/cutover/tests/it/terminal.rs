//! A pseudo-terminal to run the binary on, and what one would see there in the end.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

/// A program on a terminal.
pub(crate) struct Terminal {
    console: File,
    /// The program's side, to look at its modes.
    side: OwnedFd,
    child: Child,
    seen: Vec<u8>,
}

impl Terminal {
    pub(crate) fn run(mut command: Command, columns: u16, rows: u16) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let console = openpt(flags).unwrap();
        grantpt(&console).unwrap();
        unlockpt(&console).unwrap();
        let name = ptsname(&console, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let side = rustix::fs::open(name, flags, Mode::empty()).unwrap();
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&side, size).unwrap();
        let copy = || side.try_clone().unwrap();
        command.stdin(copy()).stdout(copy()).stderr(copy()).env("TERM", "xterm");
        let child = command.spawn().unwrap();
        // What the command holds of the terminal goes with it.
        drop(command);
        Self { console: console.into(), side, child, seen: Vec::new() }
    }

    pub(crate) fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// Reads until the screen shows `text`.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) {
        let mut buffer = [0; 4096];
        while !String::from_utf8_lossy(&self.seen).contains(text) {
            let count = self.console.read(&mut buffer).unwrap_or(0);
            assert!(count > 0, "no `{text}` in {:?}", String::from_utf8_lossy(&self.seen));
            self.seen.extend_from_slice(&buffer[..count]);
        }
    }

    pub(crate) fn type_in(&mut self, keys: &str) {
        self.console.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for the end: the exit code and all that was written. The terminal must echo again.
    #[track_caller]
    pub(crate) fn finish(self) -> (i32, String) {
        let Self { console, side, mut child, seen } = self;
        let reader = std::thread::spawn(move || read_all(console, seen));
        let code = child.wait().unwrap().code().unwrap_or(-1);
        let modes = tcgetattr(&side).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ECHO | LocalModes::ICANON), "left in raw mode");
        // Ours was the last one: the reader comes to the end.
        drop(side);
        (code, String::from_utf8_lossy(&reader.join().unwrap()).into_owned())
    }
}

/// The last reader of a terminal gets an error, not an end.
fn read_all(mut console: File, mut seen: Vec<u8>) -> Vec<u8> {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = console.read(&mut buffer) {
        seen.extend_from_slice(&buffer[..count]);
    }
    seen
}
/// The lines that a terminal of `columns` would hold after `written`: as much of ECMA-48 as the
/// program uses. Anything else is an error, as is a line that is too long.
#[track_caller]
pub(crate) fn screen(written: &str, columns: usize) -> Vec<String> {
    let (mut lines, mut row, mut column): (Vec<Vec<char>>, _, _) = (vec![Vec::new()], 0_usize, 0);
    let mut chars = written.chars();
    while let Some(ch) = chars.next() {
        match ch {
            '\r' => column = 0,
            '\n' => {
                row += 1;
                if row == lines.len() {
                    lines.push(Vec::new());
                }
            }
            '\x1b' => {
                assert_eq!(chars.next(), Some('['), "in {written:?}");
                let mut number = String::new();
                let end = loop {
                    match chars.next().unwrap() {
                        digit @ ('0'..='9' | ';') => number.push(digit),
                        end => break end,
                    }
                };
                match end {
                    'A' => row = row.checked_sub(number.parse().unwrap()).unwrap(),
                    'K' => lines[row].truncate(column),
                    'J' => {
                        lines[row].truncate(column);
                        lines.truncate(row + 1);
                    }
                    'm' => {}
                    other => panic!("`{other}` in {written:?}"),
                }
            }
            ch => {
                assert!(column < columns, "a line of more than {columns} in {written:?}");
                if lines[row].len() <= column {
                    lines[row].resize(column + 1, ' ');
                }
                lines[row][column] = ch;
                column += 1;
            }
        }
    }
    lines.iter().map(|line| line.iter().collect::<String>().trim_end().to_owned()).collect()
}
