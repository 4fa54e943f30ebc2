//! A filter for the kernel (`seccomp(2)`, `SECCOMP_SET_MODE_FILTER`), from rules.
//!
//! Not by way of `seccompiler`, which cannot ask a supervisor (`SECCOMP_RET_USER_NOTIF`).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The kernel does it.
    Allow,
    /// It fails with this error, and nobody is told.
    Fail(i32),
    /// The supervisor is asked.
    Ask,
}

/// A condition on an argument. Flags and commands are the lower 32 bits, as the kernel reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// It is this number.
    Is(u8, u32),
    /// It is another number.
    IsNot(u8, u32),
    /// It has one of these bits.
    Has(u8, u32),
    /// These bits of it are this number.
    Masked(u8, u32, u32),
    /// All 64 bits of it are this number.
    Wide(u8, u64),
    /// One of all 64 bits is set: a pointer that is given.
    Given(u8),
}

/// What a call's arguments decide: the first clause whose checks all hold.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) number: i64,
    pub(crate) clauses: Vec<(Vec<Check>, Action)>,
    pub(crate) otherwise: Action,
}

/// A filter in the kernel's form.
#[derive(Clone, Debug)]
pub(crate) struct Program(Vec<libc::sock_filter>);

// `linux/bpf_common.h`.
const LOAD: u16 = 0x20;
const RETURN: u16 = 0x06;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP_ANY: u16 = 0x45;

// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

// `linux/audit.h`.
#[cfg(target_arch = "x86_64")]
const OURS: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const OURS: u32 = 0xc000_00b7;

/// Wait for the supervisor with fatal signals only (Linux 5.19), so that a program's timers do not
/// restart a call for ever.
const WAIT_KILLABLE: libc::c_ulong = 1 << 5;

fn statement(code: u16, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt: 0, jf: 0, k }
}

fn jump(code: u16, k: u32, yes: u8, no: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt: yes, jf: no, k }
}

fn end(action: Action) -> libc::sock_filter {
    let value = match action {
        Action::Allow => libc::SECCOMP_RET_ALLOW,
        Action::Fail(error) => libc::SECCOMP_RET_ERRNO | (error.unsigned_abs() & 0xffff),
        Action::Ask => libc::SECCOMP_RET_USER_NOTIF,
    };
    statement(RETURN, value)
}

/// The offset of half of an argument; both architectures are little-endian.
fn argument(index: u8, high: bool) -> u32 {
    ARGUMENTS + 8 * u32::from(index) + if high { 4 } else { 0 }
}

/// The instructions of a check. They fall through if it holds; `miss` is how many instructions behind
/// the check the next clause begins.
fn check(check: Check, miss: u8, out: &mut Vec<libc::sock_filter>) {
    match check {
        Check::Is(index, value) => {
            out.push(statement(LOAD, argument(index, false)));
            out.push(jump(JUMP_EQUAL, value, 0, miss));
        }
        Check::IsNot(index, value) => {
            out.push(statement(LOAD, argument(index, false)));
            out.push(jump(JUMP_EQUAL, value, miss, 0));
        }
        Check::Has(index, bits) => {
            out.push(statement(LOAD, argument(index, false)));
            out.push(jump(JUMP_ANY, bits, 0, miss));
        }
        Check::Masked(index, mask, value) => {
            out.push(statement(LOAD, argument(index, false)));
            out.push(statement(AND, mask));
            out.push(jump(JUMP_EQUAL, value, 0, miss));
        }
        Check::Wide(index, value) => {
            out.push(statement(LOAD, argument(index, true)));
            out.push(jump(JUMP_EQUAL, (value >> 32) as u32, 0, miss + 2));
            out.push(statement(LOAD, argument(index, false)));
            out.push(jump(JUMP_EQUAL, value as u32, 0, miss));
        }
        Check::Given(index) => {
            out.push(statement(LOAD, argument(index, true)));
            out.push(jump(JUMP_EQUAL, 0, 0, 2));
            out.push(statement(LOAD, argument(index, false)));
            out.push(jump(JUMP_EQUAL, 0, miss, 0));
        }
    }
}

fn clause(checks: &[Check], action: Action) -> Vec<libc::sock_filter> {
    // From the last check to the first, so that each knows how far the end is.
    let mut reversed: Vec<Vec<libc::sock_filter>> = vec![vec![end(action)]];
    let mut behind = 1_u8;
    for one in checks.iter().rev() {
        let mut out = Vec::new();
        check(*one, behind, &mut out);
        behind += out.len() as u8;
        reversed.push(out);
    }
    reversed.into_iter().rev().flatten().collect()
}

/// Which argument a clause compares with one number, if that is all, and for which action.
fn alike((checks, action): &(Vec<Check>, Action)) -> Option<(u8, Action)> {
    match checks[..] {
        [Check::Is(index, _)] => Some((index, *action)),
        _ => None,
    }
}

/// The instructions for an argument that is one of many numbers: it is loaded once, and all of them lead
/// to the same end.
fn one_of(index: u8, group: &[(Vec<Check>, Action)], action: Action) -> Vec<libc::sock_filter> {
    /// A conditional jump goes no further than 255.
    const MOST: usize = 200;
    let mut out = Vec::new();
    for part in group.chunks(MOST) {
        out.push(statement(LOAD, argument(index, false)));
        for (at, (checks, _)) in part.iter().enumerate() {
            if let [Check::Is(_, value)] = checks[..] {
                out.push(jump(JUMP_EQUAL, value, (part.len() - at) as u8, 0));
            }
        }
        out.push(statement(JUMP, 1));
        out.push(end(action));
    }
    out
}

/// What becomes of calls with neighbouring numbers, up to the next stretch.
struct Stretch<'a> {
    first: u32,
    clauses: &'a [(Vec<Check>, Action)],
    otherwise: Action,
}

/// All numbers, as few stretches as there can be.
fn stretches(rules: &[Rule]) -> Vec<Stretch<'_>> {
    let allowed = |first| Stretch { first, clauses: &[], otherwise: Action::Allow };
    let mut sorted: Vec<&Rule> = rules.iter().collect();
    sorted.sort_by_key(|rule| rule.number);
    debug_assert!(sorted.windows(2).all(|two| two[0].number < two[1].number), "one rule for each");
    let mut all: Vec<Stretch<'_>> = vec![allowed(0)];
    for (index, Rule { number, clauses, otherwise }) in sorted.iter().enumerate() {
        let first = *number as u32;
        all.push(Stretch { first, clauses, otherwise: *otherwise });
        if sorted.get(index + 1).is_none_or(|next| next.number as u32 > first + 1) {
            all.push(allowed(first + 1));
        }
    }
    // Number 0 may have a rule.
    if all[1..].first().is_some_and(|second| second.first == 0) {
        all.remove(0);
    }
    all.dedup_by(|next, one| next.clauses == one.clauses && next.otherwise == one.otherwise);
    all
}

/// The instructions for stretches. The kernel runs a new filter for every number that it knows, to remember what
/// is always allowed, and translates every instruction: a list of all rules made that take longer than all else
/// that a lane needs.
fn tree(stretches: &[Stretch<'_>]) -> Vec<libc::sock_filter> {
    let mut out = Vec::new();
    if let [Stretch { clauses, otherwise, .. }] = stretches {
        for group in clauses.chunk_by(|a, b| alike(a).is_some() && alike(a) == alike(b)) {
            match (alike(&group[0]), group.len()) {
                (Some((index, action)), 2..) => out.extend(one_of(index, group, action)),
                _ => group.iter().for_each(|(checks, action)| out.extend(clause(checks, *action))),
            }
        }
        out.push(end(*otherwise));
        return out;
    }
    let (low, high) = stretches.split_at(stretches.len() / 2);
    let (first, low) = (high[0].first, tree(low));
    match u8::try_from(low.len()) {
        Ok(length) => out.push(jump(JUMP_AT_LEAST, first, length, 0)),
        Err(_) => {
            // Too far for a conditional jump.
            out.push(jump(JUMP_AT_LEAST, first, 0, 1));
            out.push(statement(JUMP, low.len() as u32));
        }
    }
    out.extend(low);
    out.extend(tree(high));
    out
}

impl Program {
    /// A filter of rules. Another architecture's calls fail, and so do those above `last`: what is not
    /// known is not there.
    pub(crate) fn new(rules: &[Rule], last: u32) -> Self {
        let mut out = vec![
            statement(LOAD, ARCHITECTURE),
            jump(JUMP_EQUAL, OURS, 1, 0),
            end(Action::Fail(libc::ENOSYS)),
            statement(LOAD, NUMBER),
            // The x32 interface has bit 30 set, and so is above the last number, too.
            jump(JUMP_AT_LEAST, last + 1, 0, 1),
            end(Action::Fail(libc::ENOSYS)),
        ];
        out.extend(tree(&stretches(rules)));
        Self(out)
    }

    /// Puts the filter on this process, which must have no new privileges. Returns the descriptor from
    /// which the supervisor is asked.
    ///
    /// # Errors
    /// What `seccomp(2)` says.
    pub(crate) fn install(&self) -> io::Result<OwnedFd> {
        let program = libc::sock_fprog {
            len: u16::try_from(self.0.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
            filter: self.0.as_ptr().cast_mut(),
        };
        let install = |flags: libc::c_ulong| {
            // SAFETY: the kernel reads the program behind the pointer, which lives until it returns.
            unsafe {
                libc::syscall(
                    libc::SYS_seccomp,
                    libc::SECCOMP_SET_MODE_FILTER,
                    flags | libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
                    &raw const program,
                )
            }
        };
        let mut descriptor = install(WAIT_KILLABLE);
        if descriptor < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL) {
            descriptor = install(0);
        }
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel made the descriptor for us (close-on-exec), and nobody else has it.
        Ok(unsafe { OwnedFd::from_raw_fd(descriptor as RawFd) })
    }

    #[cfg(test)]
    pub(crate) fn instructions(&self) -> &[libc::sock_filter] {
        &self.0
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What the kernel would do with a call: its machine, for the instructions that are used here.
    pub(crate) fn run(
        program: &Program,
        architecture: u32,
        number: u32,
        arguments: [u64; 6],
    ) -> u32 {
        let mut data = [0_u8; 64];
        data[..4].copy_from_slice(&number.to_le_bytes());
        data[4..8].copy_from_slice(&architecture.to_le_bytes());
        for (index, value) in arguments.iter().enumerate() {
            data[16 + 8 * index..24 + 8 * index].copy_from_slice(&value.to_le_bytes());
        }
        let (mut at, mut a) = (0, 0_u32);
        loop {
            let i = program.0[at];
            at += 1;
            let go = |yes: bool| usize::from(if yes { i.jt } else { i.jf });
            match i.code {
                LOAD => {
                    let k = i.k as usize;
                    a = u32::from_le_bytes(data[k..k + 4].try_into().unwrap());
                }
                AND => a &= i.k,
                RETURN => return i.k,
                JUMP_EQUAL => at += go(a == i.k),
                JUMP_AT_LEAST => at += go(a >= i.k),
                JUMP_ANY => at += go(a & i.k != 0),
                JUMP => at += i.k as usize,
                other => panic!("no instruction {other:#x}"),
            }
        }
    }

    const FAIL: Action = Action::Fail(1);

    fn decide(checks: &[Check], arguments: [u64; 6]) -> bool {
        let rule =
            Rule { number: 7, clauses: vec![(checks.to_vec(), FAIL)], otherwise: Action::Allow };
        let program = Program::new(&[rule], 400);
        let answer = run(&program, OURS, 7, arguments);
        assert!([libc::SECCOMP_RET_ALLOW, libc::SECCOMP_RET_ERRNO | 1].contains(&answer));
        answer != libc::SECCOMP_RET_ALLOW
    }

    #[test]
    fn each_check_holds_when_it_says_so() {
        let at = |value: u64| [0, value, 0, 0, 0, 0];
        let high = 1_u64 << 40;
        for (check, value, expected) in [
            (Check::Is(1, 5), 5, true),
            (Check::Is(1, 5), 6, false),
            // The kernel looks at the lower half of an `int` only, and so must we.
            (Check::Is(1, 5), high | 5, true),
            (Check::IsNot(1, 5), 5, false),
            (Check::IsNot(1, 5), 6, true),
            (Check::Has(1, 6), 2, true),
            (Check::Has(1, 6), 1, false),
            (Check::Masked(1, 0xf, 1), 0x801, true),
            (Check::Masked(1, 0xf, 1), 0x802, false),
            (Check::Wide(1, high | 5), high | 5, true),
            (Check::Wide(1, high | 5), 5, false),
            (Check::Wide(1, high | 5), high | 6, false),
            (Check::Given(1), 0, false),
            (Check::Given(1), high, true),
            (Check::Given(1), 3, true),
        ] {
            assert_eq!(decide(&[check], at(value)), expected, "{check:?} {value:#x}");
        }
    }

    #[test]
    fn all_checks_of_a_clause_must_hold() {
        let checks = [Check::Given(0), Check::Wide(1, 9), Check::Is(2, 3)];
        assert!(decide(&checks, [1, 9, 3, 0, 0, 0]));
        for arguments in [[0, 9, 3, 0, 0, 0], [1, 8, 3, 0, 0, 0], [1, 9, 4, 0, 0, 0]] {
            assert!(!decide(&checks, arguments));
        }
    }

    #[test]
    fn other_architectures_and_unknown_calls_do_not_exist() {
        let program = Program::new(&[], 400);
        let missing = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
        assert_eq!(run(&program, OURS, 400, [0; 6]), libc::SECCOMP_RET_ALLOW);
        for (architecture, number) in
            [(0x4000_0003, 1), (OURS, 401), (OURS, 0x4000_0001), (OURS, u32::MAX)]
        {
            assert_eq!(run(&program, architecture, number, [0; 6]), missing);
        }
    }

    #[test]
    fn each_of_many_rules_is_found() {
        let rules: Vec<Rule> = (0..60)
            .map(|index| Rule {
                number: index * 3,
                clauses: Vec::new(),
                otherwise: Action::Fail(index as i32),
            })
            .collect();
        let program = Program::new(&rules, 400);
        for number in 0..200_u32 {
            let expected = match number % 3 == 0 && number < 180 {
                true => libc::SECCOMP_RET_ERRNO | (number / 3),
                false => libc::SECCOMP_RET_ALLOW,
            };
            assert_eq!(run(&program, OURS, number, [0; 6]), expected, "{number}");
        }
    }

    #[test]
    fn a_rule_that_is_longer_than_a_jump_is_right_too() {
        let clauses = (0..450).map(|value| (vec![Check::Is(0, value)], FAIL)).collect();
        let rule = Rule { number: 7, clauses, otherwise: Action::Allow };
        let program = Program::new(&[rule], 400);
        assert!(program.instructions().len() > 450);
        let answer = |number, value| run(&program, OURS, number, [value, 0, 0, 0, 0, 0]);
        for value in 0..450 {
            assert_eq!(answer(7, value), libc::SECCOMP_RET_ERRNO | 1, "{value}");
        }
        assert_eq!(answer(7, 450), libc::SECCOMP_RET_ALLOW);
        assert_eq!(answer(8, 1), libc::SECCOMP_RET_ALLOW);
    }
}
