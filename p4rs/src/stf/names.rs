//! Names in scripts: whole control-plane names or ends of them.
//!
//! In: a name as written. Out: the one object that is meant. Invariant: a name that could mean two objects means none.

/// Why a name means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
    /// Nothing is called so.
    #[error("there is no {kind} `{name}`")]
    Unknown {
        /// What was looked for.
        kind: &'static str,
        /// As written.
        name: String,
    },
    /// Several are.
    #[error("`{name}` may be any of these {kind}s: {}", candidates.join(", "))]
    Ambiguous {
        /// What was looked for.
        kind: &'static str,
        /// As written.
        name: String,
        /// Their whole names.
        candidates: Vec<String>,
    },
}

/// How well a name fits: the whole of it, its end behind a dot, just its end.
fn fits(full: &str, name: &str) -> [bool; 3] {
    let end = full.strip_suffix(name);
    [
        end == Some(""),
        end.is_some_and(|front| front.ends_with('.')),
        end.is_some(),
    ]
}

/// The one of `all` that `name` means; a better fit goes before a worse one.
pub(super) fn find<'a, T: Copy>(
    kind: &'static str,
    name: &str,
    all: impl Iterator<Item = (T, &'a str)>,
) -> Result<T, NameFault> {
    let wanted = name.strip_prefix('.').unwrap_or(name);
    let all: Vec<(T, &str)> = all.collect();
    for grade in 0..3 {
        let fitting = all.iter().filter(|(_, full)| fits(full, wanted)[grade]);
        let found: Vec<&(T, &str)> = fitting.collect();
        match found.as_slice() {
            [] => {}
            [(one, _)] if !wanted.is_empty() => return Ok(*one),
            _ => {
                return Err(NameFault::Ambiguous {
                    kind,
                    name: name.to_owned(),
                    candidates: found.iter().map(|(_, full)| (*full).to_owned()).collect(),
                });
            }
        }
    }
    Err(NameFault::Unknown {
        kind,
        name: name.to_owned(),
    })
}

/// The key field that `name` means. Scripts write `name$1.field` for an element of a stack, and leave out the
/// `$valid$` of a header's validity.
pub(super) fn find_key(name: &str, fields: &[String]) -> Result<usize, NameFault> {
    let name = element(name);
    let all = || fields.iter().map(String::as_str).enumerate();
    let plain = find("key field", &name, all());
    let stem = name.strip_suffix("valid").unwrap_or(&name);
    let stem = stem.strip_suffix(['.', '$']).unwrap_or(stem);
    let validity = if stem.is_empty() {
        "$valid$".to_owned()
    } else {
        format!("{stem}.$valid$")
    };
    match plain {
        Err(NameFault::Unknown { .. }) => find("key field", &validity, all())
            .or_else(|_| find("key field", &format!("{name}$"), all()))
            .or(plain),
        found => found,
    }
}

/// `stack$1.field` as `stack[1].field`.
fn element(name: &str) -> String {
    let Some((stack, rest)) = name.split_once('$') else {
        return name.to_owned();
    };
    let digits = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    if digits == 0 {
        return name.to_owned();
    }
    format!("{stack}[{}]{}", &rest[..digits], &rest[digits..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_names_go_before_ends() {
        let all = ["a.t", "t", "b.xt"];
        let find = |name| find("table", name, all.iter().copied().enumerate());
        assert_eq!(find("t"), Ok(1));
        assert_eq!(find("a.t"), Ok(0));
        assert_eq!(find("xt"), Ok(2));
        assert_eq!(find(".xt"), Ok(2));
        assert!(matches!(find("z"), Err(NameFault::Unknown { .. })));
        assert!(matches!(find(""), Err(NameFault::Ambiguous { .. })));
    }

    #[test]
    fn stacks_and_validity() {
        let fields = ["h.s[1].f", "h.ip.$valid$"].map(str::to_owned);
        assert_eq!(find_key("s$1.f", &fields), Ok(0));
        assert_eq!(find_key("ip", &fields), Ok(1));
        assert_eq!(find_key("h.ip.valid", &fields), Ok(1));
        assert_eq!(find_key("ip.$valid", &fields), Ok(1));
        assert!(find_key("tcp", &fields).is_err());
    }
}
