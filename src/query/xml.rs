//! Elements in order, escaped.

use std::{borrow::Cow, fmt, io};

use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use quick_xml::{
    Writer,
    events::{BytesStart, BytesText, Event},
};

use super::RequestId;

const NAMESPACE: &str = "https://iam.amazonaws.com/doc/2010-05-08/";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// A document being written.
pub(super) struct Xml(Writer<Vec<u8>>);

/// A document of one element, which `content` fills.
pub(super) fn document(
    name: &str,
    capacity: usize,
    content: impl FnOnce(&mut Xml) -> io::Result<()>,
) -> Vec<u8> {
    let mut xml = Xml(Writer::new(Vec::with_capacity(capacity)));
    let start = BytesStart::new(name).with_attributes([("xmlns", NAMESPACE)]);
    // Writing to memory never fails.
    let _ = xml.within(&start, content);
    xml.0.into_inner()
}

impl Xml {
    /// An element that holds others.
    pub(super) fn element(
        &mut self,
        name: &str,
        content: impl FnOnce(&mut Self) -> io::Result<()>,
    ) -> io::Result<()> {
        self.within(&BytesStart::new(name), content)
    }

    /// An element that holds a text of any characters.
    pub(super) fn text(&mut self, name: &str, text: &str) -> io::Result<()> {
        self.element(name, |xml| {
            xml.0.write_event(Event::Text(BytesText::new(&representable(text))))
        })
    }

    /// An element that holds a value which needs no escaping.
    pub(super) fn display(&mut self, name: &str, value: impl fmt::Display) -> io::Result<()> {
        use io::Write as _;

        self.element(name, |xml| write!(xml.0.get_mut(), "{value}"))
    }

    fn within(
        &mut self,
        start: &BytesStart<'_>,
        content: impl FnOnce(&mut Self) -> io::Result<()>,
    ) -> io::Result<()> {
        self.0.write_event(Event::Start(start.borrow()))?;
        content(self)?;
        self.0.write_event(Event::End(start.to_end()))
    }
}

/// The text, with U+FFFD for what XML 1.0 cannot hold, escaped or not.
fn representable(text: &str) -> Cow<'_, str> {
    let unrepresentable = |c: char| matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}');
    if text.contains(unrepresentable) {
        text.replace(unrepresentable, "\u{fffd}").into()
    } else {
        text.into()
    }
}

/// A response that holds a document.
pub(super) fn response(status: StatusCode, id: RequestId, body: Vec<u8>) -> Response<Vec<u8>> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    // It may hold a secret, also where it answers a GET.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::try_from(id.to_string()) {
        headers.insert(REQUEST_ID, id);
    }
    response
}
