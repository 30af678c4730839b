//! Writes XML documents.

use std::{borrow::Cow, io};

use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use quick_xml::{
    Writer,
    escape::partial_escape,
    events::{BytesStart, BytesText, Event},
};

use super::RequestId;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// The root element of a document: its name, and the content of its tag.
#[derive(Clone, Copy)]
pub(super) struct Root {
    pub(super) name: &'static str,
    pub(super) tag: &'static str,
}

/// The [`Root`] of a document of the API.
macro_rules! root {
    ($name:expr) => {
        $crate::query::xml::Root {
            name: $name,
            tag: concat!($name, " xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\""),
        }
    };
}
pub(super) use root;

/// A document that is being written.
pub(super) struct Xml(Writer<Vec<u8>>);

/// Writes a document whose root element has this content.
pub(super) fn document(
    root: Root,
    capacity: usize,
    content: impl FnOnce(&mut Xml) -> io::Result<()>,
) -> Vec<u8> {
    let mut xml = Xml(Writer::new(Vec::with_capacity(capacity)));
    // Writing to memory never fails.
    let _ = xml.within(&BytesStart::from_content(root.tag, root.name.len()), content);
    xml.0.into_inner()
}

impl Xml {
    /// Writes an element that contains others.
    pub(super) fn element(
        &mut self,
        name: &str,
        content: impl FnOnce(&mut Self) -> io::Result<()>,
    ) -> io::Result<()> {
        self.within(&BytesStart::new(name), content)
    }

    /// Writes an element that contains text of any characters.
    pub(super) fn text(&mut self, name: &str, text: &str) -> io::Result<()> {
        self.element(name, |xml| {
            let escaped =
                if is_plain(text) { text.into() } else { partial_escape(representable(text)) };
            xml.0.write_event(Event::Text(BytesText::from_escaped(escaped)))
        })
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

/// Whether no character of the text needs escaping, as in most texts.
fn is_plain(text: &str) -> bool {
    let plain = |byte| matches!(byte, b' '..=b'~') & !matches!(byte, b'<' | b'>' | b'&');
    // A loop without an early exit is vectorized.
    text.bytes().fold(true, |all, byte| all & plain(byte))
}

/// The text with U+FFFD in place of characters that XML 1.0 cannot represent, escaped or not.
fn representable(text: &str) -> Cow<'_, str> {
    let unrepresentable = |c: char| {
        (c.is_ascii_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{7f}'))
            || matches!(c, '\u{fffe}' | '\u{ffff}')
    };
    if text.contains(unrepresentable) {
        text.replace(unrepresentable, "\u{fffd}").into()
    } else {
        text.into()
    }
}

/// A response with a document.
pub(super) fn response(status: StatusCode, id: RequestId, body: Vec<u8>) -> Response<Vec<u8>> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    // The document may contain a secret, also in the response to a GET.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::from_str(&id.text()) {
        headers.insert(REQUEST_ID, id);
    }
    response
}
