//! Text of the shell: how it is built, and in which order its commands run.

use tree_sitter::Node;

use crate::shell::Refused;
use crate::shell::lexer::{Kind, Lexed, cut};
use crate::shell::parser;

use super::state::{State, is_number};
use super::word::{Piece, Word};
use super::{Judge, MOST_PARSED, MOST_PARSED_BYTES, MOST_STEPS};

/// How often a loop is judged until what is known at its beginning stays the same.
const MOST_ROUNDS: usize = 3;

/// How deep the grammar's tree may be. A level costs stack.
const MOST_LEVELS: usize = 64;

/// A text that is being judged.
pub(super) struct Source<'t> {
    pub(super) text: &'t str,
    pub(super) lexed: &'t Lexed,
    /// Which tokens have found their place in the tree.
    used: Vec<bool>,
    levels: usize,
}

type Walked = Result<(), Refused>;

impl Judge<'_> {
    /// Judges a text of the shell.
    pub(super) fn script(&mut self, text: &str, state: &mut State) {
        if self.exhausted {
            return;
        }
        self.parsed += 1;
        self.parsed_bytes += text.len().min(parser::MOST_BYTES);
        if self.parsed > MOST_PARSED || self.parsed_bytes > MOST_PARSED_BYTES {
            return self.exhaust(cut(text));
        }
        self.deeper(|judge| {
            if let Err(refused) = judge.parse_and_walk(text, state) {
                judge.refuse(refused);
            }
        });
    }

    fn parse_and_walk(&mut self, text: &str, state: &mut State) -> Walked {
        let parsed = parser::parse(text, &mut self.progress)?;
        let used = vec![false; parsed.lexed.tokens.len()];
        let mut source = Source { text, lexed: &parsed.lexed, used, levels: 0 };
        for body in &parsed.lexed.expanded {
            self.here_document(&text[body.clone()], state);
        }
        let root = parsed.tree.root_node();
        if root.has_error() {
            return Err(Refused::new("shell:syntax", cut(text), "the grammar does not know this"));
        }
        self.statements(root, &mut source, state)?;
        let unused = source.used.iter().zip(&parsed.lexed.tokens);
        let mut unused = unused.filter(|(used, token)| !*used && token.kind != Kind::Newline);
        match unused.next() {
            None => Ok(()),
            Some((_, token)) => Err(disagreement(&text[token.span.clone()])),
        }
    }

    /// All that a node holds, in order.
    fn statements(&mut self, node: Node<'_>, source: &mut Source<'_>, state: &mut State) -> Walked {
        let mut walk = node.walk();
        let children: Vec<_> = node.children(&mut walk).collect();
        self.sequence(&children, source, state)
    }

    fn sequence(
        &mut self,
        children: &[Node<'_>],
        source: &mut Source<'_>,
        state: &mut State,
    ) -> Walked {
        for (index, child) in children.iter().enumerate() {
            if !child.is_named() {
                source.sign(*child)?;
            } else if children.get(index + 1).is_some_and(|next| next.kind() == "&") {
                self.background = true;
                self.one(*child, source, &mut state.clone());
            } else {
                self.one(*child, source, state);
            }
        }
        Ok(())
    }

    /// A statement among others, which are still looked at if this one is not understood.
    fn one(&mut self, node: Node<'_>, source: &mut Source<'_>, state: &mut State) {
        if let Err(refused) = self.statement(node, source, state) {
            self.refuse(refused);
        }
    }

    fn statement(&mut self, node: Node<'_>, source: &mut Source<'_>, state: &mut State) -> Walked {
        if !self.count() {
            return Ok(());
        }
        source.levels += 1;
        if source.levels > MOST_LEVELS {
            source.levels -= 1;
            return Err(Refused::new("shell:nesting", "", "nested too deeply"));
        }
        let walked = self.statement_inside(node, source, state);
        source.levels -= 1;
        walked
    }

    /// One node. Its kind has to be one of these.
    fn statement_inside(
        &mut self,
        node: Node<'_>,
        source: &mut Source<'_>,
        state: &mut State,
    ) -> Walked {
        match node.kind() {
            "comment" => Ok(()),
            "command"
            | "variable_assignment"
            | "variable_assignments"
            | "declaration_command"
            | "unset_command" => self.simple(node.byte_range(), source, state),
            "test_command" => match node.child(0).map(|child| child.kind()) {
                Some("[") => self.simple(node.byte_range(), source, state),
                _ => {
                    let text = source.word(node)?;
                    self.double_bracket(text, state);
                    Ok(())
                }
            },
            "compound_statement" if node.child(0).is_some_and(|child| child.kind() == "((") => {
                let text = source.word(node)?;
                let inner = text.strip_prefix("((").and_then(|text| text.strip_suffix("))"));
                let inner = inner.ok_or_else(|| disagreement(text))?;
                self.arithmetic_statement(inner, state);
                Ok(())
            }
            "redirected_statement" => self.chain(node, source, state),
            "program" | "compound_statement" | "do_group" => self.statements(node, source, state),
            "subshell" => self.statements(node, source, &mut state.clone()),
            "list" | "pipeline" | "negated_command" => self.chain(node, source, state),
            "if_statement" => self.conditional(node, source, state),
            "case_statement" => self.case(node, source, state),
            "while_statement" => self.repeat(node, source, state),
            "for_statement" => self.each(node, source, state),
            "c_style_for_statement" => self.counted(node, source, state),
            kind => {
                let reason = format!("a part of the shell that is not followed ({kind})");
                Err(Refused::new("shell:syntax", cut(&source.text[node.byte_range()]), reason))
            }
        }
    }

    /// `a | b && c || d`. The grammar nests these in other ways than the shell does, so they are
    /// laid flat and put together again by the shell's rule: pipes bind first, then from the left.
    fn chain(&mut self, node: Node<'_>, source: &mut Source<'_>, state: &mut State) -> Walked {
        let mut links = Vec::new();
        flatten(node, node.end_byte(), 0, &mut links)?;
        let mut joint = None;
        let mut at = 0;
        while at < links.len() {
            let mut negated = false;
            let mut members = Vec::new();
            while let Some(link) = links.get(at) {
                match link {
                    Link::Sign(sign) if matches!(sign.kind(), "&&" | "||") => break,
                    Link::Sign(sign) => {
                        negated |= sign.kind() == "!";
                        source.sign(*sign)?;
                    }
                    Link::Member(member, end) => members.push((*member, *end)),
                }
                at += 1;
            }
            let mut taken = state.clone();
            if let (Some("&&"), Some(directories)) = (joint, taken.succeeded.take()) {
                taken.directories = directories;
            }
            taken.succeeded = None;
            let alone = members.len() == 1;
            for (member, end) in members {
                let walked = match alone {
                    true => self.member(member, end, source, &mut taken),
                    false => self.member(member, end, source, &mut taken.clone()),
                };
                if let Err(refused) = walked {
                    self.refuse(refused);
                }
            }
            if negated {
                taken.succeeded = None;
            }
            if joint.is_none() {
                *state = taken;
            } else {
                let reached = taken.succeeded.clone().unwrap_or_else(|| taken.directories.clone());
                state.join(&taken);
                state.succeeded = (joint == Some("&&") && !negated).then_some(reached);
            }
            joint = None;
            if let Some(Link::Sign(sign)) = links.get(at) {
                joint = Some(sign.kind());
                source.sign(*sign)?;
                at += 1;
            }
        }
        Ok(())
    }

    /// One command of a pipeline, with redirections up to where it ends.
    fn member(
        &mut self,
        node: Node<'_>,
        end: usize,
        source: &mut Source<'_>,
        state: &mut State,
    ) -> Walked {
        let bracket =
            node.kind() == "test_command" && node.child(0).is_some_and(|child| child.kind() == "[");
        let simple = matches!(
            node.kind(),
            "command"
                | "variable_assignment"
                | "variable_assignments"
                | "declaration_command"
                | "unset_command"
                | "file_redirect"
                | "redirected_statement"
                | "herestring_redirect"
        );
        if simple || bracket {
            return self.simple(node.start_byte()..end, source, state);
        }
        let before = state.clone();
        self.statement(node, source, state)?;
        // The redirections of a group are made before it runs.
        let mut either = before;
        either.join(state);
        self.only_redirects(node.end_byte()..end, source, &either)
    }

    fn conditional(
        &mut self,
        node: Node<'_>,
        source: &mut Source<'_>,
        state: &mut State,
    ) -> Walked {
        let mut walk = node.walk();
        let children: Vec<_> = node.children(&mut walk).collect();
        let then = children.iter().position(|child| child.kind() == "then");
        let then = then.ok_or_else(|| disagreement("if"))?;
        let is_clause = |child: &Node<'_>| matches!(child.kind(), "elif_clause" | "else_clause");
        let end = children.iter().position(is_clause).unwrap_or(children.len());
        self.sequence(&children[..then], source, state)?;
        let mut taken = state.clone();
        self.sequence(&children[then..end], source, &mut taken)?;
        for clause in &children[end..] {
            match clause.kind() {
                "elif_clause" => {
                    let mut other = state.clone();
                    self.conditional(*clause, source, &mut other)?;
                    taken.join(&other);
                }
                "else_clause" => {
                    let mut other = state.clone();
                    self.statements(*clause, source, &mut other)?;
                    taken.join(&other);
                }
                _ => self.sequence(&[*clause], source, state)?,
            }
        }
        state.join(&taken);
        Ok(())
    }

    fn case(&mut self, node: Node<'_>, source: &mut Source<'_>, state: &mut State) -> Walked {
        let mut walk = node.walk();
        let before = state.clone();
        for child in node.children(&mut walk) {
            if child.kind() == "case_item" {
                let mut taken = before.clone();
                // What one branch did may go on in the next (`;&`).
                taken.join(state);
                self.case_item(child, source, &mut taken)?;
                state.join(&taken);
            } else if child.is_named() {
                self.plain_word(child, source, state)?;
            } else {
                source.sign(child)?;
            }
        }
        Ok(())
    }

    fn case_item(&mut self, node: Node<'_>, source: &mut Source<'_>, state: &mut State) -> Walked {
        let mut walk = node.walk();
        let mut pattern = true;
        let children: Vec<_> = node.children(&mut walk).collect();
        for (index, child) in children.iter().enumerate() {
            match (child.is_named(), pattern) {
                (false, _) => {
                    pattern &= child.kind() != ")";
                    source.sign(*child)?;
                }
                (true, true) => self.plain_word(*child, source, state)?,
                (true, false) => self.sequence(&children[index..=index], source, state)?,
            }
        }
        Ok(())
    }

    /// A word that is only compared.
    fn plain_word(&mut self, node: Node<'_>, source: &mut Source<'_>, state: &State) -> Walked {
        let raw = source.word(node)?;
        self.expand_one(raw, state).map(|_| ())
    }

    fn repeat(&mut self, node: Node<'_>, source: &mut Source<'_>, state: &mut State) -> Walked {
        self.rounds(source, state, |judge, source, state| judge.statements(node, source, state))
    }

    fn each(&mut self, node: Node<'_>, source: &mut Source<'_>, state: &mut State) -> Walked {
        let mut walk = node.walk();
        let children: Vec<_> = node.children(&mut walk).collect();
        let mut name = "";
        let mut values: Vec<Word> = Vec::new();
        let mut body = None;
        for child in &children {
            match child.kind() {
                "for" | "in" | ";" | "\n" => source.sign(*child)?,
                "variable_name" if name.is_empty() => name = source.word(*child)?,
                "do_group" => body = Some(*child),
                _ if child.is_named() => {
                    let raw = source.word(*child)?;
                    values.extend(self.expand(raw, state)?);
                }
                _ => return Err(disagreement(child.kind())),
            }
        }
        let body = body.ok_or_else(|| disagreement("for"))?;
        self.assignment_allowed(name, None, false);
        // A few values are gone through one by one; more are one value of which little is known.
        const FEW: usize = 6;
        let each: Vec<Vec<Piece>> = values.iter().map(Word::matched).collect();
        let numbers = each.iter().all(|pieces| is_number(pieces));
        let each = match each.len() {
            1..=FEW => each,
            0 => vec![vec![Piece::Any]],
            _ if numbers => vec![vec![Piece::Integer]],
            _ => vec![common(&each)],
        };
        self.rounds(source, state, |judge, source, state| {
            for pieces in &each {
                state.set(name, pieces.clone());
                judge.statement(body, source, state)?;
            }
            Ok(())
        })
    }

    fn counted(&mut self, node: Node<'_>, source: &mut Source<'_>, state: &mut State) -> Walked {
        let mut walk = node.walk();
        let children: Vec<_> = node.children(&mut walk).collect();
        let find = |kind: &str| children.iter().find(|child| child.kind() == kind);
        let (Some(open), Some(close)) = (find("(("), find("))")) else {
            return Err(disagreement("for (("));
        };
        let head = open.start_byte()..close.end_byte();
        source.take(head.clone())?;
        let inner = source.text.get(head.start + 2..head.end - 2).unwrap_or("");
        for part in inner.split(';') {
            self.arithmetic_statement(part, state);
        }
        let outside = |child: &&Node<'_>| {
            child.start_byte() >= close.end_byte() || child.end_byte() <= open.start_byte()
        };
        let rest: Vec<_> = children.iter().filter(outside).copied().collect();
        self.rounds(source, state, |judge, source, state| judge.sequence(&rest, source, state))
    }

    /// Judges what runs again and again until another round would find nothing new.
    fn rounds(
        &mut self,
        source: &mut Source<'_>,
        state: &mut State,
        mut body: impl FnMut(&mut Self, &mut Source<'_>, &mut State) -> Walked,
    ) -> Walked {
        for round in 0.. {
            if round == MOST_ROUNDS {
                state.forget_all();
            }
            let mut after = state.clone();
            body(self, source, &mut after)?;
            let before = state.clone();
            state.join(&after);
            if *state == before || round >= MOST_ROUNDS || self.is_decided() {
                break;
            }
        }
        Ok(())
    }

    /// One more step is taken.
    pub(super) fn count(&mut self) -> bool {
        self.steps += 1;
        if self.steps > MOST_STEPS {
            self.exhaust("");
        }
        !self.exhausted
    }
}

/// What is known of a value that is one of many.
fn common(values: &[Vec<Piece>]) -> Vec<Piece> {
    let plain = |pieces: &Vec<Piece>| match &pieces[..] {
        [Piece::Text(text)] => {
            !text.starts_with(['/', '-']) && !text.split('/').any(|part| part == "..")
        }
        _ => false,
    };
    if values.iter().all(plain) {
        vec![Piece::Text("./".to_owned()), Piece::Below]
    } else {
        vec![Piece::Any]
    }
}

/// A part of a chain of commands.
enum Link<'t> {
    /// `|`, `&&`, `!` and the like.
    Sign(Node<'t>),
    /// A command, and where the redirections behind it end.
    Member(Node<'t>, usize),
}

/// Lays lists, pipelines and what is negated or redirected as a whole flat. A redirection behind
/// any of them is the last command's.
fn flatten<'t>(node: Node<'t>, end: usize, level: usize, into: &mut Vec<Link<'t>>) -> Walked {
    if level > MOST_LEVELS {
        return Err(Refused::new("shell:nesting", "", "nested too deeply"));
    }
    let chained = |kind: &str| matches!(kind, "list" | "pipeline" | "negated_command");
    match node.kind() {
        "redirected_statement" => {
            let body = node.child(0).ok_or_else(|| disagreement(""))?;
            if body.kind() == "file_redirect" || body.kind() == "herestring_redirect" {
                into.push(Link::Member(node, end));
                return Ok(());
            }
            flatten(body, end, level + 1, into)
        }
        kind if chained(kind) => {
            let mut walk = node.walk();
            let children: Vec<_> = node.children(&mut walk).collect();
            for (index, child) in children.iter().enumerate() {
                if child.is_named() {
                    let last = index + 1 == children.len();
                    let end = if last { end } else { child.end_byte() };
                    flatten(*child, end, level + 1, into)?;
                } else {
                    into.push(Link::Sign(*child));
                }
            }
            Ok(())
        }
        _ => {
            into.push(Link::Member(node, end));
            Ok(())
        }
    }
}

impl<'t> Source<'t> {
    /// The token that is exactly a node.
    pub(super) fn word(&mut self, node: Node<'_>) -> Result<&'t str, Refused> {
        self.take(node.byte_range())
    }

    fn take(&mut self, span: std::ops::Range<usize>) -> Result<&'t str, Refused> {
        let text = &self.text[span.clone()];
        let tokens = &self.lexed.tokens;
        match tokens.binary_search_by_key(&span.start, |token| token.span.start) {
            Ok(index) if tokens[index].span == span => {
                self.used[index] = true;
                Ok(text)
            }
            _ => Err(disagreement(text)),
        }
    }

    /// A keyword or an operator of the grammar.
    fn sign(&mut self, node: Node<'_>) -> Walked {
        if node.kind() == "\n" || node.byte_range().is_empty() {
            return Ok(());
        }
        self.take(node.byte_range()).map(|_| ())
    }

    /// The tokens of a span, which has to begin and end with one.
    pub(super) fn tokens_in(
        &mut self,
        span: std::ops::Range<usize>,
    ) -> Result<std::ops::Range<usize>, Refused> {
        let tokens = &self.lexed.tokens;
        let first = tokens.partition_point(|token| token.span.start < span.start);
        let last = tokens.partition_point(|token| token.span.start < span.end);
        let ends = last > first && tokens[last - 1].span.end <= span.end;
        if !ends && last > first {
            return Err(disagreement(&self.text[span]));
        }
        self.used[first..last].fill(true);
        Ok(first..last)
    }
}

pub(super) fn disagreement(text: &str) -> Refused {
    Refused::new("shell:syntax", cut(text), "this can be read in more than one way")
}
