//! `bryo compose config`.

use super::{Args, project};
use crate::cli::output;
use crate::compose::node::{Node, Value};
use crate::compose::{Project, print, template};
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// Show what the files say, checked and without short forms
#[derive(Debug, clap::Args)]
pub struct ConfigArgs {
    /// These services only, and what they depend on
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,

    /// The form
    #[arg(long, value_parser = ["yaml", "json"], default_value = "yaml")]
    format: String,

    /// Check, and show nothing
    #[arg(short, long)]
    quiet: bool,

    /// Leave variables as they are
    #[arg(long)]
    no_interpolate: bool,

    /// Write to a file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    list: Lists,
}

/// What is listed in place of the whole.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct Lists {
    /// List the services
    #[arg(long = "services")]
    names: bool,

    /// List the volumes
    #[arg(long)]
    volumes: bool,

    /// List the networks
    #[arg(long)]
    networks: bool,

    /// List the images
    #[arg(long)]
    images: bool,

    /// List the profiles
    #[arg(long)]
    profiles: bool,

    /// List the models
    #[arg(long)]
    models: bool,

    /// List the variables that the files have
    #[arg(long)]
    variables: bool,

    /// List the variables that there are for the files
    #[arg(long)]
    environment: bool,

    /// List the digests by which changes are seen, of these services, * for all
    #[arg(long, value_name = "SERVICES")]
    hash: Option<String>,
}

/// Shows the project.
pub fn run(args: &Args, config: &ConfigArgs) -> Result<()> {
    let keeps_variables = config.no_interpolate || config.list.variables;
    let project = project(args, &config.services, keeps_variables)?;
    if config.quiet {
        return Ok(());
    }
    let text = match listed(&project, &config.list) {
        Some(lines) => lines.concat(),
        None if config.format == "json" => {
            let json = print::json(&project.root, !keeps_variables);
            format!("{}\n", serde_json::to_string_pretty(&json)?)
        }
        None => print::yaml(&project.root, !keeps_variables),
    };
    match &config.output {
        None if text.is_empty() => Ok(()),
        None => Ok(output::line(text.trim_end_matches('\n'))?),
        Some(file) => fs::write(file, text).with_context(|| format!("write {}", file.display())),
    }
}

/// The lines of a list, if one is wanted.
fn listed(project: &Project, list: &Lists) -> Option<Vec<String>> {
    let line = |word: &str| format!("{word}\n");
    let keys = |section: &str| {
        let section = project.root.get(section);
        let entries = section.map(Node::entries).unwrap_or_default();
        let mut names: Vec<String> = entries.iter().map(|(key, _)| line(&key.name)).collect();
        names.sort();
        names
    };
    Some(if list.names {
        keys("services")
    } else if list.volumes {
        keys("volumes")
    } else if list.networks {
        keys("networks")
    } else if list.models {
        keys("models")
    } else if list.profiles {
        project.profiles.iter().map(|name| line(name)).collect()
    } else if list.environment {
        let pairs = project.environment.iter();
        pairs
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect()
    } else if list.images {
        let images = project.services().into_iter().map(|(name, service)| {
            let own = service.text_of("image").map(line);
            own.unwrap_or_else(|| format!("{}-{name}\n", project.name))
        });
        images.collect()
    } else if list.variables {
        vec![variables(&project.root)]
    } else if let Some(names) = &list.hash {
        let wanted: Vec<&str> = names.split(',').collect();
        let services = project.services().into_iter();
        let services = services.filter(|(name, _)| wanted.contains(&"*") || wanted.contains(name));
        services
            .map(|(name, service)| format!("{name} {}\n", Project::hash(service)))
            .collect()
    } else {
        return None;
    })
}

/// The variables of a tree, as a table.
fn variables(root: &Node) -> String {
    let mut found: BTreeMap<&str, Option<(template::Modifier, &str)>> = BTreeMap::new();
    let mut open = vec![root];
    while let Some(node) = open.pop() {
        let mut names = Vec::new();
        if let Value::Text(text) = &node.value {
            template::names(text, &mut names);
        }
        for (name, modifier) in names {
            let known = found.entry(name).or_default();
            *known = known.or(modifier);
        }
        open.extend(node.items());
        open.extend(node.entries().iter().map(|(_, node)| node));
    }
    let heads = ["NAME", "REQUIRED", "DEFAULT VALUE", "ALTERNATE VALUE"];
    let mut table = output::Table::new(&heads);
    for (name, modifier) in found {
        let word = |wanted: template::Modifier| match modifier {
            Some((kind, word)) if kind == wanted => word.to_owned(),
            _ => String::new(),
        };
        let required = modifier.is_some_and(|(kind, _)| kind == template::Modifier::Required);
        table.row(vec![
            name.to_owned(),
            required.to_string(),
            word(template::Modifier::Default),
            word(template::Modifier::Instead),
        ]);
    }
    let mut bytes = Vec::new();
    // Memory has room.
    let _ = table.write(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}
