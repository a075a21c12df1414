//! The engine as a library: the programs in `examples` have threads, use it
//! without the command line, and go on when a container has ended.

use crate::common::{Run, Sandbox, bryo};
use bryo::engine::container::containers::Containers;
use bryo::engine::container::control::WantedStreams;
use bryo::engine::container::keeping::Keeping;
use bryo::engine::create::options::RunOptions;
use bryo::engine::ground::caller::Caller;
use bryo::engine::operate::launch::{Launch, launch};
use bryo::engine::operate::run::{Subject, create};
use bryo::engine::request::network::Network;
use bryo::engine::request::userns::UserNs;
use bryo::engine::supervise::attach::End;
use bryo::image::progress::Quiet;
use bryo::image::store::Store;
use std::fs::{self, File};
use std::os::fd::AsFd;

/// A program of `examples`, which `cargo test` builds beside the others.
fn example(sandbox: &Sandbox, name: &str) -> Run {
    let program = bryo().with_file_name("examples").join(name);
    assert!(
        program.exists(),
        "{}: cargo build --examples",
        program.display()
    );
    sandbox.command(program)
}

#[test]
fn a_program_with_threads_runs_a_container() {
    let sandbox = Sandbox::with_busybox();
    let script = "echo one; umask; echo two >&2; exit 7";
    let run = example(&sandbox, "run").args(["busybox", "sh", "-c", script]);
    let output = run.output().expect(0);
    assert_eq!(output.stderr, "");
    // Output and errors have a pipe each, between which there is no order.
    let mut lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines.pop(), Some("Exited(7)"));
    lines.sort_unstable();
    assert_eq!(lines, ["it says: 0022", "it says: one", "it says: two"]);
    // A command that is not there is an error like any other.
    let run = example(&sandbox, "run").args(["busybox", "/none"]);
    let output = run.output().expect(1);
    assert!(
        output.stderr.contains("execve(/none): ENOENT"),
        "{}",
        output.stderr
    );
}

/// What a call could leave changed of this thread and its process.
fn own_state() -> Vec<String> {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let fields = [
        "Umask",
        "SigBlk",
        "SigIgn",
        "SigCgt",
        "NoNewPrivs",
        "Seccomp:",
    ];
    let wanted = |line: &&str| fields.iter().any(|field| line.starts_with(field));
    let mut all: Vec<String> = status.lines().filter(wanted).map(str::to_owned).collect();
    for namespace in fs::read_dir("/proc/thread-self/ns").unwrap() {
        let link = fs::read_link(namespace.unwrap().path()).unwrap();
        all.push(link.display().to_string());
    }
    all.sort();
    all.push(format!("{:?}", std::env::current_dir()));
    all
}

/// In this process, which runs other tests meanwhile.
#[test]
fn the_process_is_as_it_was() {
    let sandbox = Sandbox::with_busybox();
    let options = RunOptions {
        command: ["sh", "-c", "cat; echo error >&2; exit 3"]
            .map(Into::into)
            .to_vec(),
        interactive: true,
        keeping: Keeping {
            input_once: true,
            ..Keeping::default()
        },
        network: Network::None,
        userns: UserNs::parse("single", &[], &[]).unwrap(),
        ..RunOptions::default()
    };
    let store = Store::open(&sandbox.root()).unwrap();
    let image = Subject::Image("busybox".into());
    let warn = |text: &str| panic!("{text}");
    let before = own_state();
    let (container, lock, spec) = create(&store, &image, &options, None, &Quiet, &warn).unwrap();
    let [input, output, errors] = ["input", "output", "errors"].map(|name| {
        let path = sandbox.write(name, if name == "input" { "through" } else { "" });
        File::options().read(true).append(true).open(path).unwrap()
    });
    let caller = Caller::with([input.as_fd(), output.as_fd(), errors.as_fd()]);
    let how = Launch {
        attach: Some(WantedStreams::ALL),
        foreground: true,
        ..Launch::default()
    };
    let containers = Containers::open(&store);
    let name = container.record.name.clone();
    let end = launch(&containers, container, lock, spec, &how, caller, &warn).unwrap();
    assert_eq!(end, End::Exited(3));
    assert_eq!(own_state(), before);
    let said = |name: &str| fs::read_to_string(sandbox.work().join(name)).unwrap();
    assert_eq!(
        (said("output").as_str(), said("errors").as_str()),
        ("through", "error\n")
    );
    assert_eq!(sandbox.inspect(&name)["State"]["ExitCode"], 3);
    let children = fs::read_to_string("/proc/thread-self/children").unwrap();
    assert_eq!(children, "", "somebody is left to be waited for");
}

#[test]
fn a_command_is_left_and_found_again_by_its_id() {
    let sandbox = Sandbox::with_busybox();
    let running = sandbox.start("c", &[]);
    let script = "read word; echo \"it read $word\"; stty size; exit 7";
    let run = example(&sandbox, "exec").args(["c", "sh", "-c", script]);
    let output = run.output().expect(0);
    let text = output.stdout.replace('\r', "");
    assert!(text.contains("it read go on\n40 132\n"), "{text}");
    let (_, shown) = text.split_once("exit code 7: ").expect(&text);
    let shown: serde_json::Value = serde_json::from_str(shown).unwrap();
    assert_eq!(shown["ExitCode"], 7);
    assert_eq!(shown["Running"], false);
    assert_eq!(shown["ContainerID"], sandbox.inspect("c")["Id"]);
    assert_eq!(shown["ProcessConfig"]["entrypoint"], "sh");
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
    running.wait();
}
