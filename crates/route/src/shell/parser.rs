//! The grammar: tree-sitter's for Bash.

use std::cell::RefCell;
use std::ops::{ControlFlow, Range};

use tree_sitter::{ParseOptions, Parser, Tree};

use super::Refused;
use super::lexer::{self, Lexed};

/// The longest text that is given to the grammar; here-documents do not count. What people and
/// agents write is far shorter, and hostile text costs the grammar a microsecond a byte.
pub(crate) const MOST_BYTES: usize = 8 * 1024;

/// The most words and operators that are given to the grammar, which takes up to a hundred
/// microseconds for each that makes no sense to it.
const MOST_TOKENS: usize = 1_000;

/// How often the grammar may report progress in all texts of a decision before it is stopped. It
/// reports once in a hundred steps; a step takes up to half a microsecond. Counted rather than timed,
/// so that the answer does not depend on the machine's load. A script of a hundred lines takes 60.
pub(crate) const MOST_PROGRESS: usize = 150;

thread_local! {
    /// Making a parser costs more than parsing an everyday line.
    static PARSER: RefCell<Option<Parser>> = const { RefCell::new(None) };
}

/// A line, read twice.
pub(crate) struct Parsed {
    /// How it is built.
    pub(crate) tree: Tree,
    /// What it is made of.
    pub(crate) lexed: Lexed,
}

/// Parses a line. `progress` is what the grammar may still report.
pub(crate) fn parse(text: &str, progress: &mut usize) -> Result<Parsed, Refused> {
    let mut lexed = lexer::lex(text, &[])?;
    let hidden: usize = lexed.blanks.iter().map(ExactSizeIterator::len).sum();
    if text.len() - hidden > MOST_BYTES || lexed.tokens.len() > MOST_TOKENS {
        return Err(Refused::new("shell:length", lexer::cut(text), "the command is too long"));
    }
    adjacent(text, &lexed)?;
    let shown = mask(text, &lexed);
    let tree = tree(&shown, progress)?;
    let special = special_spans(&tree);
    if !special.is_empty() {
        lexed = lexer::lex(text, &special)?;
    }
    Ok(Parsed { tree, lexed })
}

/// Whether commands are missing between operators: the grammar takes long to find out.
fn adjacent(text: &str, lexed: &Lexed) -> Result<(), Refused> {
    let of = |index: usize| match lexed.tokens.get(index) {
        Some(token) if token.kind == lexer::Kind::Control => &text[token.span.clone()],
        _ => "",
    };
    let joins = |sign: &str| matches!(sign, "|" | "|&" | "&&" | "||");
    let ends = |sign: &str| joins(sign) || matches!(sign, ";" | "&" | ")" | ";;" | ";&" | ";;&");
    match (0..lexed.tokens.len()).find(|index| joins(of(*index)) && ends(of(index + 1))) {
        None => Ok(()),
        Some(index) => {
            let reason = "a command is missing between operators";
            Err(Refused::new("shell:syntax", of(index), reason))
        }
    }
}

/// The text as the grammar gets to see it: of the same length, without here-documents, and in ASCII:
/// the grammar's scanner (scanner.c, `isdigit(lexer->lookahead)`) reads beyond the C library's table
/// for what is not. Bash knows no other letters than these in its syntax either: bytes above them are
/// parts of words, and never of names, so each becomes a `.`, which is the same.
fn mask(text: &str, lexed: &Lexed) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for blank in &lexed.blanks {
        // The end of the line before a body stays, and ends the command.
        bytes[blank.clone()].fill(b' ');
    }
    let mut array = false;
    for (index, token) in lexed.tokens.iter().enumerate() {
        // In `name=(a b)` an end of line is a blank.
        match &text[token.span.clone()] {
            "(" => array = text[..token.span.start].ends_with('='),
            ")" => array = false,
            _ => {}
        }
        if !array && ends_command(text, lexed, index) {
            bytes[token.span.start] = b';';
        }
        if bytes[token.span.clone()].windows(2).any(|pair| pair == b"<<")
            && token.kind == lexer::Kind::Word
        {
            bytes[token.span.clone()].fill(b'x');
        }
    }
    for byte in bytes.iter_mut().filter(|byte| !byte.is_ascii()) {
        *byte = b'.';
    }
    String::from_utf8(bytes).unwrap_or_default()
}

/// Whether an end of line is nothing but the end of a command, as `;` is. The grammar takes some for
/// blanks, after pipelines with redirections.
fn ends_command(text: &str, lexed: &Lexed, index: usize) -> bool {
    const OPEN: &[&str] = &[
        "if", "then", "else", "elif", "do", "while", "until", "for", "case", "in", "{", "!",
        "time", "function", "select", "coproc",
    ];
    let of = |index: usize| lexed.tokens.get(index).filter(|token| token.kind == lexer::Kind::Word);
    let newline = &lexed.tokens[index];
    let (Some(before), Some(_)) = (index.checked_sub(1).and_then(of), of(index + 1)) else {
        return false;
    };
    let between = &text[before.span.end..newline.span.start];
    newline.kind == lexer::Kind::Newline
        && between.bytes().all(|byte| matches!(byte, b' ' | b'\t'))
        && !OPEN.contains(&&text[before.span.clone()])
}

fn tree(text: &str, left: &mut usize) -> Result<Tree, Refused> {
    let failed = || Refused::new("shell:syntax", lexer::cut(text), "the grammar gave up on it");
    PARSER.with(|parser| {
        let mut parser = parser.borrow_mut();
        if parser.is_none() {
            let mut made = Parser::new();
            made.set_language(&tree_sitter_bash::LANGUAGE.into()).map_err(|_| failed())?;
            *parser = Some(made);
        }
        let parser = parser.as_mut().ok_or_else(failed)?;
        // Making sense of what is wrong is most of the grammar's work, and the text is refused anyway.
        let mut progress = |state: &tree_sitter::ParseState| match left.checked_sub(1) {
            Some(less) if !state.has_error() => {
                *left = less;
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Break(()),
        };
        let options = ParseOptions::new().progress_callback(&mut progress);
        let bytes = text.as_bytes();
        let mut read = |at: usize, _| bytes.get(at..).unwrap_or_default();
        let tree = parser.parse_with_options(&mut read, None, Some(options));
        if tree.is_none() {
            // A parser that was stopped would go on with the old text.
            parser.reset();
        }
        tree.ok_or_else(failed)
    })
}

/// `[[ … ]]` and `(( … ))`, in which words end by other rules.
fn special_spans(tree: &Tree) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let mut cursor = tree.walk();
    'nodes: loop {
        let node = cursor.node();
        let first = node.child(0);
        let special = match (node.kind(), first.map(|child| child.kind())) {
            ("test_command", Some("[[")) | ("compound_statement", Some("((")) => {
                Some(node.byte_range())
            }
            ("c_style_for_statement", _) => {
                let mut walk = node.walk();
                let mut children = node.children(&mut walk);
                let open = children.find(|child| child.kind() == "((");
                let close = children.find(|child| child.kind() == "))");
                open.zip(close).map(|(open, close)| open.start_byte()..close.end_byte())
            }
            _ => None,
        };
        let simple = matches!(node.kind(), "command" | "test_command");
        spans.extend(special);
        if !simple && cursor.goto_first_child() {
            continue;
        }
        while !cursor.goto_next_sibling() {
            if !cursor.goto_parent() {
                break 'nodes;
            }
        }
    }
    spans
}
