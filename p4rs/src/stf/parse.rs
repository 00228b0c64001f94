//! From text to a [`Script`].
//!
//! In: text. Out: statements, or the first fault with its line.
//! Invariant: a script that parses uses every word of every line.

use std::time::Duration;

use super::command::{
    Action, Command, Compare, CounterCheck, EntryRef, Match, Place, Rate, Script, Statement,
};
use super::ports::Pattern;
use super::token::{Token, tokens, without_comment};
use super::value::{Number, Value, ValueFault};

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxFault {
    /// A keyword that no statement begins with.
    #[error("no statement begins with `{0}`")]
    Keyword(String),
    /// A character of no word and no sign.
    #[error("`{0}` does not belong here")]
    Character(char),
    /// A `"` without its partner.
    #[error("a quote is not closed")]
    OpenQuote,
    /// Something is missing or something else stands in its place.
    #[error("expected {wanted}, found {found}")]
    Expected {
        /// What should stand there.
        wanted: &'static str,
        /// What does.
        found: String,
    },
    /// A packet with an odd number of digits.
    #[error("the packet ends with half a byte")]
    HalfByte,
    /// Not a rate of a meter.
    #[error("`{0}` is not a rate")]
    Rate(String),
    /// Not a number.
    #[error(transparent)]
    Value(#[from] ValueFault),
}

/// A fault and where it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct SyntaxError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong.
    pub fault: SyntaxFault,
}

/// Reads a script.
///
/// # Errors
/// [`SyntaxError`] for the first faulty line.
pub fn parse(text: &str) -> Result<Script, SyntaxError> {
    let mut script = Script::default();
    for (i, line) in text.lines().enumerate() {
        let line = without_comment(line).trim();
        if line.is_empty() {
            continue;
        }
        let line_number = i + 1;
        let command = statement(line).map_err(|fault| SyntaxError {
            line: line_number,
            fault,
        })?;
        script.statements.push(Statement {
            line: line_number,
            command,
        });
    }
    Ok(script)
}

fn statement(line: &str) -> Result<Command, SyntaxFault> {
    let end = line
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(line.len());
    let (keyword, rest) = line.split_at(end);
    let keyword = keyword.to_ascii_lowercase();
    match keyword.as_str() {
        "packet" => return packet(rest),
        "expect" => return expect(rest),
        "check_log" => return Ok(Command::CheckLog(unquoted(rest).to_owned())),
        _ => {}
    }
    let mut words = Words {
        tokens: tokens(rest)?,
        at: 0,
    };
    let command = words.command(&keyword)?;
    // A statement may end in a semicolon.
    words.sign(";");
    match words.next() {
        None => Ok(command),
        found => Err(expected("the end of the line", found.as_ref())),
    }
}

fn unquoted(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(text)
}

fn port(rest: &str) -> Result<(u32, &str), SyntaxFault> {
    let rest = rest.trim_start();
    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
    let (word, data) = rest.split_at(end);
    if word.is_empty() {
        return Err(expected("a port", None));
    }
    Ok((Number::parse(word)?.small()?, data))
}

fn packet(rest: &str) -> Result<Command, SyntaxFault> {
    let (port, data) = port(rest)?;
    let mut digits = Vec::new();
    for c in data.chars().filter(|c| !c.is_whitespace()) {
        let digit = c.to_digit(16).ok_or(SyntaxFault::Character(c))?;
        digits.push(digit as u8);
    }
    let (pairs, half) = digits.as_chunks::<2>();
    if !half.is_empty() {
        return Err(SyntaxFault::HalfByte);
    }
    let bytes = pairs.iter().map(|[high, low]| high << 4 | low).collect();
    Ok(Command::Packet { port, bytes })
}

fn expect(rest: &str) -> Result<Command, SyntaxFault> {
    let (port, data) = port(rest)?;
    let data = data.trim();
    let (data, exact) = match data.strip_suffix('$') {
        Some(data) => (data, true),
        None => (data, false),
    };
    let mut digits = Vec::new();
    for c in data.chars().filter(|c| !c.is_whitespace()) {
        digits.push(match c {
            '*' => None,
            _ => Some(c.to_digit(16).ok_or(SyntaxFault::Character(c))? as u8),
        });
    }
    Ok(Command::Expect {
        port,
        pattern: Pattern { digits, exact },
    })
}

fn expected(wanted: &'static str, found: Option<&Token>) -> SyntaxFault {
    let found = match found {
        None => "the end of the line".to_owned(),
        Some(Token::Word(word)) => format!("`{word}`"),
        Some(Token::Sign(sign)) => format!("`{sign}`"),
    };
    SyntaxFault::Expected { wanted, found }
}

/// A line's tokens and how far they are read.
struct Words {
    tokens: Vec<Token>,
    at: usize,
}

impl Words {
    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += usize::from(token.is_some());
        token
    }

    fn peek(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead)
    }

    fn is_sign(&self, ahead: usize, wanted: &str) -> bool {
        matches!(self.peek(ahead), Some(Token::Sign(sign)) if *sign == wanted)
    }

    fn sign(&mut self, wanted: &str) -> bool {
        let there = self.is_sign(0, wanted);
        self.at += usize::from(there);
        there
    }

    fn need(&mut self, wanted: &'static str) -> Result<(), SyntaxFault> {
        if self.sign(wanted) {
            return Ok(());
        }
        Err(expected(wanted, self.peek(0)))
    }

    fn word(&mut self, wanted: &'static str) -> Result<String, SyntaxFault> {
        match self.next() {
            Some(Token::Word(word)) => Ok(word),
            found => Err(expected(wanted, found.as_ref())),
        }
    }

    fn number(&mut self) -> Result<Number, SyntaxFault> {
        Ok(Number::parse(&self.word("a number")?)?)
    }

    fn small<T: TryFrom<u64>>(&mut self) -> Result<T, SyntaxFault> {
        Ok(self.number()?.small()?)
    }

    fn numbers(&mut self) -> Result<Vec<Number>, SyntaxFault> {
        let mut found = vec![self.number()?];
        while matches!(self.peek(0), Some(Token::Word(_))) {
            found.push(self.number()?);
        }
        Ok(found)
    }

    fn ports(&mut self) -> Result<Vec<u32>, SyntaxFault> {
        let numbers = self.numbers()?;
        Ok(numbers
            .iter()
            .map(Number::small)
            .collect::<Result<_, _>>()?)
    }

    fn command(&mut self, keyword: &str) -> Result<Command, SyntaxFault> {
        Ok(match keyword {
            "add" => self.add()?,
            "setdefault" => Command::SetDefault {
                table: self.word("a table")?,
                action: self.action()?,
            },
            "remove" => self.remove()?,
            "table_set_timeout" => {
                self.word("a table")?;
                Command::SetTimeout {
                    id: self.id()?,
                    timeout: Duration::from_millis(self.small()?),
                }
            }
            "no_packet" => Command::NoPacket,
            "wait" => Command::Wait(self.wait()?),
            "mirroring_add" => Command::MirroringAdd {
                session: self.small()?,
                port: self.small()?,
            },
            "mirroring_add_mc" => Command::MirroringAddGroup {
                session: self.small()?,
                group: self.small()?,
            },
            "mirroring_delete" => Command::MirroringDelete(self.small()?),
            "mirroring_get" => Command::MirroringGet(self.small()?),
            "mc_mgrp_create" => Command::GroupCreate(self.small()?),
            "mc_mgrp_destroy" => Command::GroupDestroy(self.small()?),
            "mc_node_create" => Command::NodeCreate {
                rid: self.small()?,
                ports: self.ports()?,
            },
            "mc_node_update" => Command::NodeUpdate {
                node: self.small()?,
                ports: self.ports()?,
            },
            "mc_node_associate" => Command::NodeAssociate {
                group: self.small()?,
                node: self.small()?,
            },
            "mc_node_dissociate" => Command::NodeDissociate {
                group: self.small()?,
                node: self.small()?,
            },
            "host_port" => Command::HostPort(self.small()?),
            _ => return self.state_command(keyword),
        })
    }

    fn state_command(&mut self, keyword: &str) -> Result<Command, SyntaxFault> {
        Ok(match keyword {
            "check_counter" => self.check_counter()?,
            "check_register" => self.check_register()?,
            "check_entries" => Command::CheckEntries {
                table: self.word("a table")?,
                compare: self.compare()?,
                count: self.small()?,
            },
            "check_digest" => Command::CheckDigest {
                receiver: self.small()?,
                values: self.numbers()?,
            },
            "check_idle" => Command::CheckIdle(self.id()?),
            "counter_read" => Command::CounterRead {
                counter: self.word("a counter")?,
                place: self.place()?,
            },
            "counter_write" => Command::CounterWrite {
                counter: self.word("a counter")?,
                place: self.place()?,
                packets: self.small()?,
                bytes: self.small()?,
            },
            "register_read" => Command::RegisterRead {
                register: self.word("a register")?,
                index: self.small()?,
            },
            "register_write" => Command::RegisterWrite {
                register: self.word("a register")?,
                index: self.small()?,
                values: self.numbers()?,
            },
            "register_reset" => Command::RegisterReset(self.word("a register")?),
            "meter_get_rates" => Command::MeterGetRates {
                meter: self.word("a meter")?,
                index: self.small()?,
            },
            "meter_set_rates" => Command::MeterSetRates {
                meter: self.word("a meter")?,
                place: self.place()?,
                rates: (self.rate()?, self.rate()?),
            },
            "meter_array_set_rates" => Command::MeterArraySetRates {
                meter: self.word("a meter")?,
                rates: (self.rate()?, self.rate()?),
            },
            "pvs_add" => {
                let set = self.word("a value set")?;
                let mut values = vec![self.value()?];
                while self.peek(0).is_some() {
                    values.push(self.value()?);
                }
                Command::ValueSetAdd { set, values }
            }
            "pvs_clear" => Command::ValueSetClear(self.word("a value set")?),
            _ => return Err(SyntaxFault::Keyword(keyword.to_owned())),
        })
    }

    fn add(&mut self) -> Result<Command, SyntaxFault> {
        let table = self.word("a table")?;
        let priority = self.priority()?;
        let keys = self.matches()?;
        let mut actions = vec![self.action()?];
        while self.sign("|") {
            actions.push(self.action()?);
        }
        let id = match self.sign("=") {
            true => Some(self.id()?),
            false => None,
        };
        Ok(Command::Add {
            table,
            priority,
            keys,
            actions,
            id,
        })
    }

    /// A number that is neither a key nor an action.
    fn priority(&mut self) -> Result<Option<u32>, SyntaxFault> {
        let digits = matches!(self.peek(0), Some(Token::Word(word)) if word.bytes().all(|b| b.is_ascii_digit()));
        if !digits || self.is_sign(1, ":") {
            return Ok(None);
        }
        self.small().map(Some)
    }

    fn matches(&mut self) -> Result<Vec<Match>, SyntaxFault> {
        let mut keys = Vec::new();
        while self.is_sign(1, ":") {
            let field = self.word("a key field")?;
            self.need(":")?;
            keys.push(Match {
                field,
                value: self.value()?,
            });
            self.sign(",");
        }
        Ok(keys)
    }

    fn value(&mut self) -> Result<Value, SyntaxFault> {
        let first = self.number()?;
        Ok(if self.sign("/") {
            Value::Prefix(first, self.small()?)
        } else if self.sign("&&&") {
            Value::Mask(first, self.number()?)
        } else if self.sign("..") || self.sign("->") {
            Value::Range(first, self.number()?)
        } else {
            Value::Number(first)
        })
    }

    fn action(&mut self) -> Result<Action, SyntaxFault> {
        let name = self.word("an action")?;
        let mut args = Vec::new();
        self.need("(")?;
        while !self.sign(")") {
            let param = self.word("a parameter or `)`")?;
            self.need(":")?;
            args.push((param, self.number()?));
            self.sign(",");
        }
        Ok(Action { name, args })
    }

    fn remove(&mut self) -> Result<Command, SyntaxFault> {
        let word = self.word("`all`, a table or an entry")?;
        if word.eq_ignore_ascii_case("all") && self.peek(0).is_none() {
            return Ok(Command::RemoveAll);
        }
        if let Some(id) = word.strip_prefix('$') {
            return Ok(Command::Remove(EntryRef::Id(id.to_owned())));
        }
        Ok(Command::Remove(EntryRef::Match {
            table: word,
            priority: self.priority()?,
            keys: self.matches()?,
        }))
    }

    fn wait(&mut self) -> Result<Duration, SyntaxFault> {
        if self.peek(0).is_none() || self.is_sign(0, ";") {
            return Ok(Duration::from_secs(1));
        }
        let word = self.word("a number of seconds")?;
        word.parse::<f64>()
            .ok()
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .ok_or_else(|| ValueFault::NotANumber(word).into())
    }

    /// An entry's name, with or without `$`.
    fn id(&mut self) -> Result<String, SyntaxFault> {
        let word = self.word("an entry's name")?;
        Ok(word.strip_prefix('$').unwrap_or(&word).to_owned())
    }

    fn place(&mut self) -> Result<Place, SyntaxFault> {
        match self.peek(0) {
            Some(Token::Word(word)) if word.starts_with(|c: char| c.is_ascii_digit()) => {
                Ok(Place::Index(self.small()?))
            }
            _ => Ok(Place::Entry(self.id()?)),
        }
    }

    fn place_in_parentheses(&mut self) -> Result<Place, SyntaxFault> {
        self.need("(")?;
        let place = self.place()?;
        self.need(")")?;
        Ok(place)
    }

    fn check_counter(&mut self) -> Result<Command, SyntaxFault> {
        let counter = self.word("a counter")?;
        let place = self.place_in_parentheses()?;
        let wanted = match self.peek(0) {
            None => None,
            Some(_) => Some(CounterCheck {
                bytes: match self
                    .word("`packets` or `bytes`")?
                    .to_ascii_lowercase()
                    .as_str()
                {
                    "bytes" => true,
                    "packets" => false,
                    other => {
                        let found = Token::Word(other.to_owned());
                        return Err(expected("`packets` or `bytes`", Some(&found)));
                    }
                },
                compare: self.compare()?,
                value: self.small()?,
            }),
        };
        Ok(Command::CheckCounter {
            counter,
            place,
            wanted,
        })
    }

    fn check_register(&mut self) -> Result<Command, SyntaxFault> {
        let register = self.word("a register")?;
        self.need("(")?;
        let index = self.small()?;
        self.need(")")?;
        Ok(Command::CheckRegister {
            register,
            index,
            compare: self.compare()?,
            values: self.numbers()?,
        })
    }

    fn compare(&mut self) -> Result<Compare, SyntaxFault> {
        let token = self.next();
        let Some(Token::Sign(sign)) = token else {
            return Err(expected("a comparison", token.as_ref()));
        };
        Ok(match sign {
            "==" | "=" => Compare::Equal,
            "!=" => Compare::NotEqual,
            "<" => Compare::Less,
            "<=" => Compare::LessOrEqual,
            ">" => Compare::Greater,
            ">=" => Compare::GreaterOrEqual,
            _ => return Err(expected("a comparison", Some(&Token::Sign(sign)))),
        })
    }

    /// `RATE:BURST`, the rate in units per microsecond.
    fn rate(&mut self) -> Result<Rate, SyntaxFault> {
        let word = self.word("a rate")?;
        let per_microsecond: f64 = word
            .parse()
            .ok()
            .filter(|rate: &f64| rate.is_finite() && *rate >= 0.0)
            .ok_or(SyntaxFault::Rate(word))?;
        self.need(":")?;
        Ok(Rate {
            // Saturates: no meter is faster than 2^64 units per second.
            per_second: (per_microsecond * 1e6).round() as u64,
            burst: self.small()?,
        })
    }
}
