//! `--format` in the manner of Go's text/template, as far as users of docker
//! write it: fields, `json`, `range`, `if`, `index`, `join` and the like, over
//! JSON values. Pure.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

/// A template, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    parts: Vec<Part>,
    /// It began with `table`.
    pub table: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Show(Pipe),
    Range(Pipe, Vec<Part>),
    If(Pipe, Vec<Part>, Vec<Part>),
}

/// Commands, each of which gets the result of the one before it as its last
/// argument.
type Pipe = Vec<Vec<Word>>;

#[derive(Debug, Clone, PartialEq)]
enum Word {
    /// `.A.B`; `.` alone is empty.
    Path(Vec<String>),
    Literal(Value),
    Name(String),
    Group(Pipe),
}

/// How deep templates and their groups may nest.
const MAX_DEPTH: usize = 32;

impl Template {
    /// Reads a template. `\t` and `\n` stand for what they do in C.
    ///
    /// # Errors
    /// What is between braces cannot be understood.
    pub fn parse(text: &str) -> Result<Template> {
        let unescaped = text.replace("\\t", "\t").replace("\\n", "\n");
        let (table, body) = match unescaped.strip_prefix("table") {
            Some(rest) if rest.is_empty() || rest.starts_with(char::is_whitespace) => {
                (true, rest.trim_start())
            }
            _ => (false, unescaped.as_str()),
        };
        let parse = || -> Result<Vec<Part>> {
            let mut rest = body;
            let (parts, end) = parts(&mut rest, 0)?;
            if let Some(end) = end {
                bail!("{{{{{end}}}}} without a beginning");
            }
            Ok(parts)
        };
        let parts = parse().with_context(|| format!("template '{text}'"))?;
        Ok(Template { parts, table })
    }

    /// What it makes of a value.
    ///
    /// # Errors
    /// The value has not the fields that it names.
    pub fn render(&self, value: &Value) -> Result<String> {
        let mut out = String::new();
        render(&self.parts, value, &mut out)?;
        Ok(out)
    }

    /// The first field of each of its columns: the heads of a table.
    pub fn fields(&self) -> Vec<Option<String>> {
        let mut heads = vec![None];
        for part in &self.parts {
            match part {
                Part::Text(text) => {
                    let tabs = text.matches('\t').count();
                    heads.extend(std::iter::repeat_n(None, tabs));
                }
                Part::Show(pipe) => {
                    let path = pipe.iter().flatten().find_map(|word| match word {
                        Word::Path(path) => path.last().cloned(),
                        _ => None,
                    });
                    if let Some(last) = heads.last_mut().filter(|last| last.is_none()) {
                        *last = path;
                    }
                }
                Part::Range(..) | Part::If(..) => {}
            }
        }
        heads
    }
}

/// Reads parts up to `end` or `else`, which is returned, or to the end.
fn parts<'a>(rest: &mut &'a str, depth: usize) -> Result<(Vec<Part>, Option<&'a str>)> {
    if depth > MAX_DEPTH {
        bail!("nested too deeply");
    }
    let mut found = Vec::new();
    loop {
        let Some((text, after)) = rest.split_once("{{") else {
            if !rest.is_empty() {
                found.push(Part::Text((*rest).to_owned()));
            }
            *rest = "";
            return Ok((found, None));
        };
        let end = closing(after).context("'{{' without '}}'")?;
        let (mut action, mut after) = (&after[..end], &after[end + 2..]);
        let mut text = text;
        if let Some(trimmed) = action.strip_prefix("- ") {
            (action, text) = (trimmed, text.trim_end());
        }
        if let Some(trimmed) = action.strip_suffix(" -") {
            (action, after) = (trimmed, after.trim_start());
        }
        if !text.is_empty() {
            found.push(Part::Text(text.to_owned()));
        }
        *rest = after;
        let action = action.trim();
        let (word, argument) = action.split_once(' ').unwrap_or((action, ""));
        match word {
            "end" | "else" => return Ok((found, Some(word))),
            "range" | "if" => {
                let pipe = pipe(argument)?;
                let (body, mut end) = parts(rest, depth + 1)?;
                let mut otherwise = Vec::new();
                if end == Some("else") {
                    (otherwise, end) = parts(rest, depth + 1)?;
                }
                if end != Some("end") {
                    bail!("{{{{{word}}}}} without {{{{end}}}}");
                }
                found.push(match word {
                    "if" => Part::If(pipe, body, otherwise),
                    _ => Part::Range(pipe, body),
                });
            }
            _ if action.starts_with("/*") => {}
            _ => found.push(Part::Show(pipe(action)?)),
        }
    }
}

/// Where the braces close that were opened, past quoted text.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some('"'), '\\') => escaped = true,
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '"' | '`') => quote = Some(c),
            (None, '}') if text[at..].starts_with("}}") => return Some(at),
            _ => {}
        }
    }
    None
}

fn pipe(text: &str) -> Result<Pipe> {
    let mut chars = text;
    let pipe = read_pipe(&mut chars, 0)?;
    if !chars.is_empty() {
        bail!("'{text}': ')' without '('");
    }
    Ok(pipe)
}

fn read_pipe(rest: &mut &str, depth: usize) -> Result<Pipe> {
    if depth > MAX_DEPTH {
        bail!("nested too deeply");
    }
    let mut pipe: Pipe = vec![Vec::new()];
    loop {
        *rest = rest.trim_start();
        let Some(first) = rest.chars().next() else {
            break;
        };
        let word = match first {
            ')' => break,
            '|' => {
                *rest = &rest[1..];
                pipe.push(Vec::new());
                continue;
            }
            '(' => {
                *rest = &rest[1..];
                let group = read_pipe(rest, depth + 1)?;
                *rest = rest.strip_prefix(')').context("'(' without ')'")?;
                Word::Group(group)
            }
            '"' => {
                let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
                let value = stream.next().context("a quote is not closed")?;
                let end = stream.byte_offset();
                let value = value.context("quoted text")?;
                *rest = &rest[end..];
                Word::Literal(value)
            }
            '`' => {
                let (text, after) = rest[1..].split_once('`').context("'`' without '`'")?;
                *rest = after;
                Word::Literal(text.into())
            }
            _ => {
                let end = rest.find(|c: char| c.is_whitespace() || "|()".contains(c));
                let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
                *rest = after;
                read_word(word)?
            }
        };
        if let Some(command) = pipe.last_mut() {
            command.push(word);
        }
    }
    if pipe.iter().any(Vec::is_empty) {
        bail!("nothing to show between braces or bars");
    }
    Ok(pipe)
}

fn read_word(word: &str) -> Result<Word> {
    let word = word.strip_prefix('$').unwrap_or(word);
    if let Some(path) = word.strip_prefix('.') {
        let names = path.split('.').map(str::to_owned);
        let names: Vec<String> = match path {
            "" => Vec::new(),
            _ => names.collect(),
        };
        let valid = |name: &String| {
            !name.is_empty()
                && name
                    .chars()
                    .all(|c| c.is_alphanumeric() || "_-".contains(c))
        };
        if !names.iter().all(valid) {
            bail!("'{word}' is no field");
        }
        return Ok(Word::Path(names));
    }
    if let Ok(number) = word.parse::<i64>() {
        return Ok(Word::Literal(number.into()));
    }
    match word {
        "true" | "false" => Ok(Word::Literal((word == "true").into())),
        _ if word.chars().all(char::is_alphanumeric) && !word.is_empty() => {
            Ok(Word::Name(word.to_owned()))
        }
        _ => bail!("'{word}' is not understood"),
    }
}

fn render(parts: &[Part], dot: &Value, out: &mut String) -> Result<()> {
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Show(pipe) => out.push_str(&show(&run(pipe, dot)?)),
            Part::If(pipe, then, otherwise) => match truth(&run(pipe, dot)?) {
                true => render(then, dot, out)?,
                false => render(otherwise, dot, out)?,
            },
            Part::Range(pipe, body) => match run(pipe, dot)? {
                Value::Array(list) => {
                    list.iter().try_for_each(|item| render(body, item, out))?;
                }
                Value::Object(map) => {
                    map.values().try_for_each(|item| render(body, item, out))?;
                }
                Value::Null => {}
                other => bail!("range: {other} is no list"),
            },
        }
    }
    Ok(())
}

fn run(pipe: &Pipe, dot: &Value) -> Result<Value> {
    let mut last: Option<Value> = None;
    for command in pipe {
        let mut words = command.iter();
        let value = match words.next() {
            Some(Word::Name(name)) => {
                let arguments = words.map(|word| value(word, dot));
                let mut arguments = arguments.collect::<Result<Vec<_>>>()?;
                arguments.extend(last.take());
                call(name, &arguments)?
            }
            // A method with an argument: docker's labels.
            Some(Word::Path(path)) if command.len() == 2 && path.ends_with(&["Label".into()]) => {
                let name = show(&value(&command[1], dot)?);
                label(dot, &name)
            }
            Some(word) if command.len() == 1 && last.is_none() => value(word, dot)?,
            _ => bail!("arguments are for functions"),
        };
        last = Some(value);
    }
    last.context("nothing to show")
}

/// A label by its name, of a row whose labels are `a=b,c=d`.
fn label(row: &Value, name: &str) -> Value {
    let labels = row["Labels"].as_str().unwrap_or_default();
    let mut pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
    let found = pairs.find(|(key, _)| *key == name);
    found.map_or("", |(_, value)| value).into()
}

/// A field by its name; where JSON has it in other letters than Go, as `id` for
/// `ID`, by those.
fn field<'a>(map: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    map.get(name).or_else(|| {
        let mut all = map.iter();
        let found = all.find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value)
    })
}

/// Whether an object of that name is a map in docker's Go, whose keys are
/// somebody's choice: one that is missing has no value, and is no error.
fn is_map(name: &str) -> bool {
    [
        "Annotations",
        "Attributes",
        "Devices",
        "DriverOpts",
        "ExposedPorts",
        "Labels",
        "Networks",
        "Options",
        "PortBindings",
        "Ports",
        "Sysctls",
        "Tmpfs",
        "Volumes",
    ]
    .contains(&name)
}

fn value(word: &Word, dot: &Value) -> Result<Value> {
    match word {
        Word::Literal(value) => Ok(value.clone()),
        Word::Group(pipe) => run(pipe, dot),
        Word::Name(name) => call(name, &[]),
        Word::Path(path) => {
            let mut here = dot;
            let mut of: &str = "";
            for name in path {
                here = match here {
                    Value::Object(map) if is_map(of) => map.get(name).unwrap_or(&Value::Null),
                    Value::Object(map) => field(map, name).with_context(|| {
                        let known: Vec<&str> = map.keys().map(String::as_str).collect();
                        format!("there is no field {name}, only {}", known.join(", "))
                    })?,
                    // What is not there has nothing in it.
                    Value::Null => &Value::Null,
                    _ => bail!("there is no field {name}: this is {here}"),
                };
                of = name;
            }
            Ok(here.clone())
        }
    }
}

fn call(name: &str, arguments: &[Value]) -> Result<Value> {
    let text = |n: usize| arguments.get(n).map(show).context("an argument is missing");
    let run = || -> Result<Value> {
        Ok(match (name, arguments) {
            ("json", [value]) => serde_json::to_string(value)?.into(),
            ("len", [Value::Array(list)]) => list.len().into(),
            ("len", [Value::Object(map)]) => map.len().into(),
            ("len", [value]) => show(value).len().into(),
            ("lower", [value]) => show(value).to_lowercase().into(),
            ("upper", [value]) => show(value).to_uppercase().into(),
            ("title", [value]) => {
                let text = show(value);
                let mut chars = text.chars();
                let first = chars.next().map(|c| c.to_uppercase().to_string());
                format!("{}{}", first.unwrap_or_default(), chars.as_str()).into()
            }
            ("join", [Value::Array(list), separator]) => {
                let words: Vec<String> = list.iter().map(show).collect();
                words.join(&show(separator)).into()
            }
            ("split", [value, separator]) => {
                let (value, separator) = (show(value), show(separator));
                value.split(separator.as_str()).map(Value::from).collect()
            }
            ("truncate", [value, Value::Number(count)]) => {
                let count = count.as_u64().unwrap_or(0) as usize;
                show(value).chars().take(count).collect::<String>().into()
            }
            ("index", [first, keys @ ..]) => keys.iter().fold(first.clone(), |here, key| {
                let found = match key {
                    Value::Number(n) => n.as_u64().and_then(|n| here.get(n as usize)),
                    other => here.get(show(other)),
                };
                found.cloned().unwrap_or_else(|| "".into())
            }),
            ("println", all) => {
                let words: Vec<String> = all.iter().map(show).collect();
                format!("{}\n", words.join(" ")).into()
            }
            ("print", all) => all.iter().map(show).collect::<String>().into(),
            ("not", [value]) => (!truth(value)).into(),
            ("eq", [first, others @ ..]) => others.contains(first).into(),
            ("ne", [first, second]) => (first != second).into(),
            ("and", all) => pick(all, false)?,
            ("or", all) => pick(all, true)?,
            (
                "json" | "len" | "lower" | "upper" | "title" | "join" | "split" | "truncate"
                | "index" | "not" | "eq" | "ne",
                _,
            ) => {
                bail!(
                    "{}",
                    text(0).map_or_else(
                        |_| "arguments are missing".into(),
                        |first| { format!("'{first}' and what follows are not what it takes") }
                    )
                )
            }
            _ => bail!("there is no such function"),
        })
    };
    run().with_context(|| format!("function {name}"))
}

/// The first value that is or is not true, else the last one.
fn pick(all: &[Value], wanted: bool) -> Result<Value> {
    let found = all.iter().find(|value| truth(value) == wanted);
    found
        .or(all.last())
        .cloned()
        .context("an argument is missing")
}

fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// A value as Go prints it.
fn show(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".into(),
        Value::String(text) => text.clone(),
        Value::Array(list) => {
            let words: Vec<String> = list.iter().map(show).collect();
            format!("[{}]", words.join(" "))
        }
        Value::Object(map) => {
            let pairs: Vec<String> = map
                .iter()
                .map(|(k, v)| format!("{k}:{}", show(v)))
                .collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn made(template: &str) -> Result<String> {
        let value = json!({
            "ID": "abc", "Names": "web", "N": 3, "Labels": "a=b,c=d", "Empty": null,
            "State": {"Running": true, "Health": null},
            "Config": {"Env": ["A=1", "B=2"], "Labels": {"x.y": "z"}},
            "Mounts": [{"Source": "/s", "Destination": "/d"}],
        });
        Template::parse(template)?.render(&value)
    }

    #[test]
    fn what_users_write() {
        for (template, text) in [
            ("{{.ID}} {{.Names}}", "abc web"),
            ("{{ .ID }}\\t{{.N}}\\n", "abc\t3\n"),
            ("{{json .State}}", r#"{"Health":null,"Running":true}"#),
            ("{{.State | json}}", r#"{"Health":null,"Running":true}"#),
            ("{{.State.Running}}", "true"),
            ("{{.State.Health.Status}}", "<no value>"),
            ("{{.Config.Env}}", "[A=1 B=2]"),
            ("{{range .Config.Env}}{{println .}}{{end}}", "A=1\nB=2\n"),
            (
                "{{range .Mounts}}{{.Source}}:{{.Destination}}{{end}}",
                "/s:/d",
            ),
            ("{{index .Config.Labels \"x.y\"}}", "z"),
            (
                "{{.Config.Labels.x}} {{.Config.Labels.x.y}}",
                "<no value> <no value>",
            ),
            ("{{index .Config.Env 1}}", "B=2"),
            ("{{join .Config.Env \",\"}}", "A=1,B=2"),
            ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
            ("{{if and .N (eq .ID \"x\")}}a{{else}}b{{end}}", "b"),
            ("{{.Label \"c\"}}", "d"),
            ("a {{- /* note */ -}} b", "ab"),
            ("{{upper .ID}} {{len .Config.Env}}", "ABC 2"),
            ("{{truncate .ID 2}}", "ab"),
            ("{{`}}`}}", "}}"),
        ] {
            assert_eq!(made(template).unwrap(), text, "{template}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (template, word) in [
            ("{{.Nme}}", "Nme"),
            ("{{.ID", "}}"),
            ("{{nothing .ID}}", "nothing"),
            ("{{range .Mounts}}", "end"),
            ("{{end}}", "end"),
            ("{{}}", "nothing"),
            ("{{.ID.X}}", "X"),
            ("{{index}}", "index"),
        ] {
            let error = format!("{:#}", made(template).unwrap_err());
            assert!(error.contains(word), "{template}: {error}");
        }
    }

    #[test]
    fn tables_have_heads() {
        let template = Template::parse("table {{.ID}}\\t{{upper .Names}} x\\ty").unwrap();
        assert!(template.table);
        let heads = template.fields();
        assert_eq!(heads, [Some("ID".into()), Some("Names".into()), None]);
        assert!(!Template::parse("tables").unwrap().table);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_is_a_template_or_an_error(
            text in "([{}]{0,2}|[.a-zA-Z\"`()| -]{0,6}|range|if|end|else|json|index|.ID|1){0,12}",
        ) {
            let _ = made(&text);
        }
    }
}
