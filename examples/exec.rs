//! Starts a command with a terminal in a container that runs, leaves it, and comes
//! back to it by its id alone: for the size of its terminal, its input and output,
//! and its exit code. Container and command are the arguments.

use bryo::engine::container::containers::Containers;
use bryo::engine::container::control::{Request, WantedStreams};
use bryo::engine::container::execs::Exec;
use bryo::engine::ground::{caller::Caller, paths};
use bryo::engine::request::exec::ExecRequest;
use bryo::engine::supervise::attach::{attachment_of_exec, join};
use bryo::engine::supervise::exec::{How, create, start};
use bryo::engine::view;
use bryo::image::store::Store;
use std::fs::File;
use std::io::{Write, pipe, stdout};
use std::os::fd::AsFd;

fn main() -> anyhow::Result<()> {
    let containers = Containers::open(&Store::open(&paths::data_root()?)?);
    let mut words = std::env::args().skip(1);
    let name = words.next().unwrap_or_default();
    let request = ExecRequest {
        command: words.collect(),
        interactive: true,
        tty: true,
        ..ExecRequest::default()
    };

    // A thread starts it, and is gone.
    let null = File::open("/dev/null")?;
    let starter = || {
        let mut container = containers.find(&name)?;
        let exec = create(&containers, &mut container, request)?;
        let id = exec.id.clone();
        let caller = Caller::with([null.as_fd(), null.as_fd(), null.as_fd()]);
        let how = How::default();
        start(&containers, container, exec, &how, caller, &|_| {})?;
        anyhow::Ok(id)
    };
    let id = std::thread::scope(|scope| scope.spawn(starter).join());
    let id = id.expect("the thread panicked")?;

    let (container, exec) = Exec::find(&containers, &id)?;
    exec.ask(Request::Resize(40, 132))?;
    let (typed, mut keyboard) = pipe()?;
    keyboard.write_all(b"go on\n")?;
    let screen = stdout();
    let caller = Caller::with([typed.as_fd(), screen.as_fd(), screen.as_fd()]);
    join(attachment_of_exec(&exec, caller, WantedStreams::ALL)?)?;

    // It has ended, and nobody is connected to it any more.
    let (_, mut ended) = Exec::find(&containers, &id)?;
    let shown = serde_json::to_string(&view::exec::Exec::of(&container.record.id, &ended))?;
    println!("exit code {}: {shown}", ended.wait()?);
    Ok(())
}
