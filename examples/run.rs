//! Runs a container from a program with threads: one reads what it prints. Image and
//! command are the arguments.
use bryo::engine::{self, Caller, Containers, Launch, RunOptions, Subject, WantedStreams};
use bryo::image::{progress::Quiet, store::Store};
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
    let store = Store::open(&engine::data_root()?)?;
    let created = engine::create(&store, &image, &options, None, &Quiet, &warn)?;

    let (output, printed) = std::io::pipe()?;
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            println!("it says: {line}");
        }
    });
    let nothing = std::fs::File::open("/dev/null")?;
    let caller = Caller::with([nothing.as_fd(), printed.as_fd(), printed.as_fd()]);
    let how = Launch {
        attach: Some(WantedStreams::OUTPUTS),
        foreground: true,
        ..Launch::default()
    };
    let end = engine::start_new(&Containers::open(&store), created, &how, caller, &warn)?;
    drop(printed);
    reader.join().expect("the reader panicked");
    println!("{end:?}");
    Ok(())
}
