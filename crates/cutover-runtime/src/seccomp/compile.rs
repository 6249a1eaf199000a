//! A policy to a filter: binary search over numbers, argument checks at the leaves.

use super::Instruction;
use super::numbers;

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is made.
    Allow,
    /// It fails with this error number.
    Errno(u32),
    /// The whole process is killed with SIGSYS.
    KillProcess,
    /// The thread is killed.
    KillThread,
    /// SIGSYS, which the program may handle.
    Trap,
    /// It is made and logged.
    Log,
    /// A tracer is told this number; without a tracer the call fails with `ENOSYS`.
    Trace(u32),
}

/// A condition on an argument (0…5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// The low 32 bits are in this range: right where the kernel's parameter is an `int`.
    Within {
        /// Which argument.
        argument: u32,
        /// Smallest.
        low: u32,
        /// Largest.
        high: u32,
    },
    /// None of these low bits is set.
    Clear {
        /// Which argument.
        argument: u32,
        /// The bits.
        bits: u32,
    },
    /// A comparison of all 64 bits, after masking.
    Compare {
        /// Which argument.
        argument: u32,
        /// Kept bits.
        mask: u64,
        /// How.
        op: Comparison,
        /// With what.
        value: u64,
    },
}

/// How [`Test::Compare`] compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// argument = value
    Equal,
    /// argument ≠ value
    NotEqual,
    /// argument > value
    Greater,
    /// argument ≥ value
    GreaterEqual,
    /// argument < value
    Less,
    /// argument ≤ value
    LessEqual,
}

/// If all tests hold, the action is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// All must hold.
    pub tests: Vec<Test>,
    /// What happens then.
    pub action: Action,
}

impl Rule {
    /// Whatever the arguments.
    pub fn always(action: Action) -> Self {
        Self { tests: Vec::new(), action }
    }
}

/// What happens to every call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// For known calls without a rule that holds.
    pub default: Action,
    /// By number, ascending, each once; the first rule that holds decides.
    pub rules: Vec<(u32, Vec<Rule>)>,
}

// Codes of classic BPF: class, size or operation, source.
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const EQUAL: u16 = 0x15;
const GREATER: u16 = 0x25;
const AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// x32 calls carry this bit.
const X32: u32 = 0x4000_0000;

const ENOSYS: Action = Action::Errno(libc::ENOSYS.unsigned_abs());

/// The program for a policy.
pub(super) fn compile(policy: &Policy) -> Vec<Instruction> {
    let mut program = vec![
        load(ARCHITECTURE),
        jump(EQUAL, numbers::AUDIT_ARCH, 1, 0),
        ret(Action::KillProcess),
        load(NUMBER),
    ];
    program.extend(search(&ranges(policy)));
    program
}

/// From this number on, this code.
type Range = (u32, Vec<Instruction>);

fn ranges(policy: &Policy) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    let mut push = |start: u32, code: Vec<Instruction>| {
        let same = |last: &Range| last.1.iter().zip(&code).all(|(a, b)| same_instruction(a, b));
        let merge = ranges.last().is_some_and(|last| last.1.len() == code.len() && same(last));
        if !merge {
            ranges.push((start, code));
        }
    };
    let mut next = 0;
    for (number, rules) in &policy.rules {
        if *number > next {
            push(next, vec![ret(policy.default)]);
        }
        push(*number, leaf(rules, policy.default));
        next = number + 1;
    }
    if next <= numbers::NEWEST {
        push(next, vec![ret(policy.default)]);
    }
    push(numbers::NEWEST + 1, vec![ret(ENOSYS)]);
    push(X32, vec![ret(Action::Errno(libc::EPERM.unsigned_abs()))]);
    ranges
}

fn same_instruction(a: &Instruction, b: &Instruction) -> bool {
    (a.code, a.jt, a.jf, a.k) == (b.code, b.jt, b.jf, b.k)
}

/// Code that finds the range of the number in the accumulator.
fn search(ranges: &[Range]) -> Vec<Instruction> {
    match ranges {
        [] => vec![ret(ENOSYS)],
        [(_, code)] => code.clone(),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let below = search(low);
            let mut code = branch(high[0].0, below.len());
            code.extend(below);
            code.extend(search(high));
            code
        }
    }
}

/// Skips `distance` instructions when the accumulator is at least `start`; conditional jumps reach 255 only.
fn branch(start: u32, distance: usize) -> Vec<Instruction> {
    match u8::try_from(distance) {
        Ok(near) => vec![jump(AT_LEAST, start, near, 0)],
        Err(_) => vec![
            jump(AT_LEAST, start, 0, 1),
            // The kernel takes at most 4096 instructions, so this never saturates.
            instruction(JUMP, 0, 0, u32::try_from(distance).unwrap_or(u32::MAX)),
        ],
    }
}

fn leaf(rules: &[Rule], default: Action) -> Vec<Instruction> {
    let mut code = Vec::new();
    for rule in rules {
        if rule.tests.is_empty() {
            code.push(ret(rule.action));
            return code;
        }
        code.extend(conditional(rule));
    }
    code.push(ret(default));
    code
}

/// The rule's action when all tests hold, else on to what follows.
fn conditional(rule: &Rule) -> Vec<Instruction> {
    let mut code = vec![ret(rule.action)];
    for test in rule.tests.iter().rev() {
        let miss = code.len();
        code.splice(0..0, check(*test, miss));
    }
    code
}

/// Falls through when the test holds, else skips `miss` more instructions. A rule has at most 6 tests of at most 7
/// instructions, so the distances fit.
fn check(test: Test, miss: usize) -> Vec<Instruction> {
    let miss = u8::try_from(miss).unwrap_or(u8::MAX);
    match test {
        Test::Within { argument, low, high } if low == high => {
            vec![load(low_half(argument)), jump(EQUAL, low, 0, miss)]
        }
        Test::Within { argument, low, high } => vec![
            load(low_half(argument)),
            jump(AT_LEAST, low, 0, miss + 1),
            jump(GREATER, high, miss, 0),
        ],
        Test::Clear { argument, bits } => {
            vec![load(low_half(argument)), instruction(AND, 0, 0, bits), jump(EQUAL, 0, 0, miss)]
        }
        Test::Compare { argument, mask, op, value } => {
            compare(argument, mask, op, (value >> 32, value & 0xffff_ffff), miss)
        }
    }
}

fn compare(
    argument: u32,
    mask: u64,
    op: Comparison,
    (high, low): (u64, u64),
    miss: u8,
) -> Vec<Instruction> {
    let half = |value: u64| u32::try_from(value & 0xffff_ffff).unwrap_or(0);
    let (high, low) = (half(high), half(low));
    // (taken on the high halves: greater → ?, less → ?), then the test of the low halves.
    let (greater_holds, less_holds, (code, positive)) = match op {
        Comparison::Equal => (false, false, (EQUAL, true)),
        Comparison::NotEqual => (true, true, (EQUAL, false)),
        Comparison::Greater => (true, false, (GREATER, true)),
        Comparison::GreaterEqual => (true, false, (AT_LEAST, true)),
        Comparison::Less => (false, true, (AT_LEAST, false)),
        Comparison::LessEqual => (false, true, (GREATER, false)),
    };
    // Layout: load high, and, jgt, jeq, load low, and, jump; 7 in all, "hold" is the end.
    let to = |holds: bool, from: u8| if holds { 6 - from } else { 6 - from + miss };
    let (jt, jf) = if positive { (0, miss) } else { (miss, 0) };
    vec![
        load(low_half(argument) + 4),
        instruction(AND, 0, 0, half(mask >> 32)),
        jump(GREATER, high, to(greater_holds, 2), 0),
        jump(EQUAL, high, 0, to(less_holds, 3)),
        load(low_half(argument)),
        instruction(AND, 0, 0, half(mask)),
        jump(code, low, jt, jf),
    ]
}

/// Little-endian: the low half comes first.
fn low_half(argument: u32) -> u32 {
    ARGUMENTS + 8 * argument
}

fn load(offset: u32) -> Instruction {
    instruction(LOAD, 0, 0, offset)
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    instruction(code, jt, jf, k)
}

fn ret(action: Action) -> Instruction {
    let value = match action {
        Action::Allow => libc::SECCOMP_RET_ALLOW,
        Action::Errno(errno) => libc::SECCOMP_RET_ERRNO | (errno & 0xffff),
        Action::KillProcess => libc::SECCOMP_RET_KILL_PROCESS,
        Action::KillThread => libc::SECCOMP_RET_KILL_THREAD,
        Action::Trap => libc::SECCOMP_RET_TRAP,
        Action::Log => libc::SECCOMP_RET_LOG,
        Action::Trace(data) => libc::SECCOMP_RET_TRACE | (data & 0xffff),
    };
    instruction(RETURN, 0, 0, value)
}

fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction { code, jt, jf, k }
}
