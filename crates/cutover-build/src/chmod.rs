//! `--chmod`: octal or symbolic (`u=rwX,go=rX`, `+x`), as `chmod(1)` with no umask.

/// A change of permission bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Chmod {
    Octal(u32),
    Symbolic(Vec<Clause>),
}

/// `[ugoa…] [+-=] [rwxXstugo…]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Clause {
    /// Bits that may change.
    who: u32,
    operator: char,
    /// Bits named by `r`, `w`, `x`, `s` and `t`, for everybody.
    bits: u32,
    /// `X`.
    execute_if_any: bool,
    /// `u`, `g`, `o`: bits to copy from.
    copied: Vec<char>,
}

/// A text that is no mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid chmod parameter `{0}`: it should be an octal number between 0 and 07777, or symbolic such as `u=rwX,go=rX`"
)]
pub(crate) struct BadMode(String);

const SET_ID: u32 = 0o6000;
const STICKY: u32 = 0o1000;

impl Chmod {
    pub(crate) fn parse(text: &str) -> Result<Self, BadMode> {
        let bad = || BadMode(text.to_owned());
        if text.starts_with(|ch: char| ch.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
            return mode.map(Self::Octal).ok_or_else(bad);
        }
        let mut clauses = Vec::new();
        for part in text.split(',') {
            clauses.extend(clauses_of(part).ok_or_else(bad)?);
        }
        Ok(Self::Symbolic(clauses))
    }

    /// The bits that a file with `mode` gets.
    pub(crate) fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        match self {
            Self::Octal(octal) => *octal,
            Self::Symbolic(clauses) => {
                clauses.iter().fold(mode & 0o7777, |mode, clause| clause.apply(mode, is_dir))
            }
        }
    }

    /// The bits of parent directories that have to be made.
    pub(crate) fn parent_mode(&self) -> u32 {
        match self {
            Self::Octal(octal) => *octal & 0o777,
            Self::Symbolic(_) => 0o755,
        }
    }
}

/// One part between commas: a `who` and any number of operations.
fn clauses_of(part: &str) -> Option<Vec<Clause>> {
    let operators = ['+', '-', '='];
    let start = part.find(operators)?;
    let mut who = 0;
    for ch in part[..start].chars() {
        who |= match ch {
            'u' => 0o4700,
            'g' => 0o2070,
            'o' => 0o0007,
            'a' => 0o6777,
            _ => return None,
        };
    }
    let mut clauses = Vec::new();
    let mut rest = &part[start..];
    while let Some(operator) = rest.chars().next() {
        let end = rest[1..].find(operators).map_or(rest.len(), |at| at + 1);
        clauses.push(clause(who, operator, &rest[1..end])?);
        rest = &rest[end..];
    }
    Some(clauses)
}

fn clause(who: u32, operator: char, letters: &str) -> Option<Clause> {
    let mut clause = Clause { who, operator, bits: 0, execute_if_any: false, copied: Vec::new() };
    let only_others = who != 0 && who & !0o7 == 0;
    for letter in letters.chars() {
        match letter {
            'r' => clause.bits |= 0o444,
            'w' => clause.bits |= 0o222,
            'x' => clause.bits |= 0o111,
            'X' if operator == '-' => clause.bits |= 0o111,
            'X' => clause.execute_if_any = true,
            's' if only_others => {}
            's' => clause.bits |= SET_ID,
            't' if only_others => {}
            't' => {
                clause.bits |= STICKY;
                clause.who |= if who == 0 { 0 } else { STICKY };
            }
            'u' | 'g' | 'o' => clause.copied.push(letter),
            _ => return None,
        }
    }
    Some(clause)
}

impl Clause {
    fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        let who = if self.who == 0 { 0o7777 } else { self.who };
        let mut bits = self.bits;
        if self.execute_if_any && (is_dir || mode & 0o111 != 0) {
            bits |= 0o111;
        }
        for from in &self.copied {
            let class = match from {
                'u' => mode >> 6,
                'g' => mode >> 3,
                _ => mode,
            } & 7;
            bits |= class << 6 | class << 3 | class;
        }
        let bits = bits & who;
        match self.operator {
            '+' => mode | bits,
            '-' => mode & !bits,
            _ => mode & !(who & 0o6777 | bits) | bits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_change_as_chmod_says() {
        let check = |text, mode, is_dir, expected| {
            let got = Chmod::parse(text).unwrap().apply(mode, is_dir);
            assert_eq!(got, expected, "`{text}` of {mode:o}: {got:o} is not {expected:o}");
        };
        check("755", 0o644, false, 0o755);
        check("04755", 0o644, false, 0o4755);
        check("+x", 0o644, false, 0o755);
        check("u+x", 0o644, false, 0o744);
        check("u=rwX,go=rX", 0o600, false, 0o644);
        check("u=rwX,go=rX", 0o700, false, 0o755);
        check("u=rwX,go=rX", 0o600, true, 0o755);
        check("go-w", 0o666, false, 0o644);
        check("g=u", 0o750, false, 0o770);
        check("go=", 0o777, false, 0o700);
        check("u+s", 0o755, false, 0o4755);
        check("+t", 0o777, true, 0o1777);
        check("a=r", 0o4755, false, 0o444);
        check("u+r-w", 0o200, false, 0o400);
    }

    #[test]
    fn what_is_no_mode_is_refused() {
        for text in ["", "8", "10000", "abc", "u", "u+q", "x+r", "755a", "-", ","] {
            let refused = Chmod::parse(text).is_err();
            assert!(refused || text == "-", "`{text}` must be refused");
        }
    }
}
