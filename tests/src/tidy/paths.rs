//! Every path that a source file names, resolved as far as text allows: `crate::cache::Entry`, `std::env::var`, `todo!`.

/// A path with the line of its first segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NamedPath {
    pub(super) line: usize,
    /// From `crate` where the text says so by `crate`, `self` or `super`; as it is written otherwise. A macro's name ends with `!`.
    pub(super) segments: Vec<String>,
}

impl NamedPath {
    /// Whether these segments occur in a row.
    pub(super) fn contains(&self, wanted: &[&str]) -> bool {
        self.segments.windows(wanted.len()).any(|window| window.iter().zip(wanted).all(|(a, b)| a == b))
    }

    /// Whether it begins with these segments.
    pub(super) fn starts_with(&self, wanted: &[&str]) -> bool {
        self.segments.len() >= wanted.len() && self.segments.iter().zip(wanted).all(|(a, b)| a == b)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `::`
    Join,
    Sign(char),
}

/// The paths that `code` (see [`super::code::code_only`]) names, in a file that is `module` of its crate.
pub(super) fn named_paths(code: &str, module: &[String]) -> Vec<NamedPath> {
    let mut reader =
        Reader { tokens: tokens(code), at: 0, module: module.to_vec(), inner: Vec::new(), depth: 0, paths: Vec::new() };
    reader.read();
    reader.paths
}

fn tokens(code: &str) -> Vec<(usize, Token)> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut chars = code.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\n' {
            line += 1;
        } else if c.is_alphanumeric() || c == '_' {
            let mut word = String::from(c);
            while let Some(next) = chars.next_if(|next| next.is_alphanumeric() || *next == '_') {
                word.push(next);
            }
            tokens.push((line, Token::Word(word)));
        } else if c == ':' && chars.next_if_eq(&':').is_some() {
            tokens.push((line, Token::Join));
        } else if !c.is_whitespace() {
            tokens.push((line, Token::Sign(c)));
        }
    }
    tokens
}

struct Reader {
    tokens: Vec<(usize, Token)>,
    at: usize,
    module: Vec<String>,
    /// Modules written inside the file, each with the depth of braces it lies in.
    inner: Vec<(String, usize)>,
    depth: usize,
    paths: Vec<NamedPath>,
}

impl Reader {
    fn read(&mut self) {
        while let Some((line, token)) = self.tokens.get(self.at).cloned() {
            match token {
                Token::Word(word) if word == "mod" => self.inner_module(),
                Token::Word(word) if word == "use" => {
                    self.at += 1;
                    self.tree(&[]);
                }
                Token::Word(_) => self.plain_path(line),
                Token::Sign(sign) => {
                    self.brace(sign);
                    self.at += 1;
                }
                Token::Join => self.at += 1,
            }
        }
    }

    fn peek(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead).map(|(_, token)| token)
    }

    fn brace(&mut self, sign: char) {
        match sign {
            '{' => self.depth += 1,
            '}' => {
                self.depth = self.depth.saturating_sub(1);
                self.inner.retain(|(_, depth)| *depth < self.depth + 1);
            }
            _ => {}
        }
    }

    fn inner_module(&mut self) {
        if let (Some(Token::Word(name)), Some(Token::Sign('{'))) = (self.peek(1).cloned(), self.peek(2)) {
            // Its body lies one brace deeper than here.
            self.inner.push((name, self.depth + 1));
            self.depth += 1;
            self.at += 3;
        } else {
            self.at += 1;
        }
    }

    /// `a::b::c`, `a!` or a single word.
    fn plain_path(&mut self, line: usize) {
        let mut segments = Vec::new();
        while let Some(Token::Word(word)) = self.peek(0) {
            segments.push(word.clone());
            self.at += 1;
            if !(self.peek(0) == Some(&Token::Join) && matches!(self.peek(1), Some(Token::Word(_)))) {
                break;
            }
            self.at += 1;
        }
        if self.peek(0) == Some(&Token::Sign('!'))
            && self.peek(1) != Some(&Token::Sign('='))
            && let Some(last) = segments.last_mut()
        {
            last.push('!');
        }
        self.add(line, &segments);
    }

    /// One branch of a `use`: a path, and what is grouped behind it.
    fn tree(&mut self, prefix: &[String]) {
        let mut segments = prefix.to_vec();
        let mut line = self.tokens.get(self.at).map_or(0, |(line, _)| *line);
        while let Some((at_line, token)) = self.tokens.get(self.at).cloned() {
            match token {
                Token::Word(word) if word == "as" => {
                    // The new name is not part of the path.
                    self.at += 2;
                }
                Token::Word(word) => {
                    line = at_line;
                    // `a::{self}` is `a`.
                    if word != "self" || segments.is_empty() {
                        segments.push(word);
                    }
                    self.at += 1;
                }
                Token::Join | Token::Sign('*') => self.at += 1,
                Token::Sign('{') => {
                    self.at += 1;
                    self.group(&segments);
                    return;
                }
                Token::Sign(_) => break,
            }
        }
        self.add(line, &segments);
    }

    fn group(&mut self, prefix: &[String]) {
        while let Some(token) = self.peek(0) {
            match token {
                Token::Sign('}') => {
                    self.at += 1;
                    return;
                }
                Token::Sign(',') => self.at += 1,
                // A tree stops only at a sign, so every round goes on.
                Token::Word(_) | Token::Join | Token::Sign('*' | '{') => self.tree(prefix),
                Token::Sign(_) => return,
            }
        }
    }

    fn add(&mut self, line: usize, segments: &[String]) {
        if !segments.is_empty() {
            let segments = self.resolved(segments);
            self.paths.push(NamedPath { line, segments });
        }
    }

    /// `self` and `super` in front become the path from the crate's root.
    fn resolved(&self, segments: &[String]) -> Vec<String> {
        let relative = matches!(segments.first().map(String::as_str), Some("self" | "super")) && segments.len() > 1;
        if !relative {
            return segments.to_vec();
        }
        let mut absolute: Vec<String> = vec!["crate".to_owned()];
        absolute.extend(self.module.iter().cloned());
        absolute.extend(self.inner.iter().map(|(name, _)| name.clone()));
        for segment in segments {
            match segment.as_str() {
                "self" => {}
                "super" => absolute.truncate(absolute.len().saturating_sub(1).max(1)),
                name => absolute.push(name.to_owned()),
            }
        }
        absolute
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(code: &str, module: &[&str]) -> Vec<String> {
        let module: Vec<String> = module.iter().map(|segment| (*segment).to_owned()).collect();
        let long = named_paths(code, &module).into_iter().map(|path| path.segments.join("::"));
        long.filter(|path| path.contains("::") || path.ends_with('!')).collect()
    }

    #[test]
    fn a_use_names_every_path_of_its_groups() {
        let code = "use std::{env, fmt::{self, Debug}, io as input};\npub(crate) use a::b::*;";
        assert_eq!(paths(code, &[]), ["std::env", "std::fmt", "std::fmt::Debug", "std::io", "a::b"]);
    }

    #[test]
    fn paths_in_code_are_named_too() {
        assert_eq!(
            paths("fn f() { std::process::exit(1); x::<u8>(); g(a != b); todo!() }", &[]),
            ["std::process::exit", "todo!"]
        );
    }

    #[test]
    fn self_and_super_are_resolved_from_the_files_module() {
        let code = "use super::super::cache::Entry; use self::routes::Route; type A = super::Respond;";
        let expected = ["crate::cache::Entry", "crate::http::routes::routes::Route", "crate::http::Respond"];
        assert_eq!(paths(code, &["http", "routes"]), expected);
    }

    #[test]
    fn modules_inside_the_file_count() {
        let code = "mod tests { use super::super::cache; fn f() { super::g::h() } } fn i() { super::j::k() }";
        let expected = ["crate::http::cache", "crate::http::routes::g::h", "crate::http::j::k"];
        assert_eq!(paths(code, &["http", "routes"]), expected);
    }

    #[test]
    fn a_path_knows_its_line() {
        let named = named_paths("\n\nuse a::{\n    b,\n    c,\n};", &[]);
        assert_eq!(named.iter().map(|path| path.line).collect::<Vec<_>>(), [4, 5]);
    }

    #[test]
    fn text_that_is_no_rust_is_read_to_its_end() {
        for code in ["use", "use {", "use a::{b", "mod", "::", "use a::{(b)}", "use ;", "}}}}", "use a as"] {
            let _read_to_its_end = paths(code, &[]);
        }
    }
}
