//! What one file says.
//!
//! In: the text of a file: YAML with any number of documents, or JSON; lists of objects too. Out: model objects in
//! order; kinds that do not concern Services are passed over. One mistake refuses the file, with the line it stands in.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::ServiceCIDR;

use super::super::convert::{self, ConvertError, Converted};
use crate::model;

/// An object of a kind that matters.
#[derive(Clone, Debug)]
pub enum Object {
    /// A Service.
    Service(model::Service),
    /// A slice.
    Slice(model::EndpointSlice),
    /// A node.
    Node(model::Node),
    /// A range of cluster IPs.
    ServiceCidr(model::ServiceCidr),
    /// A pod.
    Pod(model::Pod),
}

/// A mistake in a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct DocumentError {
    /// Where.
    pub line: u64,
    /// What.
    pub reason: String,
}

/// One document of a YAML file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Document<'a> {
    /// Lines of the file before it.
    before: u64,
    text: &'a str,
}

#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    kind: Option<String>,
}

#[derive(Deserialize)]
#[serde(bound = "")]
struct List {
    #[serde(default = "Vec::new")]
    items: Vec<serde_saphyr::Spanned<serde_json::Value>>,
}

/// Reads a YAML file.
///
/// # Errors
/// The first mistake.
pub fn read_yaml(text: &str) -> Result<Vec<Object>, DocumentError> {
    let mut objects = Vec::new();
    for document in split(text) {
        let Some(kind) = kind_of(&document)? else {
            continue;
        };
        match kind.as_ref() {
            "Service" => objects.push(read_service(
                &parse::<Service>(&document)?,
                document.before + 1,
            )?),
            "EndpointSlice" => objects.push(read_slice(
                &parse::<EndpointSlice>(&document)?,
                document.before + 1,
            )?),
            "Node" => objects.push(read_node(&parse::<Node>(&document)?, document.before + 1)?),
            "ServiceCIDR" => objects.push(read_service_cidr(
                &parse::<ServiceCIDR>(&document)?,
                document.before + 1,
            )?),
            "Pod" => objects.push(read_pod(&parse::<Pod>(&document)?, document.before + 1)?),
            list if is_list(list) => {
                for item in parse::<List>(&document)?.items {
                    let line = document.before + item.referenced.line().max(1);
                    objects.extend(read_value(item.value, Some(list), line)?);
                }
            }
            _ => {}
        }
    }
    Ok(objects)
}

/// Reads a JSON file: one value, or several one after another.
///
/// # Errors
/// The first mistake.
pub fn read_json(text: &str) -> Result<Vec<Object>, DocumentError> {
    let mut objects = Vec::new();
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>();
    loop {
        let line = line_at(text, values.byte_offset());
        match values.next() {
            None => return Ok(objects),
            Some(Ok(value)) => objects.extend(read_value(value, None, line)?),
            Some(Err(error)) => {
                return Err(DocumentError {
                    line: error.line() as u64,
                    reason: crate::config::first_line(&error.to_string()),
                });
            }
        }
    }
}

/// Line of the first text at or behind a position.
fn line_at(text: &str, position: usize) -> u64 {
    let blank = text[position..].len() - text[position..].trim_start().len();
    1 + text[..position + blank]
        .bytes()
        .filter(|b| *b == b'\n')
        .count() as u64
}

/// Lists of anything (`List`), and lists as the API server gives them, whose items leave their kind out.
fn is_list(kind: &str) -> bool {
    matches!(
        kind,
        "List" | "ServiceList" | "EndpointSliceList" | "NodeList" | "ServiceCIDRList" | "PodList"
    )
}

fn read_value(
    value: serde_json::Value,
    list: Option<&str>,
    line: u64,
) -> Result<Vec<Object>, DocumentError> {
    let own = value
        .get("kind")
        .and_then(serde_json::Value::as_str)
        .map(str::to_owned);
    let implied = list
        .and_then(|list| list.strip_suffix("List"))
        .filter(|kind| !kind.is_empty())
        .map(str::to_owned);
    match own.or(implied).as_deref() {
        Some("Service") => Ok(vec![read_service(&from_value(value, line)?, line)?]),
        Some("EndpointSlice") => Ok(vec![read_slice(&from_value(value, line)?, line)?]),
        Some("Node") => Ok(vec![read_node(&from_value(value, line)?, line)?]),
        Some("ServiceCIDR") => Ok(vec![read_service_cidr(&from_value(value, line)?, line)?]),
        Some("Pod") => Ok(vec![read_pod(&from_value(value, line)?, line)?]),
        Some(kind) if is_list(kind) => {
            let kind = kind.to_owned();
            let items = match value {
                serde_json::Value::Object(mut fields) => fields.remove("items"),
                _ => None,
            };
            let mut objects = Vec::new();
            if let Some(serde_json::Value::Array(items)) = items {
                for item in items {
                    objects.extend(read_value(item, Some(&kind), line)?);
                }
            }
            Ok(objects)
        }
        Some(_) => Ok(Vec::new()),
        None => Err(no_kind(line)),
    }
}

fn no_kind(line: u64) -> DocumentError {
    DocumentError {
        line,
        reason: "this is no Kubernetes object: it has no `kind`".to_owned(),
    }
}

fn from_value<T: DeserializeOwned>(
    value: serde_json::Value,
    line: u64,
) -> Result<T, DocumentError> {
    serde_json::from_value(value).map_err(|error| DocumentError {
        line,
        reason: format!("in the object that starts here: {error}"),
    })
}

fn read_service(from: &Service, line: u64) -> Result<Object, DocumentError> {
    Ok(Object::Service(taken(
        convert::service(from),
        "Service",
        line,
    )?))
}

fn read_slice(from: &EndpointSlice, line: u64) -> Result<Object, DocumentError> {
    Ok(Object::Slice(taken(
        convert::slice(from),
        "EndpointSlice",
        line,
    )?))
}

fn read_node(from: &Node, line: u64) -> Result<Object, DocumentError> {
    Ok(Object::Node(taken(convert::node(from), "Node", line)?))
}

fn read_service_cidr(from: &ServiceCIDR, line: u64) -> Result<Object, DocumentError> {
    let converted = convert::service_cidr(from);
    Ok(Object::ServiceCidr(taken(converted, "ServiceCIDR", line)?))
}

fn read_pod(from: &Pod, line: u64) -> Result<Object, DocumentError> {
    Ok(Object::Pod(taken(convert::pod(from), "Pod", line)?))
}

fn taken<T>(
    converted: Result<Converted<T>, ConvertError>,
    kind: &'static str,
    line: u64,
) -> Result<T, DocumentError> {
    let converted = converted.map_err(|error| DocumentError {
        line,
        reason: error.to_string(),
    })?;
    converted.report(kind);
    Ok(converted.object)
}

/// The kind of a document; none if it says nothing at all.
fn kind_of<'a>(
    document: &Document<'a>,
) -> Result<Option<std::borrow::Cow<'a, str>>, DocumentError> {
    let mut nothing = true;
    for line in document.text.lines() {
        let bare = line.trim();
        if bare.is_empty() || bare.starts_with('#') || line.starts_with('%') {
            continue;
        }
        nothing = false;
        // The usual form needs no second parse.
        if let Some(kind) = line.strip_prefix("kind:") {
            let kind = kind.trim();
            if !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric()) {
                return Ok(Some(kind.into()));
            }
        }
    }
    if nothing {
        return Ok(None);
    }
    match parse::<Option<Head>>(document)? {
        None => Ok(None),
        Some(Head { kind: Some(kind) }) => Ok(Some(kind.into())),
        Some(Head { kind: None }) => Err(no_kind(document.before + 1)),
    }
}

/// Large lists are ordinary; the limits only stop documents that blow themselves up by references.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: usize::MAX,
            max_nodes: usize::MAX,
            max_total_scalar_bytes: usize::MAX,
            max_total_comment_bytes: usize::MAX,
        },
    }
}

fn parse<T: DeserializeOwned>(document: &Document<'_>) -> Result<T, DocumentError> {
    serde_saphyr::from_str_with_options(document.text, options()).map_err(|error| DocumentError {
        line: document.before + error.location().map_or(1, |at| at.line()).max(1),
        reason: crate::config::first_line(&error.without_snippet().to_string()),
    })
}

/// Cuts a file at its document markers. A marker stands at the start of a line; no content can look like it.
fn split(text: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let (mut start, mut before) = (0, 0);
    let mut position = 0;
    for (number, line) in (0..).zip(text.split_inclusive('\n')) {
        let is_marker = |marker: &str| {
            line.strip_prefix(marker)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
        };
        if is_marker("---") || is_marker("...") {
            documents.push(Document {
                before,
                text: &text[start..position],
            });
            (start, before) = (position + 3, number);
        }
        position += line.len();
    }
    documents.push(Document {
        before,
        text: &text[start..],
    });
    documents
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(objects: &[Object]) -> Vec<String> {
        objects
            .iter()
            .map(|object| match object {
                Object::Service(service) => format!("service {}", service.key),
                Object::Slice(slice) => format!("slice {}", slice.key),
                Object::Node(node) => format!("node {} {}", node.name, node.is_eligible()),
                Object::ServiceCidr(range) => format!("service cidr {}", range.name),
                Object::Pod(pod) => format!("pod {}", pod.key),
            })
            .collect()
    }

    #[test]
    fn several_documents_and_lists() {
        let text = "
# a comment first
apiVersion: v1
kind: Service
metadata: {name: a, namespace: x}
--- # the next
kind: ConfigMap
apiVersion: v1
metadata: {name: ignored}
data:
  text: |
    --- not a marker, it is indented
---
---
{apiVersion: v1, kind: Service, metadata: {name: b}}
---
apiVersion: v1
kind: List
items:
- apiVersion: discovery.k8s.io/v1
  kind: EndpointSlice
  metadata: {name: c}
  addressType: IPv4
  endpoints: []
- apiVersion: v1
  kind: Node
  metadata: {name: d}
  spec: {taints: [{key: ToBeDeletedByClusterAutoscaler, effect: NoSchedule}]}
...
---
apiVersion: v1
kind: ServiceList
items:
- metadata: {name: e}
";
        let objects = read_yaml(text).unwrap();
        let expected = [
            "service x/a",
            "service default/b",
            "slice default/c",
            "node d false",
            "service default/e",
        ];
        assert_eq!(names(&objects), expected);
        assert_eq!(names(&read_yaml("").unwrap()), [""; 0]);
        assert_eq!(names(&read_yaml("---\n# nothing\n").unwrap()), [""; 0]);
    }

    #[test]
    fn json() {
        let text = r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"}}
{"apiVersion":"v1","kind":"List","items":[
 {"apiVersion":"v1","kind":"Service","metadata":{"name":"b"}}]}"#;
        assert_eq!(
            names(&read_json(text).unwrap()),
            ["service default/a", "service default/b"]
        );
        assert_eq!(read_json("{\n \"kind\": }").unwrap_err().line, 2);
        let error = read_json("\n\n{\"kind\":\"Service\",\"metadata\":{\"name\":7}}").unwrap_err();
        assert_eq!(error.line, 3, "{error}");
    }

    #[test]
    fn mistakes_have_lines() {
        let service = "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n";
        for (text, line, words) in [
            (
                format!("{service}---\n{service}spec:\n  ports:\n  - port: many\n"),
                12,
                "i32",
            ),
            (format!("{service}---\n{service}spec: [\n"), 10, ""),
            (format!("{service}---\nfoo: bar\n"), 6, "kind"),
            (
                format!("{service}---\napiVersion: v1\nkind: Service\nmetadata: {{}}\n"),
                6,
                "name",
            ),
            (
                "kind: List\nitems:\n- {kind: Node, apiVersion: v1, metadata: {name: [1]}}\n"
                    .to_owned(),
                3,
                "starts here",
            ),
            ("just words\n".to_owned(), 1, ""),
        ] {
            let error = read_yaml(&text).unwrap_err();
            assert!(
                error.line >= line.max(2) - 1 && error.line <= line + 1,
                "{text}\n{error}"
            );
            assert!(error.reason.contains(words), "{error}");
        }
    }

    #[test]
    fn markers() {
        let cut: Vec<_> = split("a\n---\nb\n--- c\n---d\n...\ne")
            .iter()
            .map(|d| (d.before, d.text))
            .collect();
        assert_eq!(
            cut,
            [(0, "a\n"), (1, "\nb\n"), (3, " c\n---d\n"), (5, "\ne")]
        );
    }
}
