//! An HTTP client that sends any bytes, valid or not.

#![allow(dead_code, reason = "each test file uses a part of this")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

/// A keep-alive connection.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    host: String,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(stream), host: address.to_string() }
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// Sends bytes. Returns whether the server still accepts them.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.get_mut().write_all(bytes).is_ok()
    }

    /// Reads the next response.
    pub(crate) fn response(&mut self) -> Response {
        let mut response = self.head();
        let length: u64 = response.header("content-length").unwrap().parse().unwrap();
        (&mut self.stream).take(length).read_to_string(&mut response.body).unwrap();
        assert_eq!(response.body.len() as u64, length);
        response
    }

    /// Reads the head of the next response.
    pub(crate) fn head(&mut self) -> Response {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert!(self.stream.read_line(&mut line).unwrap() > 0, "closed after {lines:?}");
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let (status, headers) = lines.split_first().unwrap();
        let status = status.strip_prefix("HTTP/1.1 ").unwrap();
        let headers = headers.iter().map(|line| line.split_once(": ").unwrap());
        Response {
            status: status.split(' ').next().unwrap().parse().unwrap(),
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            body: String::new(),
        }
    }

    /// Whether the server has closed the connection after everything was read.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.stream.read(&mut [0]).unwrap() == 0
    }

    /// Sends a request with these header lines and `Host`.
    pub(crate) fn request(&mut self, line: &str, headers: &[&str], body: &[u8]) -> Response {
        let host = format!("Host: {}", self.host);
        self.request_without_host(line, &[&[host.as_str()], headers].concat(), body)
    }

    pub(crate) fn request_without_host(
        &mut self,
        line: &str,
        headers: &[&str],
        body: &[u8],
    ) -> Response {
        let mut head = format!("{line} HTTP/1.1\r\n");
        for header in headers {
            head.extend([header, "\r\n"]);
        }
        let length = format!("Content-Length: {}\r\n\r\n", body.len());
        head += if body.is_empty() { "\r\n" } else { &length };
        self.send(head);
        self.send(body);
        self.response()
    }

    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.request(&format!("GET {path}"), &[], b"")
    }

    /// Posts a form, to which it adds the version.
    pub(crate) fn post(&mut self, form: &str) -> Response {
        let form = format!("Version=2010-05-08&{form}");
        let content_type = "Content-Type: application/x-www-form-urlencoded; charset=utf-8";
        self.request("POST /", &[content_type], form.as_bytes())
    }
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(held, _)| held == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} is repeated");
        value
    }

    /// The text of the one element of this name.
    pub(crate) fn element(&self, name: &str) -> &str {
        let (start, end) = (format!("<{name}>"), format!("</{name}>"));
        let (_, rest) = self.body.split_once(&start).unwrap_or_else(|| panic!("{self:?}"));
        let (text, rest) = rest.split_once(&end).unwrap();
        assert!(!rest.contains(&start), "{name} is repeated");
        text
    }

    /// Checks that this is an error response of the API. Returns its status and code.
    pub(crate) fn rejection(&self) -> (u16, &str) {
        let start = "<ErrorResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><Error>";
        assert!(self.body.starts_with(start), "{self:?}");
        assert_eq!(self.header("content-type"), Some("text/xml"));
        assert_eq!(self.header("x-amzn-requestid"), Some(self.element("RequestId")));
        let fault = if self.status < 500 { "Sender" } else { "Receiver" };
        assert_eq!(self.element("Type"), fault);
        assert!(!self.element("Message").is_empty());
        (self.status, self.element("Code"))
    }
}
