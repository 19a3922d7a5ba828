//! gRPC over the HTTP server: calls with one message each way.
//!
//! Owns: the frame around a message, statuses and how they are told. Never: messages; they are bytes.
//!
//! Written to gRPC's `PROTOCOL-HTTP2.md`, `statuscodes.md`, and `google/rpc/status.proto` with
//! `error_details.proto` for the time after which a call may be repeated.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};

/// What a response is.
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");
/// Bytes in front of a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// Bytes of a status's message. It stands in a header, twice.
const MESSAGE_BYTES_MAX: usize = 1024;

/// How a call ended: those of gRPC's codes that we give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The request cannot be used as it is; to repeat it will not help.
    InvalidArgument = 3,
    /// It took too long.
    DeadlineExceeded = 4,
    /// There is no room for it now.
    ResourceExhausted = 8,
    /// The method, or the compression, is not there.
    Unimplemented = 12,
    /// A frame that gRPC does not know.
    Internal = 13,
    /// No token, or a wrong one.
    Unauthenticated = 16,
}

/// A call that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// How it ended.
    pub code: Code,
    /// Why, and what to do.
    pub message: String,
    /// After which time the caller may repeat it. Without it `ResourceExhausted` says that to repeat
    /// it will not help.
    pub retry_after: Option<Duration>,
}

/// A message as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Whether it is compressed, in the way that header `grpc-encoding` names.
    pub compressed: bool,
    /// Its bytes.
    pub bytes: Bytes,
}

/// Whether a request is a call.
#[must_use]
pub fn is_call(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = kind.and_then(|kind| kind.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The one message of a call's body.
///
/// # Errors
/// When there is none, or more than one, or it is cut.
pub fn message(mut body: Bytes) -> Result<Message, Status> {
    const NONE: &str = "a call of this method holds exactly one message";
    let broken = || Status::new(Code::Internal, NONE);
    if body.len() < PREFIX_BYTES {
        return Err(broken());
    }
    let prefix = body.split_to(PREFIX_BYTES);
    let (flag, len) = prefix.split_first().ok_or_else(broken)?;
    let len = <[u8; 4]>::try_from(len).map_err(|_length| broken())?;
    if usize::try_from(u32::from_be_bytes(len)).ok() != Some(body.len()) || *flag > 1 {
        return Err(broken());
    }
    Ok(Message { compressed: *flag == 1, bytes: body })
}

/// The answer to a call that went well.
#[must_use]
pub fn reply(message: &[u8]) -> Response {
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    framed.extend_from_slice(&[0]);
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend_from_slice(message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(framed.freeze()).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, CONTENT_TYPE);
    response
}

impl Code {
    /// The code for a status of HTTP.
    pub(super) fn of_http(status: StatusCode) -> Self {
        match status {
            StatusCode::REQUEST_TIMEOUT => Self::DeadlineExceeded,
            StatusCode::TOO_MANY_REQUESTS => Self::ResourceExhausted,
            _ => Self::InvalidArgument,
        }
    }
}

impl Status {
    /// A status without a time after which to repeat the call.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after: None }
    }

    /// `google.rpc.Status` with a `RetryInfo`.
    fn details(&self, retry_after: Duration) -> Vec<u8> {
        let mut delay = Vec::new();
        number(1, retry_after.as_secs(), &mut delay);
        number(2, u64::from(retry_after.subsec_nanos()), &mut delay);
        let mut info = Vec::new();
        field(1, &delay, &mut info);
        let mut any = Vec::new();
        field(1, b"type.googleapis.com/google.rpc.RetryInfo", &mut any);
        field(2, &info, &mut any);
        let mut status = Vec::new();
        number(1, self.code as u64, &mut status);
        field(2, self.told().as_bytes(), &mut status);
        field(3, &any, &mut status);
        status
    }

    fn told(&self) -> &str {
        let end = self.message.floor_char_boundary(MESSAGE_BYTES_MAX);
        self.message.get(..end).unwrap_or_default()
    }
}

impl IntoResponse for Status {
    /// An answer without a body: gRPC's `Trailers-Only`.
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
        headers.insert("grpc-status", HeaderValue::from(self.code as u16));
        if let Ok(message) = HeaderValue::try_from(escaped(self.told())) {
            headers.insert("grpc-message", message);
        }
        if let Some(retry_after) = self.retry_after {
            let details = STANDARD_NO_PAD.encode(self.details(retry_after));
            if let Ok(details) = HeaderValue::try_from(details) {
                headers.insert("grpc-status-details-bin", details);
            }
        }
        response
    }
}

/// A message as a header holds it: what is no printable ASCII, and `%`, as `%XX`.
fn escaped(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    for byte in message.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// A field of protobuf that holds bytes.
fn field(number: u64, bytes: &[u8], to: &mut Vec<u8>) {
    varint(number << 3 | 2, to);
    varint(u64::try_from(bytes.len()).unwrap_or(u64::MAX), to);
    to.extend_from_slice(bytes);
}

/// A field of protobuf that holds a number; zero is not written.
fn number(number: u64, value: u64, to: &mut Vec<u8>) {
    if value != 0 {
        varint(number << 3, to);
        varint(value, to);
    }
}

fn varint(mut value: u64, to: &mut Vec<u8>) {
    while value >= 0x80 {
        to.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    to.push(u8::try_from(value).unwrap_or(0));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::response::IntoResponse as _;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD_NO_PAD;
    use bytes::Bytes;

    use super::{Code, Message, Status, escaped, message};

    #[test]
    fn a_message_is_taken_out_of_its_frame_or_refused() {
        let taken = message(Bytes::from_static(b"\x01\0\0\0\x03abc")).unwrap();
        assert_eq!(taken, Message { compressed: true, bytes: Bytes::from_static(b"abc") });
        assert!(message(Bytes::from_static(b"\0\0\0\0\0")).unwrap().bytes.is_empty());
        for broken in
            [&b""[..], b"\0\0\0\0", b"\0\0\0\0\x04abc", b"\0\0\0\0\x02abc", b"\x02\0\0\0\0"]
        {
            let refused = message(Bytes::copy_from_slice(broken)).unwrap_err();
            assert_eq!(refused.code, Code::Internal, "{broken:?}");
        }
    }

    #[test]
    fn a_status_says_after_which_time_to_come_back() {
        let status = Status {
            code: Code::ResourceExhausted,
            message: "100 % full, später".to_owned(),
            retry_after: Some(Duration::from_millis(1500)),
        };
        let response = status.into_response();
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("grpc-status"), "8");
        assert_eq!(header("grpc-message"), "100 %25 full, sp%C3%A4ter");
        // code 8, message, Any { type_url, RetryInfo { Duration { 1 s, 500,000,000 ns } } }
        let details = STANDARD_NO_PAD.decode(header("grpc-status-details-bin")).unwrap();
        assert_eq!(details[..4], [8, 8, 18, 19]);
        assert!(
            details.ends_with(b"\x12\x0a\x0a\x08\x08\x01\x10\x80\xca\xb5\xee\x01"),
            "{details:?}"
        );
    }

    #[test]
    fn no_byte_of_a_message_breaks_a_header() {
        assert_eq!(escaped("a\r\nb%"), "a%0D%0Ab%25");
    }
}
