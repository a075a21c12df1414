//! `bryo history`

use anyhow::Result;
use jiff::Timestamp;

use super::format::{self, Form};
use super::{Context, output};
use crate::engine::view::history::{self, Listing};

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

/// Prints the steps, the last one first.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let store = context.store()?;
    let listing = Listing {
        now: Timestamp::now(),
        whole: args.no_trunc,
        human: args.human,
    };
    let rows = history::find(&args.image, &store, &listing)?;
    if args.quiet {
        return rows.iter().try_for_each(|row| Ok(output::line(&row.id)?));
    }
    match &args.format {
        Form::Table => {
            let mut table =
                output::Table::new(&["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"]);
            for row in rows {
                table.row(vec![
                    row.id,
                    row.created_since,
                    row.created_by,
                    row.size,
                    row.comment,
                ]);
            }
            Ok(table.print()?)
        }
        other => format::list(other, rows, |field| match field {
            "ID" => "IMAGE".to_owned(),
            "CreatedSince" => "CREATED".to_owned(),
            other => format::head(other),
        }),
    }
}
