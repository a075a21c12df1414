use super::compiler::bpf::{AND, JA, JEQ, JGE, JGT, LD, RET};
use super::compiler::{
    RET_ACTION, RET_ALLOW, RET_ERRNO, RET_KILL_PROCESS, RET_LOG, RET_TRACE, RET_TRAP,
    RET_USER_NOTIF, tables,
};
use super::*;
use oci_spec::runtime::{LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall};
use proptest::prelude::*;
use std::collections::HashSet;

/// What a filter sees of a system call: `struct seccomp_data`.
#[derive(Clone, Copy, Debug)]
struct Call {
    audit_arch: u32,
    number: u32,
    args: [u64; 6],
}

const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;
const X32: u32 = 0x4000_0000;
const AARCH64: u32 = 0xc000_00b7;
const ARM: u32 = 0x4000_0028;

impl Call {
    fn new(audit_arch: u32, number: u32, args: &[u64]) -> Call {
        let mut call = Call {
            audit_arch,
            number,
            args: [0; 6],
        };
        call.args[..args.len()].copy_from_slice(args);
        call
    }

    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.audit_arch,
            16..64 if offset.is_multiple_of(8) => self.args[(offset as usize - 16) / 8] as u32,
            16..64 if offset % 8 == 4 => (self.args[(offset as usize - 16) / 8] >> 32) as u32,
            _ => panic!("load from {offset}"),
        }
    }
}

/// Runs the filter as the kernel would; what the kernel's checker refuses
/// panics. Returns the action and the number of instructions it took.
fn run(filter: &Filter, call: Call) -> (u32, usize) {
    let (mut at, mut accumulator) = (0, 0);
    for steps in 1.. {
        let Instruction { code, jt, jf, k } = filter.program[at];
        let holds = match code {
            LD => {
                accumulator = call.word(k);
                true
            }
            AND => {
                accumulator &= k;
                true
            }
            JA => {
                at += k as usize;
                true
            }
            JEQ => accumulator == k,
            JGT => accumulator > k,
            JGE => accumulator >= k,
            RET => return (k, steps),
            _ => panic!("instruction {code:#x}"),
        };
        at += 1 + usize::from(if holds { jt } else { jf });
    }
    unreachable!()
}

fn returns(filter: &Filter, audit_arch: u32, name: &str, args: &[u64]) -> u32 {
    let (column, base) = match audit_arch {
        X86_64 => (0, 0),
        X32 => (1, X32),
        I386 => (2, 0),
        AARCH64 => (3, 0),
        ARM => (4, 0),
        _ => panic!(),
    };
    let number = tables::numbers(name).unwrap()[column];
    assert_ne!(number, tables::NO, "{name}");
    let audit_arch = if audit_arch == X32 {
        X86_64
    } else {
        audit_arch
    };
    run(filter, Call::new(audit_arch, base + number, args)).0
}

/// The answer straight from the profile's text, number by number: a second
/// opinion that shares only the tables and the constants with the compiler.
fn evaluate(profile: &LinuxSeccomp, native: Arch, call: Call) -> u32 {
    let value = |action: LinuxSeccompAction, errno: Option<u32>| match action {
        LinuxSeccompAction::ScmpActErrno => RET_ERRNO | errno.unwrap_or(1),
        LinuxSeccompAction::ScmpActTrace => RET_TRACE | errno.unwrap_or(1),
        action => u32::from(action),
    };
    let (arch, column, number) = match (native, call.audit_arch) {
        (Arch::ScmpArchX86_64, X86_64) if call.number >= X32 => {
            (Arch::ScmpArchX32, 1, call.number - X32)
        }
        (Arch::ScmpArchX86_64, X86_64) => (native, 0, call.number),
        (Arch::ScmpArchX86_64, I386) => (Arch::ScmpArchX86, 2, call.number),
        (Arch::ScmpArchAarch64, AARCH64) => (native, 3, call.number),
        (Arch::ScmpArchAarch64, ARM) => (Arch::ScmpArchArm, 4, call.number),
        _ => return RET_KILL_PROCESS,
    };
    let listed = profile.architectures().clone().unwrap_or_default();
    if arch != native && !listed.contains(&arch) {
        return RET_KILL_PROCESS;
    }
    // Not a number: the tables use it for calls that do not exist.
    let number = (number != tables::NO).then_some(number);
    let wide = matches!(call.audit_arch, X86_64 | AARCH64);
    let default = value(profile.default_action(), profile.default_errno_ret());

    let matches = |arg: &LinuxSeccompArg| {
        let cut = |value: u64| if wide { value } else { value & 0xffff_ffff };
        let actual = cut(call.args[arg.index()]);
        let wanted = cut(arg.value());
        match arg.op() {
            LinuxSeccompOperator::ScmpCmpEq => actual == wanted,
            LinuxSeccompOperator::ScmpCmpNe => actual != wanted,
            LinuxSeccompOperator::ScmpCmpLt => actual < wanted,
            LinuxSeccompOperator::ScmpCmpLe => actual <= wanted,
            LinuxSeccompOperator::ScmpCmpGt => actual > wanted,
            LinuxSeccompOperator::ScmpCmpGe => actual >= wanted,
            LinuxSeccompOperator::ScmpCmpMaskedEq => {
                actual & wanted == cut(arg.value_two().unwrap_or(0)) & wanted
            }
        }
    };
    let mut newest = None;
    let mut first_match = None;
    let mut unconditional = None;
    for rule in profile.syscalls().iter().flatten() {
        let action = value(rule.action(), rule.errno_ret());
        if action == default {
            continue;
        }
        let args = rule.args().clone().unwrap_or_default();
        let distinct: HashSet<_> = args.iter().map(|arg| arg.index()).collect();
        for name in rule.names() {
            let Some(row) = tables::numbers(name) else {
                continue;
            };
            let mut hit = false;
            // Some numbers lie apart from the common sequence.
            if row[column] != tables::NO {
                newest = newest.max(
                    Some(row[column])
                        .filter(|n| *n < [u32::MAX, 512, u32::MAX, u32::MAX, 0xf0000][column]),
                );
                hit = number == Some(row[column]);
            }
            let mut fits = match distinct.len() == args.len() {
                true => args.iter().all(matches),
                false => args.iter().any(matches),
            };
            let mut plain = args.is_empty();
            if !hit
                && arch == Arch::ScmpArchX86
                && plain
                && let Some((through, operation)) = tables::multiplexed(name)
            {
                let through_number = tables::numbers(through).unwrap()[2];
                newest = newest.max(Some(through_number));
                hit = number == Some(through_number);
                fits = call.args[0] & 0xffff == u64::from(operation);
                plain = false;
            }
            if hit && plain {
                unconditional.get_or_insert(action);
            }
            if hit && fits {
                first_match.get_or_insert(action);
            }
        }
    }
    let unnamed = match (default & RET_ACTION, newest) {
        (RET_ERRNO, Some(newest)) if number.is_none_or(|n| n > newest) => RET_ERRNO | 38,
        _ => default,
    };
    // A call that some rule is about falls back to the default itself.
    let named = profile.syscalls().iter().flatten().any(|rule| {
        value(rule.action(), rule.errno_ret()) != default
            && rule
                .names()
                .iter()
                .any(|name| tables::numbers(name).is_some_and(|row| number == Some(row[column])))
    });
    let fallback = if named { default } else { unnamed };
    unconditional.or(first_match).unwrap_or(fallback)
}

fn docker_capabilities() -> Capabilities {
    use Capability::*;
    [
        Chown,
        DacOverride,
        Fsetid,
        Fowner,
        Mknod,
        NetRaw,
        Setgid,
        Setuid,
        Setfcap,
        Setpcap,
        NetBindService,
        SysChroot,
        Kill,
        AuditWrite,
    ]
    .into()
}

fn default_profile_for(capabilities: &Capabilities, arch: Arch) -> LinuxSeccomp {
    let target = Target {
        capabilities,
        arch,
        kernel: (6, 1),
    };
    Profile::built_in().unwrap().resolve(target).unwrap()
}

fn default_filter_for(capabilities: &Capabilities, arch: Arch) -> Filter {
    compile(&default_profile_for(capabilities, arch), arch).unwrap()
}

const PERM: u32 = RET_ERRNO | 1;
const NOSYS: u32 = RET_ERRNO | 38;

#[test]
fn tables_are_sorted_and_match_libc() {
    assert!(tables::SYSCALLS.is_sorted_by(|a, b| a.0 < b.0));
    let column = if cfg!(target_arch = "x86_64") { 0 } else { 3 };
    for (name, number) in [
        ("read", libc::SYS_read),
        ("openat", libc::SYS_openat),
        ("clone3", libc::SYS_clone3),
        ("prlimit64", libc::SYS_prlimit64),
        ("mount_setattr", libc::SYS_mount_setattr),
        ("seccomp", libc::SYS_seccomp),
    ] {
        assert_eq!(tables::numbers(name).unwrap()[column], number as u32);
    }
    assert_eq!(tables::numbers("no_such_call"), None);
}

#[test]
fn every_name_of_the_default_profile_is_known_or_foreign() {
    let foreign = [
        "riscv_hwprobe",
        "riscv_flush_icache",
        "swapcontext",
        "arm_sync_file_range",
    ];
    for arch in [Arch::ScmpArchX86_64, Arch::ScmpArchAarch64] {
        let profile = default_profile_for(&docker_capabilities(), arch);
        for name in profile
            .syscalls()
            .iter()
            .flatten()
            .flat_map(LinuxSyscall::names)
        {
            let known = tables::numbers(name).is_some();
            assert!(known || foreign.contains(&name.as_str()), "{name}");
        }
    }
}

#[test]
fn default_profile_draws_dockers_lines() {
    let filter = default_filter_for(&docker_capabilities(), Arch::ScmpArchX86_64);
    for arch in [X86_64, X32, I386] {
        let answer = |name, args: &[u64]| returns(&filter, arch, name, args);
        for name in ["openat", "execve", "chroot", "ptrace", "statmount", "mseal"] {
            assert_eq!(answer(name, &[]), RET_ALLOW, "{name}");
        }
        for name in [
            "mount",
            "umount2",
            "unshare",
            "setns",
            "bpf",
            "keyctl",
            "add_key",
            "reboot",
            "io_uring_setup",
            "userfaultfd",
            "open_by_handle_at",
            "pivot_root",
            "fsopen",
            "perf_event_open",
            "syslog",
            "settimeofday",
            "swapon",
        ] {
            assert_eq!(answer(name, &[]), PERM, "{name}");
        }
        assert_eq!(answer("clone3", &[]), NOSYS);
        assert_eq!(answer("clone", &[0x11]), RET_ALLOW);
        for flag in [0x2_0000, 0x200_0000, 0x400_0000, 0x1000_0000, 0x4000_0000] {
            assert_eq!(answer("clone", &[flag | 0x11]), PERM, "{flag:#x}");
        }
        for domain in [1, 2, 10, 16, 17, 29, 44, 45] {
            assert_eq!(answer("socket", &[domain]), RET_ALLOW, "{domain}");
        }
        for domain in [12, 38, 40, 46, 1000] {
            assert_eq!(answer("socket", &[domain]), PERM, "{domain}");
        }
        assert_eq!(answer("personality", &[0x20008]), RET_ALLOW);
        assert_eq!(answer("personality", &[0xffff_ffff]), RET_ALLOW);
        assert_eq!(answer("personality", &[0x4_0000]), PERM);
        // Known to the tables, but newer than all that the profile names.
        assert_eq!(answer("open_tree_attr", &[]), NOSYS);
    }
    let junk_above = 40 | 1 << 32;
    assert_eq!(returns(&filter, X86_64, "socket", &[junk_above]), PERM);
    assert_eq!(returns(&filter, I386, "socketcall", &[1]), RET_ALLOW);
    assert_eq!(returns(&filter, X86_64, "modify_ldt", &[]), RET_ALLOW);
    assert_eq!(run(&filter, Call::new(X86_64, 5000, &[])).0, NOSYS);
    assert_eq!(run(&filter, Call::new(AARCH64, 0, &[])).0, RET_KILL_PROCESS);

    let filter = default_filter_for(&docker_capabilities(), Arch::ScmpArchAarch64);
    assert_eq!(returns(&filter, AARCH64, "openat", &[]), RET_ALLOW);
    assert_eq!(returns(&filter, AARCH64, "mount", &[]), PERM);
    assert_eq!(returns(&filter, ARM, "set_tls", &[]), RET_ALLOW);
    assert_eq!(returns(&filter, ARM, "get_tls", &[]), NOSYS);
    assert_eq!(run(&filter, Call::new(ARM, 5000, &[])).0, NOSYS);
}

#[test]
fn capabilities_open_what_they_are_for() {
    for (capability, names) in [
        (
            Capability::SysAdmin,
            &["mount", "unshare", "clone3", "setns", "bpf"][..],
        ),
        (Capability::SysPtrace, &["kcmp", "pidfd_getfd"]),
        (Capability::Bpf, &["bpf"]),
        (Capability::Perfmon, &["perf_event_open"]),
        (Capability::Syslog, &["syslog"]),
        (Capability::SysTime, &["clock_settime", "settimeofday"]),
        (Capability::SysNice, &["mbind", "set_mempolicy"]),
        (Capability::SysModule, &["init_module", "finit_module"]),
        (Capability::DacReadSearch, &["open_by_handle_at"]),
    ] {
        let mut capabilities = docker_capabilities();
        let without = default_filter_for(&capabilities, Arch::ScmpArchX86_64);
        capabilities.insert(capability);
        let with = default_filter_for(&capabilities, Arch::ScmpArchX86_64);
        for name in names {
            assert_ne!(returns(&without, X86_64, name, &[]), RET_ALLOW, "{name}");
            assert_eq!(returns(&with, X86_64, name, &[]), RET_ALLOW, "{name}");
        }
    }
    let none = default_filter_for(&Capabilities::new(), Arch::ScmpArchX86_64);
    assert_eq!(returns(&none, X86_64, "chroot", &[]), PERM);
    let mut admin = docker_capabilities();
    admin.insert(Capability::SysAdmin);
    let admin = default_filter_for(&admin, Arch::ScmpArchX86_64);
    assert_eq!(returns(&admin, X86_64, "clone", &[0x1000_0000]), RET_ALLOW);
}

#[test]
fn the_default_filter_is_small_and_quick() {
    let filter = default_filter_for(&docker_capabilities(), Arch::ScmpArchX86_64);
    assert!(filter.program.len() < 1500, "{}", filter.program.len());
    let steps: Vec<_> = (0..470)
        .map(|number| run(&filter, Call::new(X86_64, number, &[])).1)
        .collect();
    // Loading and comparing the architecture, loading the number, returning
    // and long jumps come to some five of these.
    let mean = steps.iter().sum::<usize>() as f64 / steps.len() as f64;
    assert!(mean < 14.0, "{mean}");
    assert_eq!(filter.flags, 1 << 2);
    assert!(!filter.notify);
}

#[test]
fn filters_made_ahead_are_those_made_now() {
    let add = |capability: &[Capability]| {
        let mut capabilities = docker_capabilities();
        capabilities.extend(capability);
        capabilities
    };
    for (capabilities, ahead) in [
        (docker_capabilities(), true),
        (Capabilities::new(), true),
        // Makes no difference to the profile.
        (add(&[Capability::NetAdmin]), true),
        (add(&[Capability::SysAdmin]), false),
    ] {
        let filter = default_filter(&capabilities).unwrap();
        assert_eq!(filter, default_filter_for(&capabilities, NATIVE));
        assert_eq!(matches!(filter.program, Cow::Borrowed(_)), ahead);
    }
}

/// Both filters of a container whose root is emulated, and the one in their
/// place.
fn apart_and_together(
    capabilities: &Capabilities,
    emulation: RootEmulation,
) -> ([Filter; 2], Filter) {
    let emulating = Filter {
        program: emulation.filter().into(),
        flags: 0,
        notify: true,
    };
    let apart = [default_filter(capabilities).unwrap(), emulating];
    (apart, default_emulating(capabilities, emulation).unwrap())
}

/// What the kernel does about a call by filters of which the first was loaded
/// last (`seccomp_run_filters`, kernel/seccomp.c).
fn by_all(filters: &[Filter], call: Call) -> u32 {
    let order = |answer: u32| (answer & RET_ACTION) as i32;
    let answers = filters.iter().map(|filter| run(filter, call).0);
    let strictest = answers.reduce(|one, other| match order(other) < order(one) {
        true => other,
        false => one,
    });
    strictest.unwrap()
}

#[test]
fn one_filter_answers_as_the_two_that_it_stands_for() {
    let refused = RET_ERRNO | 1;
    for capabilities in [docker_capabilities(), Capabilities::new()] {
        for emulation in [RootEmulation::Refused, RootEmulation::Full] {
            let (apart, together) = apart_and_together(&capabilities, emulation);
            assert!(together.notify && together.flags & (1 << 3) != 0);
            let (mut asked, mut denied) = (0, 0);
            for arch in [X86_64, I386, AARCH64, ARM, 0] {
                for number in (0..1100).chain(X32..X32 + 1100).chain([u32::MAX]) {
                    // Kinds of files, domains of sockets, personalities, flags.
                    for value in [0, 2, 8, 16, 38, 40, 0o20000, 0o60000, 0x7e02_0000, u64::MAX] {
                        let call = Call::new(arch, number, &[value; 6]);
                        let answer = run(&together, call).0;
                        assert_eq!(answer, by_all(&apart, call), "{call:x?}");
                        asked += u32::from(answer == RET_USER_NOTIF);
                        denied += u32::from(answer == refused);
                    }
                }
            }
            assert!(asked > 100 && denied > 100, "{asked} {denied}");
        }
    }
}

#[test]
fn foreign_formats_are_read() {
    let json = r#"{
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "defaultErrno": "ENOSYS",
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
            {"architecture": "SCMP_ARCH_OF_THE_FUTURE", "subArchitectures": null}
        ],
        "syscalls": [
            {"name": "read", "action": "SCMP_ACT_ALLOW", "args": null},
            {"names": ["write", "unheard_of"], "action": "SCMP_ACT_ALLOW", "args": [],
             "comment": "\u0068i", "includes": {}, "excludes": {}},
            {"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "errno": "EPERM",
             "args": [], "excludes": {"caps": ["CAP_SYS_ADMIN", "CAP_UNHEARD_OF"]}},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW",
             "includes": {"minKernel": "4.8", "arches": ["amd64"]}},
            {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "99.0"}},
            {"names": ["kcmp"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
            {"names": ["acct"], "action": "SCMP_ACT_ALLOW",
             "includes": {"caps": ["CAP_CHOWN", "CAP_SYS_PACCT"]}}
        ]
    }"#;
    let profile = Profile::parse(json).unwrap();
    let resolved = profile
        .resolve(Target {
            capabilities: &docker_capabilities(),
            arch: Arch::ScmpArchX86_64,
            kernel: (6, 1),
        })
        .unwrap();
    let filter = compile(&resolved, Arch::ScmpArchX86_64).unwrap();
    for (name, answer) in [
        ("read", RET_ALLOW),
        ("write", RET_ALLOW),
        ("mount", PERM),
        ("ptrace", RET_ALLOW),
        ("bpf", NOSYS),
        ("kcmp", NOSYS),
        ("acct", NOSYS),
    ] {
        assert_eq!(returns(&filter, X86_64, name, &[]), answer, "{name}");
    }
    assert_eq!(returns(&filter, I386, "read", &[]), RET_ALLOW);
    assert_eq!(
        run(&filter, Call::new(X86_64, X32, &[])).0,
        RET_KILL_PROCESS
    );
}

fn compiled(json: &str) -> Result<Filter> {
    compile(&serde_json::from_str(json).unwrap(), Arch::ScmpArchX86_64)
}

#[test]
fn rules_for_one_call_combine() {
    let filter = compiled(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["dup"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5,
             "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
            {"names": ["dup"], "action": "SCMP_ACT_TRAP",
             "args": [{"index": 0, "value": 2, "op": "SCMP_CMP_LE"},
                      {"index": 1, "value": 7, "op": "SCMP_CMP_EQ"}]},
            {"names": ["close"], "action": "SCMP_ACT_LOG",
             "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
                      {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]},
            {"names": ["read"], "action": "SCMP_ACT_KILL",
             "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
            {"names": ["read"], "action": "SCMP_ACT_TRACE", "errnoRet": 9},
            {"names": ["read"], "action": "SCMP_ACT_KILL_PROCESS"}
        ]}"#,
    )
    .unwrap();
    let answer = |name, args: &[u64]| returns(&filter, X86_64, name, args);
    assert_eq!(answer("dup", &[1, 7]), RET_ERRNO | 5);
    assert_eq!(answer("dup", &[2, 7]), RET_TRAP);
    assert_eq!(answer("dup", &[2, 8]), RET_ALLOW);
    assert_eq!(answer("close", &[2]), RET_LOG);
    assert_eq!(answer("close", &[3]), RET_ALLOW);
    assert_eq!(answer("read", &[1]), RET_TRACE | 9);
    assert_eq!(run(&filter, Call::new(X86_64, 9999, &[])).0, RET_ALLOW);
    assert_eq!(run(&filter, Call::new(I386, 0, &[])).0, RET_KILL_PROCESS);
}

#[test]
fn refusing_sockets_on_i386_closes_the_other_way_in() {
    let filter = compiled(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "syscalls": [
            {"names": ["socket", "shmget"], "action": "SCMP_ACT_ERRNO"}
        ]}"#,
    )
    .unwrap();
    assert_eq!(returns(&filter, I386, "socket", &[]), PERM);
    assert_eq!(returns(&filter, I386, "socketcall", &[1]), PERM);
    assert_eq!(returns(&filter, I386, "socketcall", &[2]), RET_ALLOW);
    assert_eq!(returns(&filter, I386, "ipc", &[1 << 16 | 23]), PERM);
    assert_eq!(returns(&filter, I386, "ipc", &[1 << 16 | 21]), RET_ALLOW);
}

#[test]
fn listeners_and_flags() {
    let filter = compiled(
        r#"{"defaultAction": "SCMP_ACT_ALLOW",
            "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
                      "SECCOMP_FILTER_FLAG_TSYNC"],
            "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_NOTIFY"}]}"#,
    )
    .unwrap();
    assert!(filter.notify);
    assert_eq!(filter.flags, 1 << 1 | 1 << 3 | 1 << 5);
    assert_eq!(returns(&filter, X86_64, "mount", &[]), RET_USER_NOTIF);
}

#[test]
fn nonsense_is_refused_with_its_name() {
    for (json, message) in [
        (r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#, "SCMP_ACT_NOTIFY"),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}"#,
            "takes no errnoRet",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 65536}"#,
            "out of range",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                {"names": ["dup2"], "action": "SCMP_ACT_ERRNO",
                 "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]}"#,
            "dup2",
        ),
    ] {
        let error = format!("{:#}", compiled(json).unwrap_err());
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn a_filter_too_long_for_the_kernel_is_an_error() {
    let mut profile = LinuxSeccomp::default();
    let rules = (0..1000).map(|value| {
        let arg = argument(0, LinuxSeccompOperator::ScmpCmpEq, value << 20, None);
        let mut rule = LinuxSyscall::default();
        rule.set_names(vec!["ioctl".into()]);
        rule.set_action(LinuxSeccompAction::ScmpActErrno);
        rule.set_args(Some(vec![arg]));
        rule
    });
    profile.set_syscalls(Some(rules.collect()));
    let error = compile(&profile, Arch::ScmpArchX86_64).unwrap_err();
    assert!(error.to_string().contains("4096"), "{error}");
}

fn argument(
    index: usize,
    op: LinuxSeccompOperator,
    value: u64,
    value_two: Option<u64>,
) -> LinuxSeccompArg {
    let mut json = serde_json::json!({ "index": index, "op": op, "value": value });
    if let Some(value_two) = value_two {
        json["valueTwo"] = value_two.into();
    }
    serde_json::from_value(json).unwrap()
}

/// Values around the borders of words, where comparisons go wrong.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..4u64,
        Just(u64::MAX),
        Just(1 << 32),
        0xffff_fffe..0x1_0000_0002u64,
        (0..4u64).prop_map(|value| value << 32 | value),
        any::<u64>(),
    ]
}

fn arg() -> impl Strategy<Value = LinuxSeccompArg> {
    use LinuxSeccompOperator::*;
    let op = prop::sample::select(vec![
        ScmpCmpNe,
        ScmpCmpLt,
        ScmpCmpLe,
        ScmpCmpEq,
        ScmpCmpGe,
        ScmpCmpGt,
        ScmpCmpMaskedEq,
    ]);
    (0..6usize, op, value(), prop::option::of(value()))
        .prop_map(|(index, op, value, two)| argument(index, op, value, two))
}

fn any_action() -> impl Strategy<Value = (LinuxSeccompAction, Option<u32>)> {
    use LinuxSeccompAction::*;
    prop_oneof![
        prop::sample::select(vec![
            ScmpActKill,
            ScmpActKillThread,
            ScmpActKillProcess,
            ScmpActTrap,
            ScmpActLog,
            ScmpActAllow,
        ])
        .prop_map(|action| (action, None)),
        (
            prop::sample::select(vec![ScmpActErrno, ScmpActTrace]),
            prop::option::of(0..4096u32)
        ),
    ]
}

/// Few names, so that rules meet on the same call.
fn rule() -> impl Strategy<Value = LinuxSyscall> {
    let name = prop::sample::select(vec![
        "read",
        "write",
        "open",
        "close",
        "socket",
        "bind",
        "socketcall",
        "shmget",
        "ipc",
        "personality",
        "clone",
        "mseal",
        "cacheflush",
        "ioctl",
        "fork",
        "getpid",
        "nonsense",
    ]);
    let names = prop::collection::vec(name.prop_map(String::from), 1..4);
    (names, any_action(), prop::collection::vec(arg(), 0..4)).prop_map(
        |(names, (action, errno), args)| {
            let mut rule = LinuxSyscall::default();
            rule.set_names(names);
            rule.set_action(action);
            rule.set_errno_ret(errno);
            rule.set_args(Some(args));
            rule
        },
    )
}

fn any_profile() -> impl Strategy<Value = LinuxSeccomp> {
    let arches = prop::sample::subsequence(
        vec![
            Arch::ScmpArchX86_64,
            Arch::ScmpArchX86,
            Arch::ScmpArchX32,
            Arch::ScmpArchArm,
            Arch::ScmpArchS390x,
        ],
        0..=5,
    );
    (any_action(), arches, prop::collection::vec(rule(), 0..12)).prop_map(
        |((action, errno), arches, rules)| {
            let mut profile = LinuxSeccomp::default();
            profile.set_default_action(action);
            profile.set_default_errno_ret(errno);
            profile.set_architectures(Some(arches));
            profile.set_syscalls(Some(rules));
            profile
        },
    )
}

/// Calls that meet the rules' numbers and values often.
fn calls(profile: &LinuxSeccomp, seed: &[(u32, [u64; 6], usize)]) -> Vec<Call> {
    let rules = profile.syscalls().iter().flatten();
    let numbers: Vec<u32> = rules
        .clone()
        .flat_map(LinuxSyscall::names)
        .filter_map(|name| tables::numbers(name))
        .flatten()
        .filter(|number| **number != tables::NO)
        .flat_map(|number| [*number, number + 1, number.wrapping_sub(1), X32 + number])
        .chain([0, 470, X32, u32::MAX])
        .collect();
    let values: Vec<u64> = rules
        .flat_map(|rule| rule.args().clone().unwrap_or_default())
        .flat_map(|arg| {
            let two = arg.value_two().unwrap_or(0);
            [
                arg.value(),
                arg.value().wrapping_add(1),
                arg.value().wrapping_sub(1),
                two,
            ]
        })
        .chain([0])
        .collect();
    let arches = [X86_64, I386, X86_64, AARCH64, ARM, 0];
    seed.iter()
        .flat_map(|(number, args, pick)| {
            let mut near = *args;
            for (position, arg) in near.iter_mut().enumerate() {
                if pick >> position & 1 == 1 {
                    *arg = values[(pick + position) % values.len()];
                }
            }
            let audit_arch = arches[pick % arches.len()];
            [
                Call::new(audit_arch, numbers[pick % numbers.len()], &near),
                Call::new(audit_arch, numbers[pick / 7 % numbers.len()], args),
                Call::new(audit_arch, *number, args),
            ]
        })
        // The kernel hands 32-bit callers' arguments over zero-extended.
        .map(|mut call| {
            if matches!(call.audit_arch, I386 | ARM) {
                call.args = call.args.map(|arg| arg & 0xffff_ffff);
            }
            call
        })
        .collect()
}

fn seeds() -> impl Strategy<Value = Vec<(u32, [u64; 6], usize)>> {
    let number = prop_oneof![
        0..480u32,
        (0..560u32).prop_map(|number| X32 + number),
        any::<u32>()
    ];
    let args = prop::array::uniform6(value());
    prop::collection::vec((number, args, any::<usize>()), 60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn filters_answer_as_the_profile_reads(
        profile in any_profile(),
        native in prop::sample::select(vec![Arch::ScmpArchX86_64, Arch::ScmpArchAarch64]),
        seeds in seeds(),
    ) {
        let filter = compile(&profile, native).unwrap();
        for call in calls(&profile, &seeds) {
            let (answer, _) = run(&filter, call);
            prop_assert_eq!(answer, evaluate(&profile, native, call), "{:x?}", call);
        }
    }

    #[test]
    fn two_profiles_in_one_filter_answer_as_two_filters(
        one in any_profile(),
        other in any_profile(),
        native in prop::sample::select(vec![Arch::ScmpArchX86_64, Arch::ScmpArchAarch64]),
        seeds in seeds(),
    ) {
        let read = |profile: &LinuxSeccomp| {
            compiler::Profile::deserialize(serde_json::to_value(profile).unwrap()).unwrap()
        };
        let apart = [compile(&one, native).unwrap(), compile(&other, native).unwrap()];
        let both = compiler::compile_both(&read(&one), &read(&other), machine(native).unwrap());
        let both = Filter::from(both.unwrap());
        for call in calls(&one, &seeds).into_iter().chain(calls(&other, &seeds)) {
            prop_assert_eq!(run(&both, call).0, by_all(&apart, call), "{:x?}", call);
        }
    }

    #[test]
    fn the_default_filter_answers_as_the_default_profile_reads(
        native in prop::sample::select(vec![Arch::ScmpArchX86_64, Arch::ScmpArchAarch64]),
        admin in any::<bool>(),
        seeds in seeds(),
    ) {
        let mut capabilities = docker_capabilities();
        if admin {
            capabilities.insert(Capability::SysAdmin);
        }
        let profile = default_profile_for(&capabilities, native);
        let filter = compile(&profile, native).unwrap();
        for call in calls(&profile, &seeds) {
            let (answer, _) = run(&filter, call);
            prop_assert_eq!(answer, evaluate(&profile, native, call), "{:x?}", call);
        }
    }
}
