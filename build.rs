//! Compiles the built-in seccomp profile ahead, for the capability sets that
//! nearly all containers have, and says how the programs are linked.

#[allow(dead_code)]
#[path = "src/runtime/seccomp/compiler/mod.rs"]
mod compiler;

use anyhow::{Context, Result, bail};
use compiler::{Arch, Profile, Target};
use std::env;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

/// As in `runtime::seccomp`, where it becomes the system's.
pub struct Instruction {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

const PROFILE: &str = "contrib/seccomp.json";

/// Fixed filters, each of the rules of one or more files: the calls that root
/// emulation answers, without and with those about files, those of bryo's own
/// processes, those that unpacking takes, and those that no load needs.
const FIXED: [(&[&str], &str); 8] = [
    (&["src/runtime/seccomp/emulation.json"], "emulation.rs"),
    (
        &[
            "src/runtime/seccomp/emulation.json",
            "src/runtime/seccomp/emulation-full.json",
        ],
        "emulation-full.rs",
    ),
    (&["src/runtime/seccomp/translator.json"], "translator.rs"),
    (&["src/runtime/seccomp/waiter.json"], "waiter.rs"),
    (&["src/runtime/seccomp/caretaker.json"], "caretaker.rs"),
    (&["src/runtime/seccomp/starter.json"], "starter.rs"),
    (&["src/image/layer/unpack.json"], "unpack.rs"),
    (&["src/engine/ground/confine/load.json"], "load.rs"),
];

/// Of the capabilities that the profile asks for, docker's default set holds
/// one; with `--cap-drop ALL`, none is left. Each is compiled without root
/// emulation, and together with both kinds of it.
const SETS: [&[&str]; 2] = [&["CAP_SYS_CHROOT"], &[]];

/// Whether the list of addresses that a start corrects can be packed
/// (`DT_RELR`): it is the C library's code in the program that reads it, from
/// glibc 2.36 on, and with an older one the program would crash at its first step.
fn packs_relocations() -> Result<bool> {
    let target = env::var("TARGET")?;
    if target != "x86_64-unknown-linux-gnu" || target != env::var("HOST")? {
        return Ok(false);
    }
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let said = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let said = said.unwrap_or_default();
    let version = said.trim().strip_prefix("glibc 2.");
    let minor = version.and_then(|minor| minor.split('.').next()?.parse::<u32>().ok());
    Ok(minor.is_some_and(|minor| minor >= 36))
}

fn main() -> Result<()> {
    println!("cargo::rerun-if-changed={PROFILE}");
    println!("cargo::rerun-if-changed=src/runtime/seccomp/compiler");
    if packs_relocations()? {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    let arch = match env::var("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "x86_64" => Arch::X86_64,
        "aarch64" => Arch::Aarch64,
        other => bail!("there is no system call table for {other}"),
    };
    let json = fs::read_to_string(PROFILE).context(PROFILE)?;
    let parse = || serde_json::from_str::<Profile>(&json).context(PROFILE);

    let mut code = String::new();
    writeln!(
        code,
        "Ahead {{ capabilities: &{:?}, filters: &[",
        parse()?.capabilities()
    )?;
    let emulations = [None, Some(&FIXED[0]), Some(&FIXED[1])];
    for (held, asks) in SETS
        .iter()
        .flat_map(|held| emulations.map(|asks| (held, asks)))
    {
        let resolved = parse()?.resolve(Target {
            holds: &|name| held.contains(&name),
            arch,
            kernel: (5, 3),
        })?;
        let (compiled, emulates) = match asks {
            None => (compiler::compile(&resolved, arch)?, "None"),
            Some((sources, name)) => (
                compiler::compile_both(&resolved, &of_files(sources, arch)?, arch)?,
                match *name {
                    "emulation.rs" => "Some(RootEmulation::Refused)",
                    _ => "Some(RootEmulation::Full)",
                },
            ),
        };
        let flags = compiled.flags;
        writeln!(
            code,
            "AheadFilter {{ held: &{held:?}, emulates: {emulates}, flags: {flags}, program: &["
        )?;
        code.push_str(&instructions(compiled.program)?);
        writeln!(code, "] }},")?;
    }
    writeln!(code, "] }}")?;
    write("seccomp.rs", &code)?;

    for (sources, name) in FIXED {
        for source in sources {
            println!("cargo::rerun-if-changed={source}");
        }
        let compiled = compiler::compile(&of_files(sources, arch)?, arch)?;
        write(name, &format!("&[{}]", instructions(compiled.program)?))?;
    }
    Ok(())
}

/// The profile of all rules of these files.
fn of_files(sources: &[&str], arch: Arch) -> Result<Profile> {
    let mut profile: Option<Profile> = None;
    for source in sources {
        let json = fs::read_to_string(source).with_context(|| (*source).to_owned())?;
        let next: Profile = serde_json::from_str(&json).with_context(|| (*source).to_owned())?;
        match &mut profile {
            None => profile = Some(next),
            Some(first) => first
                .syscalls
                .get_or_insert_default()
                .extend(next.syscalls.into_iter().flatten()),
        }
    }
    let profile = profile.context("a filter of no file")?;
    profile.resolve(Target {
        holds: &|_| true,
        arch,
        kernel: (5, 3),
    })
}

fn write(name: &str, code: &str) -> Result<()> {
    let path = Path::new(&env::var("OUT_DIR")?).join(name);
    fs::write(&path, code).with_context(|| path.display().to_string())
}

fn instructions(program: Vec<Instruction>) -> Result<String> {
    let mut code = String::new();
    for instruction in program {
        let Instruction {
            code: op,
            jt,
            jf,
            k,
        } = instruction;
        writeln!(code, "i({op}, {jt}, {jf}, {k}),")?;
    }
    Ok(code)
}
