//! From words to what they say: the grammar of Go's text/template.

use super::Fault;
use super::functions::{self, Function};
use super::lexer::{self, Placed, Token};
use std::collections::BTreeMap;
use std::ops::Range;

/// How deep what is in braces and what stands between braces may nest.
const MAX_DEPTH: usize = 50;

/// A part of a template.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    Text(String),
    Show(Pipe),
    If(Branch),
    With(Branch),
    Range(Branch),
    Template {
        name: String,
        pipe: Option<Pipe>,
        place: Range<usize>,
    },
    Break,
    Continue,
}

/// What is done depending on a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Branch {
    pub pipe: Pipe,
    pub then: Vec<Node>,
    pub otherwise: Vec<Node>,
}

/// Commands, each of which gets the result of the one before it as its last
/// argument.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipe {
    /// The variables that get its value.
    pub variables: Vec<String>,
    /// They are new ones.
    pub declares: bool,
    pub commands: Vec<Command>,
}

/// A function or a field, and arguments.
pub type Command = Vec<Word>;

#[derive(Debug, Clone, PartialEq)]
pub struct Word {
    pub place: Range<usize>,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Dot,
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// Of what the dot is.
    Fields(Vec<String>),
    Variable(String, Vec<String>),
    Function(Function),
    /// In parentheses, and fields of it.
    Group(Pipe, Vec<String>),
}

/// A template, and those that it defines by name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tree {
    pub nodes: Vec<Node>,
    pub defined: BTreeMap<String, Vec<Node>>,
}

/// Reads a template.
///
/// # Errors
/// Go would not understand it either.
pub fn parse(source: &str) -> Result<Tree, Fault> {
    let mut parser = Parser {
        words: lexer::lex(source)?,
        at: 0,
        end: source.len(),
        depth: 0,
        loops: 0,
        variables: vec!["$".to_owned()],
        defined: BTreeMap::new(),
    };
    let (nodes, _) = parser.nodes(None)?;
    let defined = parser.defined;
    Ok(Tree { nodes, defined })
}

/// What ends a list of nodes.
#[derive(Debug, PartialEq)]
enum Until {
    End,
    Else,
    /// Of the template.
    All,
}

struct Parser {
    words: Vec<Placed>,
    at: usize,
    end: usize,
    depth: usize,
    loops: usize,
    variables: Vec<String>,
    defined: BTreeMap<String, Vec<Node>>,
}

type Parsed<T> = Result<T, Fault>;

impl Parser {
    fn token(&self) -> Option<&Token> {
        self.words.get(self.at).map(|(token, _)| token)
    }

    fn place(&self) -> Range<usize> {
        let found = self.words.get(self.at).map(|(_, place)| place.clone());
        found.unwrap_or(self.end..self.end)
    }

    fn fault<T>(&self, says: impl Into<String>) -> Parsed<T> {
        Err(Fault::new(self.place(), says))
    }

    fn blanks(&mut self) {
        while self.token() == Some(&Token::Space) {
            self.at += 1;
        }
    }

    fn takes(&mut self, token: &Token) -> bool {
        let found = self.token() == Some(token);
        self.at += usize::from(found);
        found
    }

    /// The keyword that is next, which is passed.
    fn keyword(&mut self) -> Option<String> {
        self.blanks();
        const KEYWORDS: [&str; 10] = [
            "block", "break", "continue", "define", "else", "end", "if", "range", "template",
            "with",
        ];
        match self.token() {
            Some(Token::Word(word)) if KEYWORDS.contains(&word.as_str()) => {
                let word = word.clone();
                self.at += 1;
                Some(word)
            }
            _ => None,
        }
    }

    fn close(&mut self, what: &str) -> Parsed<()> {
        self.blanks();
        match self.takes(&Token::Close) {
            true => Ok(()),
            false => self.fault(format!("{what} takes no more than that")),
        }
    }

    /// Parts up to what ends them; `within` is the keyword that they belong to.
    fn nodes(&mut self, within: Option<&str>) -> Parsed<(Vec<Node>, Until)> {
        let mut nodes = Vec::new();
        loop {
            match self.token() {
                None => match within {
                    None => return Ok((nodes, Until::All)),
                    Some(word) => return self.fault(format!("{{{{{word}}}}} without {{{{end}}}}")),
                },
                Some(Token::Text(text)) => {
                    nodes.push(Node::Text(text.clone()));
                    self.at += 1;
                }
                Some(_) => {
                    let start = self.at;
                    self.at += 1;
                    let word = self.keyword();
                    match (word.as_deref(), within) {
                        (Some(word @ ("end" | "else")), None) => {
                            self.at = start;
                            return self.fault(format!("{{{{{word}}}}} without a beginning"));
                        }
                        (Some("end"), _) => {
                            self.close("end")?;
                            return Ok((nodes, Until::End));
                        }
                        (Some("else"), _) => return Ok((nodes, Until::Else)),
                        (Some("define"), Some(_)) => {
                            self.at = start;
                            return self.fault("{{define}} stands outside of all else");
                        }
                        (word, _) => nodes.extend(self.action(word)?),
                    }
                }
            }
        }
    }

    fn action(&mut self, keyword: Option<&str>) -> Parsed<Option<Node>> {
        let place = self.place();
        let known = self.variables.len();
        Ok(Some(match keyword {
            Some("if") => Node::If(self.branch("if")?),
            Some("with") => Node::With(self.branch("with")?),
            Some("range") => Node::Range(self.branch("range")?),
            Some(word @ ("break" | "continue")) => {
                if self.loops == 0 {
                    self.at -= 1;
                    return self.fault(format!("{{{{{word}}}}} outside of {{{{range}}}}"));
                }
                self.close(word)?;
                match word {
                    "break" => Node::Break,
                    _ => Node::Continue,
                }
            }
            Some("define") => {
                let name = self.name("define")?;
                self.close("define")?;
                self.define(name, "define")?;
                return Ok(None);
            }
            Some("block") => {
                let name = self.name("block")?;
                let pipe = Some(self.pipe("block", &Token::Close)?);
                self.variables.truncate(known);
                self.define(name.clone(), "block")?;
                Node::Template { name, pipe, place }
            }
            Some("template") => {
                let name = self.name("template")?;
                self.blanks();
                let pipe = match self.takes(&Token::Close) {
                    true => None,
                    false => Some(self.pipe("template", &Token::Close)?),
                };
                Node::Template { name, pipe, place }
            }
            _ => Node::Show(self.pipe("command", &Token::Close)?),
        }))
    }

    fn name(&mut self, of: &str) -> Parsed<String> {
        self.blanks();
        match self.token() {
            Some(Token::Quoted(name)) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            _ => self.fault(format!("{of} takes a name in quotes")),
        }
    }

    /// Reads what a name stands for.
    fn define(&mut self, name: String, word: &str) -> Parsed<()> {
        let variables = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let loops = std::mem::take(&mut self.loops);
        let (nodes, end) = self.deeper(|parser| parser.nodes(Some(word)))?;
        if end == Until::Else {
            return self.fault(format!("{{{{{word}}}}} has no {{{{else}}}}"));
        }
        (self.variables, self.loops) = (variables, loops);
        let empty = |nodes: &[Node]| {
            nodes
                .iter()
                .all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()))
        };
        match self.defined.get(&name) {
            Some(earlier) if !empty(earlier) => match empty(&nodes) {
                // As in Go: an empty one replaces none.
                true => {}
                false => return self.fault(format!("template \"{name}\" is defined twice")),
            },
            _ => drop(self.defined.insert(name, nodes)),
        }
        Ok(())
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= MAX_DEPTH {
            return self.fault(format!("nested more than {MAX_DEPTH} deep"));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn branch(&mut self, word: &str) -> Parsed<Branch> {
        self.deeper(|parser| parser.branch_within(word))
    }

    fn branch_within(&mut self, word: &str) -> Parsed<Branch> {
        let known = self.variables.len();
        let pipe = self.pipe(word, &Token::Close)?;
        let in_loop = usize::from(word == "range");
        self.loops += in_loop;
        let (then, end) = self.nodes(Some(word))?;
        self.loops -= in_loop;
        let mut otherwise = Vec::new();
        if end == Until::Else {
            match self.keyword().as_deref() {
                Some("if") if word == "if" => otherwise.push(Node::If(self.branch("if")?)),
                Some("with") if word == "with" => otherwise.push(Node::With(self.branch("with")?)),
                _ => {
                    self.close("else")?;
                    let (nodes, end) = self.nodes(Some(word))?;
                    if end == Until::Else {
                        self.at -= 1;
                        return self.fault("a second {{else}}");
                    }
                    otherwise = nodes;
                }
            }
        }
        self.variables.truncate(known);
        Ok(Branch {
            pipe,
            then,
            otherwise,
        })
    }

    /// A pipeline up to `end`, which is passed.
    fn pipe(&mut self, of: &str, end: &Token) -> Parsed<Pipe> {
        let (variables, declares) = self.variables_of(of)?;
        let mut commands = Vec::new();
        loop {
            self.blanks();
            let place = self.place();
            let mut command: Command = Vec::new();
            loop {
                let after_blank = self.words.get(self.at.wrapping_sub(1));
                let parted = command.is_empty()
                    || after_blank.is_some_and(|(token, _)| *token == Token::Space);
                match self.token() {
                    Some(token) if token == end => break,
                    Some(Token::Bar) => break,
                    Some(Token::Space) => self.at += 1,
                    None => return self.fault("'{{' without '}}'"),
                    Some(_) if !parted => return self.fault("a blank is missing before this"),
                    Some(_) => command.push(self.operand()?),
                }
            }
            // Go lets a '|' stand at the end.
            if command.is_empty() && !commands.is_empty() && self.takes(end) {
                break;
            }
            if command.is_empty() {
                let says = match commands.is_empty() {
                    true => format!("nothing stands where {of} takes a value"),
                    false => "nothing stands behind '|'".to_owned(),
                };
                return Err(Fault::new(place, says));
            }
            if !commands.is_empty() {
                let first = &command[0];
                let acts = matches!(
                    first.kind,
                    Kind::Fields(_) | Kind::Variable(..) | Kind::Function(_) | Kind::Group(..)
                );
                if !acts {
                    let says = "what stands behind '|' is a function or a field";
                    return Err(Fault::new(first.place.clone(), says));
                }
            }
            commands.push(command);
            match self.takes(end) {
                true => break,
                false => self.at += 1,
            }
        }
        if declares {
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipe {
            variables,
            declares,
            commands,
        })
    }

    /// The variables before `:=` or `=`, if there are any.
    fn variables_of(&mut self, of: &str) -> Parsed<(Vec<String>, bool)> {
        let start = self.at;
        let mut names = Vec::new();
        loop {
            self.blanks();
            let place = self.place();
            let Some(Token::Variable(name)) = self.token() else {
                break;
            };
            names.push((name.clone(), place));
            self.at += 1;
            self.blanks();
            let declares = match self.token() {
                Some(Token::Comma) if of == "range" && names.len() < 2 => {
                    self.at += 1;
                    continue;
                }
                Some(Token::Declare) => true,
                Some(Token::Assign) => false,
                _ => break,
            };
            self.at += 1;
            let unknown = names
                .iter()
                .find(|(name, _)| !self.variables.contains(name));
            if let Some((name, place)) = unknown.filter(|_| !declares) {
                return Err(undeclared(name, place.clone()));
            }
            return Ok((names.into_iter().map(|(name, _)| name).collect(), declares));
        }
        if names.len() > 1 {
            return self.fault("two variables take ':=' or '=' behind them");
        }
        self.at = start;
        Ok((Vec::new(), false))
    }

    /// A word, and the fields that are written at it.
    fn operand(&mut self) -> Parsed<Word> {
        let start = self.place().start;
        let token = self.token().cloned();
        let word_place = self.place();
        self.at += 1;
        let mut kind = match token {
            Some(Token::Dot) => Kind::Dot,
            Some(Token::Field(name)) => Kind::Fields(vec![name]),
            Some(Token::Int(number)) => Kind::Int(number),
            Some(Token::Float(number)) => Kind::Float(number),
            Some(Token::Quoted(text)) => Kind::Text(text),
            Some(Token::Variable(name)) => {
                if !self.variables.contains(&name) {
                    return Err(undeclared(&name, word_place));
                }
                Kind::Variable(name, Vec::new())
            }
            Some(Token::Left) => {
                let pipe = self.deeper(|parser| parser.pipe("'('", &Token::Right))?;
                Kind::Group(pipe, Vec::new())
            }
            Some(Token::Word(word)) => match word.as_str() {
                "true" | "false" => Kind::Bool(word == "true"),
                "nil" => Kind::Nil,
                name => match functions::named(name) {
                    Some(function) => Kind::Function(function),
                    None => {
                        let mut says = format!("there is no function {name}");
                        if name.starts_with(char::is_uppercase) {
                            says += &format!(": a field is .{name}");
                        }
                        return Err(Fault::new(word_place, says));
                    }
                },
            },
            _ => {
                return Err(Fault::new(word_place, "this has no meaning here"));
            }
        };
        while let Some(Token::Field(name)) = self.token() {
            match &mut kind {
                Kind::Fields(names) | Kind::Variable(_, names) | Kind::Group(_, names) => {
                    names.push(name.clone());
                }
                Kind::Function(_) => {
                    let says = "what a function gives has fields in parentheses: (f x).Name";
                    return self.fault(says);
                }
                _ => return self.fault("what stands before this '.' has no fields"),
            }
            self.at += 1;
        }
        if self.token() == Some(&Token::Dot) {
            return self.fault("a field's name is missing");
        }
        let end = self.words[self.at - 1].1.end;
        Ok(Word {
            place: start..end,
            kind,
        })
    }
}

fn undeclared(name: &str, place: Range<usize>) -> Fault {
    Fault::new(place, format!("there is no variable {name}"))
}
