//! `bryo history`

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::format::{self, Form};
use super::{Context, output};
use crate::engine::view::words;
use crate::image::digest;

/// Show how an image was made
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name, id or digest
    image: String,

    /// Do not shorten ids and commands
    #[arg(long)]
    no_trunc: bool,

    /// Print ids alone
    #[arg(short, long)]
    quiet: bool,

    /// Sizes and times for people; false prints bytes and RFC 3339
    #[arg(short = 'H', long, default_value_t = true, action = clap::ArgAction::Set,
          num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    human: bool,

    /// table, json, or a template as '{{.CreatedBy}}'
    #[arg(long, default_value = "table")]
    format: Form,
}

/// Longest command that is shown of a step, in characters.
const WIDTH: usize = 45;

/// Prints the steps, the last one first.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let store = context.store()?;
    let _lock = store.lock_shared()?;
    let image = store.find(&args.image)?;
    let image = image.with_context(|| format!("no such image: {}", args.image))?;
    let now = Timestamp::now();
    let mut layers = image.layers.iter();
    let mut rows = Vec::new();
    let steps = image.config.history().iter().flatten();
    for step in steps {
        let size = match step.empty_layer() {
            Some(true) => 0,
            // A history may be shorter or longer than the layers.
            _ => layers.next().map_or(0, |layer| store.layer_size(layer)),
        };
        rows.push(Row {
            created: step.created().clone(),
            by: step.created_by().clone().unwrap_or_default(),
            comment: step.comment().clone().unwrap_or_default(),
            size,
        });
    }
    rows.extend(layers.map(|layer| Row {
        size: store.layer_size(layer),
        ..Row::default()
    }));
    let id = match args.no_trunc {
        true => image.id.to_string(),
        false => digest::short(&image.id).to_owned(),
    };
    let rows: Vec<Value> = rows
        .iter()
        .rev()
        .enumerate()
        // The steps below have no image of their own.
        .map(|(n, row)| row.shown(if n == 0 { &id } else { "<missing>" }, args, now))
        .collect();
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    if args.quiet {
        return rows
            .iter()
            .try_for_each(|row| Ok(output::line(text(row, "ID"))?));
    }
    match &args.format {
        Form::Table => {
            let mut table =
                output::Table::new(&["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"]);
            for row in &rows {
                let keys = ["ID", "CreatedSince", "CreatedBy", "Size", "Comment"];
                table.row(keys.map(|key| text(row, key)).to_vec());
            }
            Ok(table.print()?)
        }
        Form::Json => Ok(output::line(serde_json::to_string_pretty(&rows)?)?),
        Form::Template(template) => format::by_template(template, &rows, format::head),
    }
}

#[derive(Default)]
struct Row {
    created: Option<String>,
    by: String,
    comment: String,
    size: u64,
}

impl Row {
    fn shown(&self, id: &str, args: &Args, now: Timestamp) -> Value {
        let by = self.by.replace(['\t', '\n'], " ");
        let by = match args.no_trunc {
            true => by,
            false => words::ellipsis(&by, WIDTH),
        };
        json!({
            "ID": id,
            "CreatedAt": self.created,
            "CreatedSince": match args.human {
                true => words::age(self.created.as_deref(), now),
                false => self.created.clone().unwrap_or_default(),
            },
            "CreatedBy": by,
            "Size": match args.human {
                true => words::size(self.size),
                false => self.size.to_string(),
            },
            "Bytes": self.size,
            "Comment": self.comment,
        })
    }
}
