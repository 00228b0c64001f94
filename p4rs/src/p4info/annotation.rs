//! Annotations as P4Info carries them: source text for unstructured ones, values for structured ones, and
//! `@brief`/`@description` as documentation.
//!
//! In: the annotations of an object. Out: parts of its message. `@name`, `@id`, `@brief` and `@description` have
//! fields of their own and are left out. Unstructured bodies are printed as p4c prints them: the tokens with one
//! space between.

use num_bigint::BigInt;
use p4runtime_proto::p4::config::v1 as pb;

use crate::ir::{Annotated, Annotation, AnnotationBody, AnnotationValue};

const OWN_FIELDS: [&str; 4] = ["name", "id", "brief", "description"];

/// Appends the annotations of `from`, but for those with fields of their own and those named in `skip`.
pub(super) fn fill(
    from: &impl Annotated,
    skip: &[&str],
    texts: &mut Vec<String>,
    structured: &mut Vec<pb::StructuredAnnotation>,
) {
    for annotation in from.annotations() {
        match &annotation.body {
            AnnotationBody::Unstructured(body) => {
                let name = annotation.name.as_str();
                if !OWN_FIELDS.contains(&name) && !skip.contains(&name) {
                    texts.push(print(name, body));
                }
            }
            AnnotationBody::Expressions(_) | AnnotationBody::KeyValues(_) => {
                structured.push(structure(annotation));
            }
        }
    }
}

/// `@brief` and `@description`, if there is either.
pub(super) fn documentation(from: &impl Annotated) -> Option<pb::Documentation> {
    let brief = from.annotation_string("brief");
    let description = from.annotation_string("description");
    (brief.is_some() || description.is_some()).then(|| pb::Documentation {
        brief: brief.unwrap_or_default(),
        description: description.unwrap_or_default(),
    })
}

fn print(name: &str, body: &str) -> String {
    let tokens = tokens(body);
    if tokens.is_empty() {
        format!("@{name}")
    } else {
        format!("@{name}({})", tokens.join(" "))
    }
}

/// Cuts source text into P4 tokens: string literals, words, operators.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '"' => string_end(rest),
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            _ => operator_end(rest, first),
        };
        tokens.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn operator_end(text: &str, first: char) -> usize {
    const LONG: [&str; 16] = [
        "&&&", "...", "|+|", "|-|", "<<", "&&", "||", "==", "!=", ">=", "<=", "++", "..", "+=",
        "-=", "=>",
    ];
    LONG.iter()
        .find(|op| text.starts_with(**op))
        .map_or(first.len_utf8(), |op| op.len())
}

fn structure(annotation: &Annotation) -> pb::StructuredAnnotation {
    use pb::structured_annotation::Body;
    let body = match &annotation.body {
        // An empty list sets neither field in p4c's output.
        AnnotationBody::Expressions(values) if values.is_empty() => None,
        AnnotationBody::Expressions(values) => {
            let expressions = values.iter().map(expression).collect();
            Some(Body::ExpressionList(pb::ExpressionList { expressions }))
        }
        AnnotationBody::KeyValues(pairs) => {
            let pair = |(key, value): &(String, AnnotationValue)| pb::KeyValuePair {
                key: key.clone(),
                value: Some(expression(value)),
            };
            Some(Body::KvPairList(pb::KeyValuePairList {
                kv_pairs: pairs.iter().map(pair).collect(),
            }))
        }
        AnnotationBody::Unstructured(_) => None,
    };
    pb::StructuredAnnotation {
        name: annotation.name.clone(),
        body,
        ..Default::default()
    }
}

fn expression(value: &AnnotationValue) -> pb::Expression {
    use pb::expression::Value;
    let value = match value {
        AnnotationValue::String(text) => Value::StringValue(text.clone()),
        AnnotationValue::Int(int) => Value::Int64Value(i64::try_from(int).unwrap_or_default()),
        AnnotationValue::Bool(value) => Value::BoolValue(*value),
    };
    pb::Expression { value: Some(value) }
}

/// `key = value, …` of an unstructured annotation (`@pkginfo(name = "x")`); pairs that are not literals are left out.
pub(super) fn key_values(text: &str) -> Vec<(String, AnnotationValue)> {
    let tokens = tokens(text);
    let pairs = tokens.split(|&token| token == ",");
    pairs
        .filter_map(|pair| match pair {
            [key, "=", value] => Some(((*key).to_owned(), literal(value)?)),
            _ => None,
        })
        .collect()
}

fn literal(token: &str) -> Option<AnnotationValue> {
    if token.starts_with('"') {
        return AnnotationBody::Unstructured(token.to_owned())
            .values()
            .into_iter()
            .next();
    }
    match token {
        "true" => Some(AnnotationValue::Bool(true)),
        "false" => Some(AnnotationValue::Bool(false)),
        _ => BigInt::parse_bytes(token.as_bytes(), 10).map(AnnotationValue::Int),
    }
}

/// The second argument of `@p4runtime_translation("uri", …)`: `string`, `bit<W>` or a number.
pub(super) fn translation(from: &impl Annotated) -> Option<(String, Option<i32>)> {
    let annotation = from.annotation("p4runtime_translation")?;
    let AnnotationBody::Unstructured(text) = &annotation.body else {
        return translation_values(&annotation.body.values());
    };
    let tokens = tokens(text);
    let (uri, rest) = tokens.split_first()?;
    let AnnotationValue::String(uri) = literal(uri)? else {
        return None;
    };
    match rest {
        [",", "string"] => Some((uri, None)),
        [",", "bit", "<", width, ">"] | [",", width] => match literal(width)? {
            AnnotationValue::Int(width) => Some((uri, Some(i32::try_from(width).ok()?))),
            AnnotationValue::String(_) => Some((uri, None)),
            AnnotationValue::Bool(_) => None,
        },
        _ => None,
    }
}

fn translation_values(values: &[AnnotationValue]) -> Option<(String, Option<i32>)> {
    match values {
        [AnnotationValue::String(uri), AnnotationValue::Int(width)] => {
            Some((uri.clone(), Some(i32::try_from(width).ok()?)))
        }
        [AnnotationValue::String(uri), AnnotationValue::String(_)] => Some((uri.clone(), None)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unstructured_bodies_are_their_tokens() {
        assert_eq!(print("hidden", ""), "@hidden");
        assert_eq!(print("noWarn", "\"unused\""), "@noWarn(\"unused\")");
        assert_eq!(
            print("refers_to", "builtin::group, id"),
            "@refers_to(builtin : : group , id)"
        );
        assert_eq!(print("f", "A/B"), "@f(A / B)");
        let nested = "@sai_field(X), @sai_field(Y)";
        assert_eq!(
            print("c", nested),
            "@c(@ sai_field ( X ) , @ sai_field ( Y ))"
        );
    }

    #[test]
    fn an_unclosed_string_ends_with_the_text() {
        assert_eq!(tokens("\"abc\\\""), ["\"abc\\\""]);
    }

    #[test]
    fn translations_are_strings_or_widths() {
        let annotated = |text: &str| {
            vec![Annotation {
                name: "p4runtime_translation".into(),
                body: AnnotationBody::Unstructured(text.into()),
            }]
        };
        assert_eq!(
            translation(&annotated("\"u/r\", string")),
            Some(("u/r".into(), None))
        );
        assert_eq!(
            translation(&annotated("\"u\", bit<32>")),
            Some(("u".into(), Some(32)))
        );
        assert_eq!(
            translation(&annotated("\"u\", 9")),
            Some(("u".into(), Some(9)))
        );
        assert_eq!(translation(&annotated("\"u\"")), None);
    }

    #[test]
    fn key_value_pairs_of_an_unstructured_body() {
        let pairs = key_values("name = \"a.p4\", size = 7, other = x");
        assert_eq!(
            pairs,
            [
                ("name".into(), AnnotationValue::String("a.p4".into())),
                ("size".into(), AnnotationValue::Int(7.into()))
            ]
        );
    }
}
