//! The `options` of a connection URL: settings that the server applies when a connection starts.
//!
//! A connection pooler may drop them. So `search_path`, on which the tables depend, is not sent:
//! the statements name its schema. The other settings are verified on each new connection.

/// Settings that each connection must start with.
#[derive(Debug, Default)]
pub(super) struct StartupSettings {
    /// The options as they are sent to the server.
    options: String,
    /// The names of the settings in `options`.
    names: Vec<String>,
}

impl StartupSettings {
    /// Removes `search_path` from the options, and returns the schema that it names. Fails if it
    /// does not name exactly one schema.
    pub(super) fn parse(options: &str) -> Result<(Self, Option<String>), ()> {
        let (mut kept, mut names, mut schema) = (Vec::new(), Vec::new(), None);
        let mut arguments = split(options).into_iter();
        while let Some(mut argument) = arguments.next() {
            // `-c name=value`, `-cname=value` or `--name=value`.
            if argument.text == "-c"
                && let Some(setting) = arguments.next()
            {
                argument.raw = format!("-c {}", setting.raw);
                argument.text = format!("-c{}", setting.text);
            }
            let setting = argument.text.strip_prefix("-c").or(argument.text.strip_prefix("--"));
            if let Some((name, value)) = setting.and_then(|setting| setting.split_once('=')) {
                let name = name.replace('-', "_").to_ascii_lowercase();
                if name == "search_path" {
                    schema = Some(single_schema(value).ok_or(())?);
                    continue;
                }
                names.push(name);
            }
            kept.push(argument.raw);
        }
        Ok((Self { options: kept.join(" "), names }, schema))
    }

    /// The options to send, if there are any.
    pub(super) fn options(&self) -> Option<&str> {
        (!self.options.is_empty()).then_some(&self.options)
    }

    /// The names of the sent settings.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }
}

/// An argument of the options.
struct Argument {
    /// The argument as written.
    raw: String,
    /// The argument without escapes.
    text: String,
}

/// Splits options as the server does: at spaces. A backslash escapes the next character.
fn split(options: &str) -> Vec<Argument> {
    let mut arguments = Vec::new();
    let mut rest = options.chars().peekable();
    loop {
        while rest.next_if(char::is_ascii_whitespace).is_some() {}
        let (mut raw, mut text) = (String::new(), String::new());
        while let Some(c) = rest.next_if(|c| !c.is_ascii_whitespace()) {
            raw.push(c);
            if c == '\\' {
                let escaped = rest.next();
                raw.extend(escaped);
                text.extend(escaped);
            } else {
                text.push(c);
            }
        }
        if raw.is_empty() {
            return arguments;
        }
        arguments.push(Argument { raw, text });
    }
}

/// The schema that a `search_path` names, if it names exactly one, as an identifier, quoted or not.
fn single_schema(search_path: &str) -> Option<String> {
    let path = search_path.trim();
    if let Some(quoted) = path.strip_prefix('"').and_then(|path| path.strip_suffix('"')) {
        let name = quoted.replace("\"\"", "\0");
        return (!name.contains('"') && name != "$user").then(|| name.replace('\0', "\""));
    }
    let is_bare = |c: char| c.is_alphanumeric() || c == '_';
    (!path.is_empty() && path.chars().all(is_bare)).then(|| path.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn search_path_is_taken_out_of_the_options() {
        for (options, sent, names, schema) in [
            ("", "", &[][..], None),
            ("  ", "", &[], None),
            ("-csearch_path=own", "", &[], Some("own")),
            ("-c search_path=Own", "", &[], Some("own")),
            ("--search-path=Own_2", "", &[], Some("own_2")),
            (r#"-c SEARCH_PATH="Own\ ""2""#, "", &[], Some("Own \"2")),
            (r#"-c search_path="a""b""#, "", &[], Some("a\"b")),
            ("-csearch_path=a -csearch_path=b", "", &[], Some("b")),
            ("-c work_mem=8MB", "-c work_mem=8MB", &["work_mem"], None),
            (
                r"-c  a.b=x\ y --lock-timeout=7 -csearch_path=own project=p -B",
                r"-c a.b=x\ y --lock-timeout=7 project=p -B",
                &["a.b", "lock_timeout"],
                Some("own"),
            ),
            ("-c", "-c", &[], None),
        ] {
            let result = StartupSettings::parse(options);
            let (settings, own) = result.unwrap();
            assert_eq!(settings.options, sent, "{options}");
            assert_eq!(settings.options().is_none(), sent.is_empty());
            assert_eq!(settings.names, names, "{options}");
            assert_eq!(own.as_deref(), schema, "{options}");
        }
    }

    #[test]
    fn search_path_names_one_schema() {
        for path in
            ["", "a,b", "a b", "$user", "\"$user\"", "\"a\",\"b\"", "\"a", "a-b", "\"a\"b\""]
        {
            let options = format!("-csearch_path={}", path.replace(' ', "\\ "));
            assert!(StartupSettings::parse(&options).is_err(), "{path}");
        }
    }
}
