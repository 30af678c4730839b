//! Writes XML documents.

use std::{borrow::Cow, io};

use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use quick_xml::{
    Writer,
    escape::partial_escape,
    events::{BytesStart, BytesText, Event},
};

use super::{RequestId, body::ResponseBody};

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
pub(super) struct Xml(Writer<Sink>);

/// The buffer of a document. Writing to memory never fails.
struct Sink(ResponseBody);

impl io::Write for Sink {
    // Inlined into the writer, which writes a tag in several pieces.
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a document whose root element has this content.
#[expect(clippy::expect_used, reason = "an incomplete document would be worse")]
pub(super) fn document(
    root: Root,
    capacity: usize,
    content: impl FnOnce(&mut Xml) -> io::Result<()>,
) -> ResponseBody {
    let mut xml = Xml(Writer::new(Sink(ResponseBody::with_capacity(capacity))));
    let written = xml.within(&BytesStart::from_content(root.tag, root.name.len()), content);
    written.expect("writing to memory does not fail");
    xml.0.into_inner().0
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
pub(super) fn response(
    status: StatusCode,
    id: RequestId,
    body: ResponseBody,
) -> Response<ResponseBody> {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Another text is read character by character.
    #[test]
    fn a_text_is_plain_without_characters_to_escape_or_replace() {
        for text in ["", "anika", " !\"#$%'()*+,-./09:;=?@AZ[\\]^_`az{|}~"] {
            assert!(is_plain(text), "{text}");
        }
        for text in ["<", "a>", "&b", "a\tb", "\u{7f}", "\0", "ä", "a\u{fffe}"] {
            assert!(!is_plain(text), "{text}");
        }
    }
}
