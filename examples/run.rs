//! Runs a command in a container, from a program with threads: one of them reads
//! what it prints. Image and command are the arguments.

use bryo::engine::container::containers::Containers;
use bryo::engine::container::control::WantedStreams;
use bryo::engine::create::options::RunOptions;
use bryo::engine::ground::{caller::Caller, paths};
use bryo::engine::operate::launch::{Launch, launch};
use bryo::engine::operate::run::{Subject, create};
use bryo::image::{progress::Quiet, store::Store};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;

fn main() -> anyhow::Result<()> {
    let warn = |text: &str| eprintln!("warning: {text}");
    let mut words = std::env::args().skip(1);
    let image = Subject::Image(words.next().unwrap_or_else(|| "hello".into()));
    let options = RunOptions {
        command: words.collect(),
        auto_remove: true,
        ..RunOptions::default()
    };
    let store = Store::open(&paths::data_root()?)?;
    let (container, lock, spec) = create(&store, &image, &options, None, &Quiet, &warn)?;

    let (output, printed) = std::io::pipe()?;
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            println!("it says: {line}");
        }
    });
    let nothing = File::open("/dev/null")?;
    let caller = Caller::with([nothing.as_fd(), printed.as_fd(), printed.as_fd()]);
    let how = Launch {
        attach: Some(WantedStreams::OUTPUTS),
        foreground: true,
        ..Launch::default()
    };
    let containers = Containers::open(&store);
    let end = launch(&containers, container, lock, spec, &how, caller, &warn)?;
    drop(printed);
    reader.join().expect("the reader panicked");
    println!("{end:?}");
    Ok(())
}
