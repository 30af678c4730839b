//! Texts in XML responses, read by two parsers that have no code in common: `roxmltree` and `xml`.

use ::xml::reader::{ParserConfig, XmlEvent};
use http::{Response, StatusCode};
use roxmltree::Document;
use service_specific_credentials::{
    CredentialManager, MemoryStore, Tags, UserName, UserPath,
    query::{Dialect, ErrorResponse, Request, RequestId, ResponseBody},
};

const NAMESPACE: &str = "https://iam.amazonaws.com/doc/2010-05-08/";
const VERSION: (&str, &str) = ("Version", "2010-05-08");
const ID: RequestId = RequestId::from_bytes([7; 16]);

/// The elements of a document, in its order. With their depths they are a tree.
#[derive(Debug, PartialEq)]
struct Elements(Vec<Element>);

#[derive(Debug, PartialEq)]
struct Element {
    depth: usize,
    name: String,
    text: String,
}

/// The bytes as texts, which a byte that UTF-8 does not have separates: the text of errors and, as
/// far as their characters are valid, the properties of a user.
pub(crate) fn compare(bytes: &[u8]) {
    let mut texts = bytes.split(|&byte| byte == 0xff).map(String::from_utf8_lossy);
    let [name, path, key, value] = [(); 4].map(|()| texts.next().unwrap_or_default());
    errors([&name, &path, &key, &value]);
    user(&name, &path, &key, &value);
}

/// Compares error responses that echo any text.
fn errors([first, second, third, fourth]: [&str; 4]) {
    let own = ErrorResponse::new(StatusCode::FORBIDDEN, "AccessDenied", first);
    assert_eq!(own.message(), first);
    compare_error(&own);
    for parameters in [
        vec![("Action", first), ("Version", second)],
        vec![
            ("Action", "CreateUser"),
            VERSION,
            ("UserName", first),
            ("Path", second),
            ("Tags.member.1.Key", third),
            ("Tags.member.1.Value", fourth),
        ],
        vec![
            ("Action", "CreateServiceSpecificCredential"),
            VERSION,
            ("UserName", first),
            ("ServiceName", second),
        ],
    ] {
        if let Err(error) = Request::from_pairs(parameters) {
            compare_error(&error.into());
        }
    }
}

fn compare_error(error: &ErrorResponse) {
    let message = representable(error.message());
    let expected = [
        (0, "ErrorResponse", ""),
        (1, "Error", ""),
        (2, "Type", "Sender"),
        (2, "Code", error.code()),
        (2, "Message", &message),
        (1, "RequestId", &ID.to_string()),
    ];
    let expected = expected.map(|(depth, name, text)| Element {
        depth,
        name: name.to_owned(),
        text: text.to_owned(),
    });
    assert_eq!(read(&error.response(ID)).0, expected);
}

/// Compares the responses that contain a user, who has the valid characters of the texts.
fn user(name: &str, path: &str, key: &str, value: &str) {
    let is_tag = |text: &str| Tags::from_pairs([("key", text)]).is_ok();
    let name = &valid(name, 63, |text| text.parse::<UserName>().is_ok());
    let path = &valid(path, 509, |text| format!("/{text}/").parse::<UserPath>().is_ok());
    let (name, path) = (&format!("u{name}"), &format!("/p{path}/")[..]);
    let (key, value) = (&format!("k{}", valid(key, 127, is_tag)), &*valid(value, 256, is_tag));

    let iam = CredentialManager::new("123456789012".parse().unwrap(), MemoryStore::new());
    let execute = |action, parameters: &[_]| {
        let parameters = [&[("Action", action), VERSION, ("UserName", name)], parameters].concat();
        let request = Request::from_pairs(parameters).unwrap();
        let response = request.execute(&iam, None, Dialect::Documented, ID);
        assert_eq!(response.status(), 200);
        read(&response)
    };
    let tag = [("Tags.member.1.Key", &**key), ("Tags.member.1.Value", value)];
    let created = execute("CreateUser", &[&[("Path", path)], &tag[..]].concat());
    let service = [("ServiceName", "codecommit.amazonaws.com")];
    let issued = execute("CreateServiceSpecificCredential", &service);
    for user in [&created, &execute("GetUser", &[]), &execute("ListUsers", &[])] {
        assert_eq!(user.text("UserName"), name);
        assert_eq!(user.text("Path"), path);
        assert_eq!(user.text("Arn"), format!("arn:aws:iam::123456789012:user{path}{name}"));
    }
    for tags in [&created, &execute("GetUser", &[]), &execute("ListUserTags", &[])] {
        assert_eq!((tags.text("Key"), tags.text("Value")), (&**key, value));
    }
    for listed in [&issued, &execute("ListServiceSpecificCredentials", &[])] {
        assert_eq!(listed.text("UserName"), name);
        assert_eq!(listed.text("ServiceUserName"), format!("{name}+1-at-123456789012"));
    }
}

/// The valid ones of the characters, at most `max`.
fn valid(text: &str, max: usize, is_valid: impl Fn(&str) -> bool) -> String {
    text.chars().filter(|it| is_valid(it.encode_utf8(&mut [0; 4]))).take(max).collect()
}

/// The text with U+FFFD in place of characters that are no `Char` of XML 1.0.
fn representable(text: &str) -> String {
    let is_char = |c| {
        matches!(c,
            '\u{9}' | '\u{a}' | '\u{d}' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}'
            | '\u{10000}'..='\u{10ffff}')
    };
    text.chars().map(|c| if is_char(c) { c } else { '\u{fffd}' }).collect()
}

/// The elements of a response, which both parsers read alike.
fn read(response: &Response<ResponseBody>) -> Elements {
    let text = std::str::from_utf8(response.body().as_ref()).unwrap();
    let (tree, events) = (Elements::of_tree(text), Elements::of_events(text));
    assert_eq!(tree, events, "{text}");
    tree
}

impl Elements {
    /// The text of the only element of this name.
    fn text(&self, name: &str) -> &str {
        let mut named = self.0.iter().filter(|element| element.name == name);
        let (Some(only), None) = (named.next(), named.next()) else {
            panic!("not one `{name}` in {self:?}")
        };
        &only.text
    }

    fn of_tree(text: &str) -> Self {
        let document = Document::parse(text).unwrap();
        let nodes = document.root().descendants();
        assert!(nodes.clone().all(|node| node.is_root() || node.is_element() || node.is_text()));
        let elements = nodes.filter(roxmltree::Node::is_element).map(|node| {
            assert_eq!(node.tag_name().namespace(), Some(NAMESPACE));
            assert_eq!(node.attributes().len(), 0);
            Element {
                depth: node.ancestors().filter(roxmltree::Node::is_element).count() - 1,
                name: node.tag_name().name().to_owned(),
                // An element returns the text of its first child.
                text: node
                    .children()
                    .filter(roxmltree::Node::is_text)
                    .filter_map(|text| text.text())
                    .collect(),
            }
        });
        Self(elements.collect())
    }

    fn of_events(text: &str) -> Self {
        let config = ParserConfig::new().ignore_comments(false).whitespace_to_characters(true);
        let (mut elements, mut open) = (Vec::<Element>::new(), Vec::new());
        for event in config.create_reader(text.as_bytes()) {
            match event.unwrap() {
                XmlEvent::StartDocument { .. } | XmlEvent::EndDocument => {}
                XmlEvent::StartElement { name, attributes, .. } => {
                    assert_eq!(name.namespace.as_deref(), Some(NAMESPACE));
                    assert_eq!(attributes, []);
                    let (depth, name) = (open.len(), name.local_name);
                    open.push(elements.len());
                    elements.push(Element { depth, name, text: String::new() });
                }
                XmlEvent::Characters(text) => elements[*open.last().unwrap()].text += &text,
                XmlEvent::EndElement { .. } => drop(open.pop()),
                event => panic!("{event:?}"),
            }
        }
        Self(elements)
    }
}
