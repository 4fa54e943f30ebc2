//! awk's language: programs that only read and print.

const NOT_UNDERSTOOD: &str = "this program for awk is not understood";

/// Whether a program only reads its input and prints; else why it is not accepted.
///
/// Where a regular expression begins depends on awk's grammar, so whatever could hide in one is
/// looked for in the whole text as well.
pub(crate) fn only_reads(program: &str) -> Result<(), &'static str> {
    for (word, reason) in [
        ("system", "this program for awk may run commands"),
        ("getline", "this program for awk may read other files or run commands"),
        ("ARGV", "this program for awk may read other files"),
        ("@", "this program for awk may load others"),
        ("/inet", "this program for awk may reach the network"),
    ] {
        if program.contains(word) {
            return Err(reason);
        }
    }
    let mut reader = Reader { bytes: program.as_bytes(), at: 0, operand: false, prints: None };
    while reader.at < reader.bytes.len() {
        reader.token()?;
    }
    Ok(())
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// What came last is a value: a `/` divides.
    operand: bool,
    /// Within `print`, and how many parentheses are open in it: `>` redirects unless some are.
    prints: Option<usize>,
}

impl Reader<'_> {
    fn token(&mut self) -> Result<(), &'static str> {
        let byte = self.bytes[self.at];
        let next = self.bytes.get(self.at + 1).copied();
        self.at += 1;
        match byte {
            b' ' | b'\t' => return Ok(()),
            b'\n' | b';' | b'{' | b'}' => {
                self.prints = None;
                self.operand = false;
            }
            b'#' => {
                while self.bytes.get(self.at).is_some_and(|byte| *byte != b'\n') {
                    self.at += 1;
                }
            }
            b'"' => {
                self.until(b'"')?;
                self.operand = true;
            }
            b'/' if !self.operand => {
                self.regex()?;
                self.operand = true;
            }
            b'+' | b'-' if next == Some(byte) => {
                self.at += 1;
                // Before or after a value: what a `/` means then is too much to tell.
                let rest = &self.bytes[self.at..];
                if rest.iter().find(|byte| **byte != b' ') == Some(&b'/') {
                    return Err(NOT_UNDERSTOOD);
                }
            }
            b'|' if next == Some(b'|') => {
                self.at += 1;
                self.operand = false;
            }
            b'|' => return Err("this program for awk runs commands"),
            b'>' if next == Some(b'=') => {
                self.at += 1;
                self.operand = false;
            }
            b'>' => {
                if self.prints == Some(0) {
                    return Err("this program for awk writes files");
                }
                self.operand = false;
            }
            b'(' | b'[' => {
                self.prints = self.prints.map(|open| open + 1);
                self.operand = false;
            }
            b')' | b']' => {
                self.prints = self.prints.map(|open| open.saturating_sub(1));
                self.operand = true;
            }
            b'$' | b'!' | b'~' | b',' | b'?' | b':' | b'=' | b'<' | b'&' | b'*' | b'%' | b'^'
            | b'+' | b'-' | b'/' => self.operand = false,
            byte if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.' => self.word(),
            _ => return Err(NOT_UNDERSTOOD),
        }
        Ok(())
    }

    fn word(&mut self) {
        let start = self.at - 1;
        let part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
        while self.bytes.get(self.at).is_some_and(part) {
            self.at += 1;
        }
        let word = &self.bytes[start..self.at];
        const KEYWORDS: &[&[u8]] = &[
            b"print", b"printf", b"return", b"in", b"if", b"while", b"else", b"do", b"exit",
            b"case", b"BEGIN", b"END",
        ];
        if matches!(word, b"print" | b"printf") {
            self.prints = Some(0);
        }
        self.operand = !KEYWORDS.contains(&word);
    }

    fn until(&mut self, end: u8) -> Result<(), &'static str> {
        while let Some(byte) = self.bytes.get(self.at) {
            self.at += 1;
            match byte {
                b'\\' => self.at += 1,
                b'\n' => return Err(NOT_UNDERSTOOD),
                byte if *byte == end => return Ok(()),
                _ => {}
            }
        }
        Err(NOT_UNDERSTOOD)
    }

    fn regex(&mut self) -> Result<(), &'static str> {
        let start = self.at;
        self.until(b'/')?;
        let inner = &self.bytes[start..self.at - 1];
        // Whether a `/` in brackets ends the expression differs from one awk to the next.
        if inner.contains(&b'[') {
            let open = inner.iter().filter(|byte| **byte == b'[').count();
            let close = inner.iter().filter(|byte| **byte == b']').count();
            if open > close {
                return Err(NOT_UNDERSTOOD);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_print_are_accepted() {
        for program in [
            "{print $1}",
            "NR==5",
            "/foo|bar/ {print $2, $3}",
            "$3 > 5 {print}",
            "{s+=$1} END{print s/NR}",
            "BEGIN{FS=\":\"} {print $1}",
            "NR>=10 && NR<=20",
            "{printf \"%s\\n\", $1}",
            "!seen[$0]++",
            "{print (a > b)}",
            "length > 80",
            "{if ($1 > 3) print $2}",
            "/a/,/b/",
            "$1 ~ /^x/ || $2",
            "{n=split($0,a,/[,;]/); print a[n]}",
            "{print $NF}",
            "{gsub(/a/,\"b\"); print}",
        ] {
            assert_eq!(only_reads(program), Ok(()), "{program}");
        }
    }

    #[test]
    fn programs_that_write_or_run_are_not() {
        for program in [
            "BEGIN{system(\"x\")}",
            "BEGIN{print 1 | \"sh\"}",
            "{print > \"out\"}",
            "{print $1 >> f}",
            "BEGIN{\"date\" | getline x}",
            "{while((getline l < \"f\")>0) print l}",
            "@load \"x\"",
            "BEGIN{s=\"sys\" \"tem\"; @s(\"x\")}",
            "{print 1 |& \"x\"}",
            "a / system(\"x\") / b",
            "{a++ / 2; print > \"x\" / 1}",
            "{print(1) > \"x\"}",
            "{print a[1] > \"x\"}",
            "{printf \"a\" > \"x\"}",
            "/[/]/ {print > \"x\"} /]/",
            "{print \"a\\\"\" > \"x\"}",
            "BEGIN{print \"x\" > \"/inet/tcp/0/h/80\"}",
            "`x`",
        ] {
            assert!(only_reads(program).is_err(), "{program}");
        }
    }
}
