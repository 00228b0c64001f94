//! A running nicproxy, asked over HTTP.
//!
//! In: a URL, a path, a question. Out: its answer. nicproxy serves plain HTTP, on loopback unless told otherwise.

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Uri};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Posts a question.
///
/// # Errors
/// When nobody answers, or the answer is that it cannot be done.
pub async fn post<T: DeserializeOwned>(
    url: &str,
    path: &str,
    question: &impl Serialize,
) -> anyhow::Result<T> {
    let uri: Uri = url.parse().context("this is no URL")?;
    if uri.scheme_str() != Some("http") {
        bail!("nicproxy answers to http://");
    }
    let authority = uri.authority().context("the URL has no host")?;
    let address = (
        authority.host().trim_matches(['[', ']']),
        authority.port_u16().unwrap_or(80),
    );
    let stream = tokio::net::TcpStream::connect(address)
        .await
        .context("no connection")?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the sender, and what goes wrong is seen there.
    let connection = tokio::spawn(connection);
    let body = serde_json::to_vec(question).context("the question cannot be written")?;
    let request = hyper::Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(HOST, authority.as_str())
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))?;
    let answer = sender.send_request(request).await.context("no answer")?;
    let status = answer.status();
    let body = answer
        .into_body()
        .collect()
        .await
        .context("the answer broke off")?;
    connection.abort();
    let body = body.to_bytes();
    if !status.is_success() {
        bail!("{status}: {}", String::from_utf8_lossy(&body).trim());
    }
    serde_json::from_slice(&body).context("the answer makes no sense: another version?")
}
