//! `bryo completion`: scripts for shells. All ask bryo itself for what may
//! come next (the hidden verb `complete`), so that the names of containers
//! and images are those of the moment.

use super::Cli;
use super::Context;
use super::output;
use crate::engine::container::volumes::Volumes;
use crate::engine::network::Networks;
use anyhow::Result;
use clap::{Arg, Command, CommandFactory};

/// Print what makes a shell complete bryo's command lines
///
/// bash: eval "$(bryo completion bash)"; zsh, after compinit: the same with
/// zsh; fish: bryo completion fish | source
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

const BASH: &str = r#"_bryo() {
    local IFS=$'\n'
    COMPREPLY=($(bryo complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _bryo bryo
"#;

const ZSH: &str = r#"_bryo() {
    local -a found
    found=("${(@f)$(bryo complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    [[ -n $found ]] && compadd -a found || _files
}
compdef _bryo bryo
"#;

const FISH: &str = r#"function __bryo
    set -l words (commandline -opc) (commandline -ct)
    bryo complete -- $words[2..] 2>/dev/null
end
complete -c bryo -a '(__bryo)'
"#;

/// Prints the script.
pub fn run(args: &Args) -> Result<()> {
    let script = match args.shell {
        Shell::Bash => BASH,
        Shell::Zsh => ZSH,
        Shell::Fish => FISH,
    };
    Ok(output::line(script.trim_end())?)
}

/// What may stand in the place of the last word
#[derive(Debug, clap::Args)]
pub struct WordsArgs {
    /// The words after the program's name, the last one begun
    #[arg(last = true)]
    words: Vec<String>,
}

/// Prints what may come, one a line.
pub fn words(args: &WordsArgs, context: &Context) -> Result<()> {
    let Some((begun, before)) = args.words.split_last() else {
        return Ok(());
    };
    let mut top = Cli::command();
    top.build();
    for word in candidates(&top, before, begun, context) {
        if word.starts_with(begun.as_str()) {
            output::line(word)?;
        }
    }
    Ok(())
}

fn candidates(top: &Command, before: &[String], begun: &str, context: &Context) -> Vec<String> {
    let mut here = top;
    let mut value_of: Option<&Arg> = None;
    let mut positions = 0;
    for word in before {
        if value_of.take().is_some() {
            continue;
        }
        if word.starts_with('-') {
            let flag = here.get_arguments().find(|arg| is_flag(arg, word));
            value_of = flag.filter(|arg| arg.get_action().takes_values() && !word.contains('='));
        } else if let (Some(below), 0) = (here.find_subcommand(word), positions) {
            here = below;
        } else {
            positions += 1;
        }
    }
    if let Some(arg) = value_of {
        let mut words = possible(arg);
        if arg.get_id() == "network" {
            words.extend(NETWORK_MODES.map(str::to_owned));
            words.extend(networks(context));
        }
        return words;
    }
    if begun.starts_with('-') {
        let flags = here.get_arguments().filter(|arg| !arg.is_hide_set());
        let flags = flags.filter_map(Arg::get_long);
        return flags.map(|long| format!("--{long}")).collect();
    }
    let below = here
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    let mut words: Vec<String> = below.map(|command| command.get_name().to_owned()).collect();
    let place = here
        .get_positionals()
        .nth(positions)
        .or(here.get_positionals().last());
    if let Some(arg) = place {
        match arg.get_id().as_str() {
            "container" | "containers" => words.extend(containers(context)),
            "network" | "networks" => words.extend(networks(context)),
            "volume" | "volumes" => words.extend(volumes(context)),
            "image" | "images" if positions == 0 || here.get_name() != "run" => {
                words.extend(images(context));
            }
            "names" => words.extend(containers(context).into_iter().chain(images(context))),
            _ => words.extend(possible(arg)),
        }
    }
    words
}

/// What `--network` takes beside names.
const NETWORK_MODES: [&str; 5] = ["container:", "host", "none", "ns:", "user"];

fn is_flag(arg: &Arg, word: &str) -> bool {
    let long = arg.get_long_and_visible_aliases().unwrap_or_default();
    let short = arg.get_short_and_visible_aliases().unwrap_or_default();
    match word.strip_prefix("--") {
        Some(name) => long.contains(&name.split('=').next().unwrap_or_default()),
        // Of several in one word the last one may want a value.
        None => word.chars().last().is_some_and(|c| short.contains(&c)),
    }
}

fn possible(arg: &Arg) -> Vec<String> {
    let values = arg.get_possible_values().into_iter();
    values.map(|value| value.get_name().to_owned()).collect()
}

fn containers(context: &Context) -> Vec<String> {
    let list = context
        .containers()
        .and_then(|containers| containers.list());
    let list = list.into_iter().flatten();
    list.map(|container| container.record.name).collect()
}

fn networks(context: &Context) -> Vec<String> {
    let list = Networks::open(&context.root).list();
    list.into_iter().flatten().map(|n| n.name).collect()
}

fn volumes(context: &Context) -> Vec<String> {
    let list = context.store().and_then(|s| Volumes::open(&s).list());
    list.into_iter().flatten().map(|v| v.name).collect()
}

fn images(context: &Context) -> Vec<String> {
    let list = context.store().and_then(|store| store.list());
    let names = list
        .into_iter()
        .flatten()
        .flat_map(|image| image.references);
    names.map(|name| name.familiar()).collect()
}
