//! What a template makes of a value.

use super::Fault;
use super::functions::{self, Function};
use super::parser::{Branch, Command, Kind, Node, Pipe, Tree, Word};
use super::value::{Item, Text};
use serde_json::Value;
use std::ops::Range;

/// What a template may do in all: a step is a node, a word, or some bytes that
/// were made.
const MAX_STEPS: usize = 2_000_000;

/// How many bytes count as a step.
const BYTES_OF_A_STEP: usize = 64;

/// How much it may print.
const MAX_OUTPUT: usize = 64 << 20;

/// How deep templates may call each other.
const MAX_CALLS: usize = 100;

/// Names the columns of a table by the fields that they show.
pub type Heads<'a> = dyn Fn(&str) -> String + 'a;

/// What a template makes of a value.
///
/// # Errors
/// The value has not what it asks for, or it takes too long.
pub fn render(tree: &Tree, value: &Value) -> Result<String, Fault> {
    run(tree, Item::root(value), None)
}

/// The heads of a table's columns, with tabs between.
///
/// # Errors
/// As [`render`].
pub fn heads(tree: &Tree, heads: &Heads) -> Result<String, Fault> {
    run(tree, Item::Missing, Some(heads))
}

fn run<'a>(tree: &'a Tree, dot: Item<'a>, heads: Option<&'a Heads<'a>>) -> Result<String, Fault> {
    let mut machine = Machine {
        tree,
        variables: vec![("$", dot.clone())],
        out: String::new(),
        steps: MAX_STEPS,
        calls: 0,
        heads,
    };
    machine.nodes(&tree.nodes, &dot)?;
    Ok(machine.out)
}

struct Machine<'a> {
    tree: &'a Tree,
    variables: Vec<(&'a str, Item<'a>)>,
    out: String,
    steps: usize,
    calls: usize,
    heads: Option<&'a Heads<'a>>,
}

/// How it goes on after a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

type Done<T> = Result<T, Fault>;

impl<'a> Machine<'a> {
    fn charge(&mut self, bytes: usize, place: &Range<usize>) -> Done<()> {
        let cost = 1 + bytes / BYTES_OF_A_STEP;
        match self.steps.checked_sub(cost) {
            Some(left) if self.out.len() <= MAX_OUTPUT => {
                self.steps = left;
                Ok(())
            }
            _ => Err(Fault::new(
                place.clone(),
                "the template does not come to an end",
            )),
        }
    }

    fn nodes(&mut self, nodes: &'a [Node], dot: &Item<'a>) -> Done<Flow> {
        for node in nodes {
            let flow = self.node(node, dot)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, node: &'a Node, dot: &Item<'a>) -> Done<Flow> {
        match node {
            Node::Text(text) => {
                self.charge(text.len(), &(0..0))?;
                self.out.push_str(text);
            }
            Node::Show(pipe) => {
                let value = self.pipe(pipe, dot)?;
                if pipe.variables.is_empty() {
                    let before = self.out.len();
                    value.show(&mut self.out);
                    self.charge(self.out.len() - before, &place(pipe))?;
                }
            }
            Node::If(branch) | Node::With(branch) => {
                let known = self.variables.len();
                let value = self.pipe(&branch.pipe, dot)?;
                let inner = matches!(node, Node::With(_)).then(|| value.clone());
                let flow = match value.truth() {
                    true => self.nodes(&branch.then, inner.as_ref().unwrap_or(dot)),
                    false => self.nodes(&branch.otherwise, dot),
                };
                self.variables.truncate(known);
                return flow;
            }
            Node::Range(branch) => {
                let known = self.variables.len();
                let flow = self.range(branch, dot);
                self.variables.truncate(known);
                return flow;
            }
            Node::Template { name, pipe, place } => {
                self.template(name, pipe.as_ref(), place, dot)?
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn range(&mut self, branch: &'a Branch, dot: &Item<'a>) -> Done<Flow> {
        let pipe = &branch.pipe;
        let value = self.pipe(pipe, dot)?;
        if self.heads.is_some() {
            return Ok(Flow::Next);
        }
        let known = self.variables.len();
        let count = match value {
            Item::Int(count) => Some(count),
            _ => None,
        };
        let elements = match count {
            Some(_) => Vec::new(),
            None => {
                let elements = value.elements();
                elements.map_err(|says| Fault::new(place(pipe), format!("range: {says}")))?
            }
        };
        let mut elements = elements.into_iter();
        let mut turn = 0;
        let mut any = false;
        loop {
            let next = match count {
                Some(count) => (turn < count).then_some((Item::Int(turn), Item::Int(turn))),
                None => elements.next(),
            };
            let Some((key, element)) = next else {
                break;
            };
            turn += 1;
            any = true;
            self.charge(0, &place(pipe))?;
            match pipe.variables.as_slice() {
                [one] => self.set(one, element.clone()),
                [first, second] => {
                    self.set(first, key);
                    self.set(second, element.clone());
                }
                _ => {}
            }
            let flow = self.nodes(&branch.then, &element)?;
            self.variables.truncate(known);
            if flow == Flow::Break {
                break;
            }
        }
        match any {
            true => Ok(Flow::Next),
            false => self.nodes(&branch.otherwise, dot),
        }
    }

    fn template(
        &mut self,
        name: &str,
        pipe: Option<&'a Pipe>,
        place: &Range<usize>,
        dot: &Item<'a>,
    ) -> Done<()> {
        let Some(nodes) = self.tree.defined.get(name) else {
            let says = format!("there is no template \"{name}\"");
            return Err(Fault::new(place.clone(), says));
        };
        if self.calls >= MAX_CALLS {
            let says = format!("templates call each other more than {MAX_CALLS} deep");
            return Err(Fault::new(place.clone(), says));
        }
        self.charge(0, place)?;
        let known = self.variables.len();
        let dot = match pipe {
            Some(pipe) => self.pipe(pipe, dot)?,
            None => Item::Missing,
        };
        self.variables.truncate(known);
        let variables = std::mem::replace(&mut self.variables, vec![("$", dot.clone())]);
        self.calls += 1;
        self.nodes(nodes, &dot)?;
        self.calls -= 1;
        self.variables = variables;
        Ok(())
    }

    fn set(&mut self, name: &str, value: Item<'a>) {
        let mut known = self.variables.iter_mut().rev();
        if let Some((_, variable)) = known.find(|(known, _)| *known == name) {
            *variable = value;
        }
    }

    fn pipe(&mut self, pipe: &'a Pipe, dot: &Item<'a>) -> Done<Item<'a>> {
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(command, dot, value)?);
        }
        let value = value.unwrap_or(Item::Missing);
        for name in &pipe.variables {
            match pipe.declares {
                true => self.variables.push((name, value.clone())),
                false => self.set(name, value.clone()),
            }
        }
        Ok(value)
    }

    fn command(
        &mut self,
        command: &'a Command,
        dot: &Item<'a>,
        last: Option<Item<'a>>,
    ) -> Done<Item<'a>> {
        let Some((first, arguments)) = command.split_first() else {
            return Ok(Item::Missing);
        };
        if let Kind::Function(function) = first.kind {
            return self.function(function, first, arguments, dot, last);
        }
        if arguments.is_empty() && last.is_none() {
            if let Kind::Nil = first.kind {
                return Err(Fault::new(first.place.clone(), "nil is nothing to show"));
            }
            return self.word(first, dot);
        }
        // Docker's one method with an argument: a label by its name.
        if let (Kind::Fields(names), [name]) = (&first.kind, arguments)
            && let Some((method, path)) = names.split_last()
            && method == "Label"
        {
            let name = self.word(name, dot)?;
            let row = self.fields(dot.clone(), path, first)?;
            let Item::Text(name) = name else {
                return Err(Fault::new(
                    first.place.clone(),
                    "Label takes a name in quotes",
                ));
            };
            return Ok(match self.heads {
                Some(_) => label_head(&name).into(),
                None => label(&row, &name),
            });
        }
        let says = "only functions take arguments, and this is none";
        Err(Fault::new(first.place.clone(), says))
    }

    fn function(
        &mut self,
        function: Function,
        word: &'a Word,
        arguments: &'a [Word],
        dot: &Item<'a>,
        last: Option<Item<'a>>,
    ) -> Done<Item<'a>> {
        let mut values = Vec::new();
        let decides = |value: &Item| match function {
            Function::And => !value.truth(),
            Function::Or => value.truth(),
            _ => false,
        };
        for argument in arguments {
            let value = self.word(argument, dot)?;
            if decides(&value) {
                return Ok(value);
            }
            values.push(value);
        }
        values.extend(last);
        if self.heads.is_some()
            && let Some(head) = head(function, &values)
        {
            return Ok(head);
        }
        let bytes: usize = values.iter().map(weight).sum();
        self.charge(bytes, &word.place)?;
        let value = functions::call(function, &values).map_err(|says| {
            // A word that a function does not take is where it stands.
            let end = arguments
                .last()
                .map_or(word.place.end, |last| last.place.end);
            Fault::new(
                word.place.start..end,
                format!("{}: {says}", function.name()),
            )
        })?;
        self.charge(weight(&value), &word.place)?;
        Ok(value)
    }

    fn word(&mut self, word: &'a Word, dot: &Item<'a>) -> Done<Item<'a>> {
        self.charge(0, &word.place)?;
        match &word.kind {
            Kind::Dot => Ok(dot.clone()),
            Kind::Nil => Ok(Item::Nil),
            Kind::Bool(value) => Ok(Item::Bool(*value)),
            Kind::Int(number) => Ok(Item::Int((*number).into())),
            Kind::Float(number) => Ok(Item::Float(*number)),
            Kind::Text(text) => Ok(text.as_str().into()),
            Kind::Fields(names) => self.fields(dot.clone(), names, word),
            Kind::Variable(name, names) => {
                let mut known = self.variables.iter().rev();
                let found = known.find(|(known, _)| known == name);
                let value = found.map_or(Item::Missing, |(_, value)| value.clone());
                self.fields(value, names, word)
            }
            Kind::Function(function) => self.function(*function, word, &[], dot, None),
            Kind::Group(pipe, names) => {
                let known = self.variables.len();
                let value = self.pipe(pipe, dot)?;
                self.variables.truncate(known);
                self.fields(value, names, word)
            }
        }
    }

    fn fields(&mut self, value: Item<'a>, names: &'a [String], word: &Word) -> Done<Item<'a>> {
        if let (Some(heads), Some(last), Item::Missing) = (self.heads, names.last(), &value) {
            return Ok(heads(last).into());
        }
        let mut here = value;
        for name in names {
            here = match (&here, self.heads) {
                // The text of a head stands for whatever is in its column.
                (Item::Text(_), Some(_)) => here,
                _ => here
                    .field(name)
                    .map_err(|says| Fault::new(word.place.clone(), says))?,
            };
        }
        Ok(here)
    }
}

fn place(pipe: &Pipe) -> Range<usize> {
    let mut words = pipe.commands.iter().flatten();
    let first = words.next().map_or(0..0, |word| word.place.clone());
    let end = words.last().map_or(first.end, |word| word.place.end);
    first.start..end
}

/// How many bytes a value has at least that is printed or made.
fn weight(item: &Item) -> usize {
    match item {
        Item::Text(text) => text.len(),
        Item::Words(words) => words.iter().map(|word| 8 + word.len()).sum(),
        Item::List(list, _) => list.len() * 8,
        Item::Object(map, _) => map.len() * 8,
        _ => 8,
    }
}

/// What a function makes of a column's head: it says of what it is.
fn head<'a>(function: Function, values: &[Item<'a>]) -> Option<Item<'a>> {
    use Function::{Index, Join, Json, Len, Lower, Pad, Slice, Split, Title, Truncate, Upper};
    let alike = [
        Index, Join, Json, Len, Lower, Pad, Slice, Split, Title, Truncate, Upper,
    ];
    let mut texts = values
        .iter()
        .filter(|value| matches!(value, Item::Text(Text::Made(_))));
    let first = texts.next().or(values.first());
    alike.contains(&function).then(|| first.cloned())?
}

/// A label by its name, of a row whose labels are `a=b,c=d`.
fn label<'a>(row: &Item<'a>, name: &str) -> Item<'a> {
    match row.field("Labels") {
        Ok(Item::Text(labels)) => {
            let mut pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
            let found = pairs.find(|(key, _)| *key == name);
            found.map_or("", |(_, value)| value).to_owned().into()
        }
        Ok(labels) => labels
            .index(&name.to_owned().into())
            .unwrap_or(Item::Missing),
        Err(_) => "".into(),
    }
}

/// A label's name as a column's head: its last word.
fn label_head(name: &str) -> String {
    let last = name.rsplit('.').next().unwrap_or(name);
    last.replace(['-', '_'], " ")
}
