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

/// How often the grammar may report progress before it is stopped. It reports once in a hundred
/// steps; a step takes about a microsecond. Counted rather than timed, so that the answer does not
/// depend on the machine's load.
const MOST_PROGRESS: usize = 400;

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

/// Parses a line.
pub(crate) fn parse(text: &str) -> Result<Parsed, Refused> {
    let mut lexed = lexer::lex(text, &[])?;
    let hidden: usize = lexed.blanks.iter().map(ExactSizeIterator::len).sum();
    if text.len() - hidden > MOST_BYTES || lexed.tokens.len() > MOST_TOKENS {
        return Err(Refused::new("shell:length", lexer::cut(text), "the command is too long"));
    }
    let shown = mask(text, &lexed);
    let tree = tree(&shown)?;
    let special = special_spans(&tree);
    if !special.is_empty() {
        lexed = lexer::lex(text, &special)?;
    }
    Ok(Parsed { tree, lexed })
}

/// The text as the grammar gets to see it: of the same length, without here-documents, and in ASCII:
/// the grammar's scanner (scanner.c, `isdigit(lexer->lookahead)`) reads beyond the C library's table
/// for what is not. Bash knows no other letters than these in its syntax either: bytes above them are
/// parts of words, and never of names, so each becomes a `.`, which is the same.
fn mask(text: &str, lexed: &Lexed) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for blank in &lexed.blanks {
        for byte in &mut bytes[blank.clone()] {
            // Ends of lines stay: they end commands.
            *byte = if *byte == b'\n' { b'\n' } else { b' ' };
        }
    }
    for token in &lexed.tokens {
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

fn tree(text: &str) -> Result<Tree, Refused> {
    let failed = || Refused::new("shell:syntax", lexer::cut(text), "the grammar gave up on it");
    PARSER.with(|parser| {
        let mut parser = parser.borrow_mut();
        if parser.is_none() {
            let mut made = Parser::new();
            made.set_language(&tree_sitter_bash::LANGUAGE.into()).map_err(|_| failed())?;
            *parser = Some(made);
        }
        let parser = parser.as_mut().ok_or_else(failed)?;
        let mut reports = 0;
        let mut progress = |_: &tree_sitter::ParseState| {
            reports += 1;
            if reports > MOST_PROGRESS { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
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
