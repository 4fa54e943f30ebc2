//! sed's language: which files a program reads and writes.
//!
//! A reader of GNU sed's grammar. Commands that run programs are not accepted, nor is what is not
//! understood.

/// What a program does besides editing the text that goes through it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effects {
    /// Files that it reads (`r`, `R`).
    pub(crate) reads: Vec<String>,
    /// Files that it writes (`w`, `W`, `s///w`).
    pub(crate) writes: Vec<String>,
}

/// How many files a program may name; each is judged.
const MOST_FILES: usize = 16;

const NOT_UNDERSTOOD: &str = "this program for sed is not understood";
const RUNS: &str = "this program for sed runs commands";

/// What a program does, or why it is not accepted.
pub(crate) fn effects(program: &str) -> Result<Effects, &'static str> {
    if !program.is_ascii() && program.contains('\\') {
        // Escapes next to characters of several bytes depend on the locale.
        return Err(NOT_UNDERSTOOD);
    }
    let mut reader = Reader { bytes: program.as_bytes(), at: 0, effects: Effects::default() };
    reader.program()?;
    Ok(reader.effects)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    effects: Effects,
}

type Read<T> = Result<T, &'static str>;

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self) -> Option<u8> {
        let byte = self.peek();
        self.at += usize::from(byte.is_some());
        byte
    }

    fn skip(&mut self, bytes: &[u8]) {
        while self.peek().is_some_and(|byte| bytes.contains(&byte)) {
            self.at += 1;
        }
    }

    fn program(&mut self) -> Read<()> {
        loop {
            self.skip(b" \t\n;");
            if self.peek().is_none() {
                return Ok(());
            }
            self.address()?;
            self.skip(b" \t");
            if self.peek() == Some(b',') {
                self.at += 1;
                self.skip(b" \t");
                self.address()?;
                self.skip(b" \t");
            }
            self.skip(b"! \t");
            self.command()?;
        }
    }

    fn address(&mut self) -> Read<()> {
        match self.peek() {
            Some(b'0'..=b'9' | b'$' | b'+' | b'~') => {
                self.at += 1;
                self.skip(b"0123456789~");
            }
            Some(b'/') => {
                self.at += 1;
                self.delimited(b'/')?;
                self.skip(b"IM");
            }
            Some(b'\\') => {
                self.at += 1;
                let delimiter = self.delimiter()?;
                self.delimited(delimiter)?;
                self.skip(b"IM");
            }
            _ => {}
        }
        Ok(())
    }

    fn delimiter(&mut self) -> Read<u8> {
        match self.take() {
            Some(byte) if byte != b'\n' && byte != b'\\' && byte.is_ascii() => Ok(byte),
            _ => Err(NOT_UNDERSTOOD),
        }
    }

    /// Up to a delimiter. Within brackets GNU sed takes it for the end as well.
    fn delimited(&mut self, delimiter: u8) -> Read<()> {
        loop {
            match self.take() {
                None => return Err(NOT_UNDERSTOOD),
                Some(b'\\') => {
                    self.take().ok_or(NOT_UNDERSTOOD)?;
                }
                Some(byte) if byte == delimiter => return Ok(()),
                Some(_) => {}
            }
        }
    }

    fn command(&mut self) -> Read<()> {
        match self.take() {
            Some(b'{' | b'}') => Ok(()),
            Some(
                b'=' | b'd' | b'D' | b'g' | b'G' | b'h' | b'H' | b'n' | b'N' | b'p' | b'P' | b'x'
                | b'z' | b'F',
            ) => self.end(),
            Some(b'q' | b'Q' | b'l' | b'L') => {
                self.skip(b" \t");
                self.skip(b"0123456789");
                self.end()
            }
            Some(b's') => self.substitute(),
            Some(b'y') => {
                let delimiter = self.delimiter()?;
                self.delimited(delimiter)?;
                self.delimited(delimiter)?;
                self.end()
            }
            Some(b'a' | b'i' | b'c') => self.text(),
            Some(b':' | b'b' | b't' | b'T') => {
                self.skip(b" \t");
                let start = self.at;
                while self.peek().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                    self.at += 1;
                }
                let _ = start;
                self.end()
            }
            Some(b'#') => {
                while self.peek().is_some_and(|byte| byte != b'\n') {
                    self.at += 1;
                }
                Ok(())
            }
            Some(b'r' | b'R') => {
                let name = self.file()?;
                self.effects.reads.push(name);
                Ok(())
            }
            Some(b'w' | b'W') => {
                let name = self.file()?;
                self.effects.writes.push(name);
                Ok(())
            }
            Some(b'e') => Err(RUNS),
            // An address without a command is an error of sed's own.
            _ => Err(NOT_UNDERSTOOD),
        }
    }

    /// After a command only a separator may follow.
    fn end(&mut self) -> Read<()> {
        self.skip(b" \t");
        match self.peek() {
            None | Some(b';' | b'\n' | b'}' | b'#') => Ok(()),
            Some(_) => Err(NOT_UNDERSTOOD),
        }
    }

    fn substitute(&mut self) -> Read<()> {
        let delimiter = self.delimiter()?;
        self.delimited(delimiter)?;
        self.delimited(delimiter)?;
        loop {
            match self.peek() {
                Some(b'g' | b'p' | b'i' | b'I' | b'm' | b'M' | b'0'..=b'9') => self.at += 1,
                Some(b'e') => return Err(RUNS),
                Some(b'w') => {
                    self.at += 1;
                    let name = self.file()?;
                    self.effects.writes.push(name);
                    return Ok(());
                }
                _ => return self.end(),
            }
        }
    }

    /// The rest of the line is a file's name.
    fn file(&mut self) -> Read<String> {
        self.skip(b" \t");
        let start = self.at;
        while self.peek().is_some_and(|byte| byte != b'\n') {
            self.at += 1;
        }
        let name = String::from_utf8_lossy(&self.bytes[start..self.at]).into_owned();
        let files = self.effects.reads.len() + self.effects.writes.len();
        if name.is_empty() || files >= MOST_FILES { Err(NOT_UNDERSTOOD) } else { Ok(name) }
    }

    /// Text of `a`, `i` and `c`: to the end of the line, or of the last line that is continued.
    fn text(&mut self) -> Read<()> {
        while let Some(byte) = self.take() {
            match byte {
                b'\\' => {
                    self.take();
                }
                b'\n' => break,
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_only_edit_are_accepted() {
        for program in [
            "1,20p",
            "$p",
            "s/a/b/g",
            "s|a|b|2p",
            "/^#/d",
            "/a/,/b/{s/x/y/;p}",
            "1!G;h;$!d",
            "$=",
            "0~3p",
            "/x/I!d",
            "y/abc/xyz/",
            "2q",
            "2q5",
            "a\\ text e w",
            "/x/a text",
            ":a;N;$!ba;s/\\n/ /g",
            "s/[e]/w/",
            "",
            "1d # e",
            "10,+5p",
            "\\,x,p",
            "s/a\\/b/c/",
            "1,3p;5p",
        ] {
            assert_eq!(effects(program), Ok(Effects::default()), "{program}");
        }
    }

    #[test]
    fn programs_that_run_commands_are_not() {
        for program in [
            "e",
            "1e touch x",
            "s/a/b/e",
            "s/a/b/ge",
            "s/.*/x/pe",
            "/a/,/b/e x",
            "{e x\n}",
            "p;e x",
            "a text\ne touch x",
            "y/a/b/;e",
            "$!e x",
            "\\,a,e x",
            "#x\ne y",
            "s,a,b,e",
            ":a;e x",
            "r a\ne x",
        ] {
            assert!(effects(program).is_err(), "{program}");
        }
    }

    #[test]
    fn files_are_named() {
        let found = effects("1r /etc/passwd\ns/a/b/w out\nW x;e y").unwrap();
        assert_eq!(found.reads, ["/etc/passwd"]);
        assert_eq!(found.writes, ["out", "x;e y"]);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for program in
            ["s/a", "v 4.2 e", "1,2", "p x", "s\\a\\b\\e", "y/a/b", "k", "é\\", "s/a/b/x"]
        {
            assert!(effects(program).is_err(), "{program}");
        }
    }
}
