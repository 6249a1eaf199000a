use super::*;
use crate::{Event, Stream};

fn at(tenths: u64) -> Duration {
    Duration::from_millis(tenths * 100)
}

fn shape(index: usize, name: &str, steps: usize) -> StageShape {
    StageShape { index, name: name.to_owned(), steps }
}

fn board(events: &[Event<'_>]) -> Board {
    let mut board = Board::default();
    events.iter().for_each(|event| board.on(event));
    board
}

fn text(lines: &[Line]) -> String {
    lines.iter().map(|line| format!("{}\n", line.text)).collect()
}

fn two_stages() -> Board {
    let stages = [shape(0, "base", 2), shape(1, "build", 3)];
    board(&[
        Event::Planned { stages: &stages },
        Event::Cached { step: 1, name: "[base 1/2] FROM deb:1", stage: Some(0), at: at(0) },
        Event::Cached { step: 2, name: "[base 2/2] WORKDIR /app", stage: Some(0), at: at(0) },
        Event::Started { step: 3, name: "[internal] load build context", stage: None, at: at(0) },
        Event::Done { step: 3, at: at(1) },
        Event::Started { step: 4, name: "[build 1/3] COPY . .", stage: Some(1), at: at(1) },
        Event::Done { step: 4, at: at(5) },
        Event::Started { step: 5, name: "[build 2/3] RUN make", stage: Some(1), at: at(5) },
        Event::Output { step: 5, stream: Stream::Stdout, bytes: b"cc a.c\ncc b.c\ncc", at: at(6) },
    ])
}

#[test]
fn stages_are_headings() {
    assert_eq!(
        text(&two_stages().frame(at(30), 50, 24)),
        "\
[+] Building 3.0s (4/6), 2 cached
 CACHED base 2/2
 => CACHED [base 1/2] FROM deb:1
 => CACHED [base 2/2] WORKDIR /app
 => [internal] load build context             0.1s
 build 1/3                                    2.9s
 => [build 1/3] COPY . .                      0.4s
 => [build 2/3] RUN make                      2.5s
 => => # cc a.c
 => => # cc b.c
 => => # cc
"
    );
}

#[test]
fn what_is_over_goes_first_when_there_is_no_room() {
    let board = two_stages();
    assert_eq!(
        text(&board.frame(at(30), 40, 7)),
        "\
[+] Building 3.0s (4/6), 2 cached
 CACHED base 2/2
 build 1/3                          2.9s
 => [build 2/3] RUN make            2.5s
 => => # cc b.c
 => => # cc
"
    );
    for rows in 1..30 {
        for columns in 0..60 {
            let lines = board.frame(at(30), columns, rows);
            assert!(lines.len() <= rows, "{rows}");
            assert!(lines.iter().all(|line| width(&line.text) <= columns), "{columns}");
        }
    }
    assert_eq!(text(&board.frame(at(30), 20, 2)), "[+] Building 3.0s (…\n => [build 2/3… 2.5s\n");
}

#[test]
fn many_at_once_are_counted() {
    let mut board = Board::default();
    let names: Vec<_> = (0..100).map(|step| format!("[s{step} 1/1] RUN x")).collect();
    for (step, name) in names.iter().enumerate() {
        board.on(&Event::Started { step, name, stage: Some(step), at: at(0) });
    }
    let lines = board.frame(at(10), 80, 10);
    assert_eq!(lines.len(), 10);
    assert_eq!(lines[9].text, " … and 92 more");
}

#[test]
fn the_end_has_all_steps_and_no_output() {
    let mut board = two_stages();
    board.on(&Event::Failed { step: 5, error: "exit code 2", at: at(40) });
    let lines = board.summary(at(41), 60);
    assert_eq!(lines.len(), 8);
    assert_eq!(lines[7].tone, Tone::Failed);
    assert!(lines[7].text.starts_with(" => ERROR [build 2/3] RUN make"), "{lines:?}");
    assert!(lines[7].text.ends_with("3.5s"), "{lines:?}");
}

#[test]
fn a_single_stage_has_no_heading() {
    let stages = [shape(0, "stage-0", 1)];
    let board = board(&[
        Event::Planned { stages: &stages },
        Event::Started { step: 1, name: "[1/1] RUN\nx", stage: Some(0), at: at(0) },
    ]);
    let expected = "[+] Building 1.0s (0/1)\n => [1/1] RUN x          1.0s\n";
    assert_eq!(text(&board.frame(at(10), 29, 24)), expected);
}
